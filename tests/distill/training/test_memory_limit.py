"""A pack in a process whose memory really ends: it halves, and its students come out as without the limit."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Each line that it reads is a training in a process of its own, forked from one that has loaded all: loading
# takes longer than the training.
LOADED = """
import json, os, resource, sys
from pathlib import Path

from kdsearch.distill import train_pack
from kdsearch.distill.training import train_pack as training
from kdsearch.spec import TrainingSpec

artifacts = Path(sys.argv[1])
spec = TrainingSpec.model_validate(
    {
        "dataset": {"name": "digits", "train_size": 64, "validation_size": 50},
        "student": {"arch": "mlp_8"},
        "objective": {"alpha": 0.0},
        "optimizer": {"name": "adamw", "lr": 1.0e-3},
        "training": {"epochs": 1, "batch_size": 32},
    }
)
sizes = []


class Watched(training.PackTraining):
    def __init__(self, members, **settings):
        sizes.append(len(members))
        super().__init__(members, **settings)


def status(name):
    return 1024 * int(Path("/proc/self/status").read_text().partition(name)[2].split()[0])


def train(spec, size):
    return train_pack(spec, [{"seed": n} for n in range(size)], artifacts=artifacts, way="looped")


def train_within(size, room, student):
    before = status("VmSize:")
    if room:
        resource.setrlimit(resource.RLIMIT_AS, (before + room, before + room))
    results = train(spec.with_values({"student.arch": student}), size)
    return {
        "sizes": sizes,
        "states": [result.state for result in results],
        "losses": [result.metrics["train_loss"] for result in results],
        "took": status("VmPeak:") - before,
    }


train(spec, 1)  # what is imported late is there now
training.PackTraining = Watched
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        print(json.dumps(train_within(*json.loads(line))))
        sys.exit()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(json.dumps({"code": code}), flush=True)
"""
Train = Callable[..., tuple[dict[str, Any], str]]


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Train]:
    """Train a pack in a process of its own, which may take at most `room` more bytes of address space.

    Returns what it found, and what it wrote to its standard error.
    """
    folder = tmp_path_factory.mktemp("artifacts")
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}  # a device's threads would end with a fork
    with (
        (folder / "errors").open("w+") as errors,
        subprocess.Popen(
            [sys.executable, "-c", LOADED, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
        ) as loaded,
    ):

        def ask(size: int, room: int = 0, student: str = "mlp_1024_1024") -> tuple[dict[str, Any], str]:
            assert loaded.stdin is not None
            assert loaded.stdout is not None
            print(json.dumps([size, room, student]), file=loaded.stdin, flush=True)
            found: dict[str, Any] = {}
            while "code" not in found:
                line = loaded.stdout.readline()
                assert line, Path(errors.name).read_text()
                found |= json.loads(line)
            return found, Path(errors.name).read_text()

        yield ask


@pytest.mark.slow
def test_a_pack_that_outgrows_the_machine_is_halved_and_goes_on(train: Train) -> None:
    (half, _), (whole, _) = (train(size) for size in (4, 8))
    assert (half["sizes"], whole["sizes"]) == ([4], [8])
    room = (half["took"] + whole["took"]) // 2
    found, errors = train(8, room)
    assert found["code"] == 0, errors
    assert found["sizes"] == [8, 4, 4]
    assert found["states"] == ["complete"] * 8
    assert found["losses"] == pytest.approx(whole["losses"], rel=1e-4)
    assert found["took"] <= room


@pytest.mark.slow
def test_one_student_that_outgrows_the_machine_is_told(train: Train) -> None:
    found, errors = train(2, room=2**24, student="mlp_4096_4096")
    assert found == {"code": 1}
    assert "`training.batch_size` must be small enough for cpu, got 32" in errors
