"""A study with artifacts at a URL, launched by a user.

URLs that don't work are told before anything starts.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdsearch.cli.main import run
from kdsearch.storage import load_teachers, load_trials, open_database

# One pack at a time: each worker loads torch.
CORES = len(os.sched_getaffinity(0))
SPEC = f"""
name: remote
dataset: {{name: digits, train_size: 80, validation_size: 50}}
student: {{arch: mlp_16}}
teacher: {{arch: mlp_32, finetune: {{epochs: 3}}}}
training: {{epochs: 3, batch_size: 32}}
setup: {{teacher.finetune.epochs: [2, 3]}}
tune: {{objective.temperature: {{low: 1, high: 40, log: true}}}}
search: {{trials: 4, pack: 2, sampler: random}}
resources: {{checkpoint_minutes: 0, cpus_per_pack: {CORES}}}
"""

Kdsearch = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def kdsearch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Kdsearch:
    """Run a command in a folder of its own.

    It runs on a node of the given name, in a process of its own where it starts Ray, else in this one.
    """
    (tmp_path / "study.yaml").write_text(SPEC)

    def call(
        *words: str, node: str = "a", apart: bool = False, **variables: str
    ) -> "subprocess.CompletedProcess[str]":
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            for name in [name for name in os.environ if name.startswith(("KDSEARCH", "AWS"))]:
                patch.delenv(name)
            own = {
                "KDSEARCH_STORAGE": f"sqlite:///{tmp_path / 'study.db'}",
                "KDSEARCH_CACHE": str(tmp_path / node),
            }
            for name, value in (own | variables).items():
                patch.setenv(name, value)
            if apart:
                command = [sys.executable, "-m", "kdsearch", *words]
                return subprocess.run(command, text=True, capture_output=True, timeout=600, check=False)
            capsys.readouterr()
            return subprocess.CompletedProcess(words, run([*words]), *capsys.readouterr())

    return call


def stored(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*.*")}


@pytest.mark.ray
@pytest.mark.slow
def test_a_study_goes_on_on_another_machine_from_its_url(
    kdsearch: Kdsearch, file_server: Any, tmp_path: Path
) -> None:
    first = kdsearch("launch", "study.yaml", "--set", f"artifacts={file_server.url}", apart=True)
    assert first.returncode == 0, first.stderr
    made = stored(file_server.folder)
    kinds = [Path(name).name.rsplit(".", 1)[0] for name in made]
    assert sorted(kinds) == sorted(["index", "record.json", "weights.pt"] * 2)  # and no checkpoint is left
    options = {"node": "b", "KDSEARCH_ARTIFACTS": file_server.url}
    second = kdsearch("launch", "study.yaml", "--trials", "8", apart=True, **options)
    assert second.returncode == 0, second.stderr
    assert stored(file_server.folder) == made
    with open_database(f"sqlite:///{tmp_path / 'study.db'}") as database:
        assert [row.state for row in load_trials(database, "remote")] == ["complete"] * 8
        teachers = load_teachers(database)
    assert {teacher.path for teacher in teachers} == {
        f"{file_server.url}/teachers/{teacher.digest}" for teacher in teachers
    }
    again = kdsearch("reproduce", "remote", "0", "--format", "json", **{**options, "node": "c"})
    assert again.returncode == 0, again.stderr
    document = json.loads(again.stdout)
    assert document["verdict"] == "same"
    assert not [told for told in document["differences"] if "teacher" in told]


@pytest.mark.parametrize(
    ("url", "reason", "options"),
    [
        ("nowhere://bucket", "Protocol not known: nowhere", ()),
        ("ftp://127.0.0.1:9/path", "Connection refused", ("--dry-run",)),
        ("dropbox://path", "dropboxdrivefs", ("--dry-run", "--format", "json")),
    ],
)
def test_a_url_that_does_not_work_ends_a_launch_before_it_begins(
    kdsearch: Kdsearch, tmp_path: Path, url: str, reason: str, options: tuple[str, ...]
) -> None:
    done = kdsearch("launch", "study.yaml", *options, "--set", f"artifacts={url}")
    assert done.returncode == 2
    assert done.stdout == ""
    assert reason in done.stderr
    assert "`artifacts` must be" in done.stderr
    assert repr(url) in done.stderr
    assert not (tmp_path / "study.db").exists()


def test_a_dry_run_tries_the_url_and_leaves_nothing_there(kdsearch: Kdsearch, file_server: Any) -> None:
    done = kdsearch("launch", "study.yaml", "--dry-run", "--set", f"artifacts={file_server.url}")
    assert done.returncode == 0, done.stderr
    assert [path for path in file_server.folder.rglob("*") if path.is_file()] == []
