"""Processes that are forked from one that has imported what they need."""

import json
import os
import shlex
import subprocess
from pathlib import Path

from kdsearch.bench.scale.forking import forking_python

SCRIPT = """
import json, os, sys
told = {"argv": sys.argv[1:], "parent": os.getppid(), "folder": os.getcwd(), "shown": os.environ["SHOWN"]}
print(json.dumps({**told, "has": "fractions" in sys.modules}))
"""


def test_scripts_run_as_ever_in_processes_that_share_a_parent(short_folder: str, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)

    def run(command: str, number: str) -> dict[str, object]:
        environment = {**os.environ, "SHOWN": number}
        words = [*shlex.split(command), "script.py", number]
        told = json.loads(subprocess.check_output(words, cwd=tmp_path, env=environment))
        assert told == {**told, "argv": [number], "folder": str(tmp_path), "shown": number, "has": True}
        return dict(told)

    with forking_python(Path(short_folder), ["fractions"]) as command:
        parents = {run(command, number)["parent"] for number in ("1", "2")}
    (parent,) = parents
    assert parent != os.getpid()
    assert not Path(f"/proc/{parent}").exists()
