"""The driver's scratch folder."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from kdsearch.schedule import cluster


def test_folders_of_killed_drivers_are_removed_and_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    for name in (f"kds-{gone.pid}-a", f"kds-{10**20}-a", f"kds-{os.getppid()}-b", "kds-other-c"):
        (tmp_path / name).mkdir()
    scratch = cluster._make_scratch()
    kept = {f"kds-{os.getppid()}-b", "kds-other-c", scratch.name}
    assert {path.name for path in tmp_path.iterdir()} == kept
