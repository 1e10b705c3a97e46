"""A pack in a process whose memory really ends: it halves, and its students come out as without the limit."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = """
import json, resource, sys
from pathlib import Path

from kdsearch.distill import train_pack
from kdsearch.distill.training import train_pack as training
from kdsearch.spec import TrainingSpec

artifacts, size, room, student = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
spec = TrainingSpec.model_validate(
    {
        "dataset": {"name": "digits", "train_size": 64, "validation_size": 50},
        "student": {"arch": student},
        "objective": {"alpha": 0.0},
        "optimizer": {"name": "adamw", "lr": 1.0e-3},
        "training": {"epochs": 2, "batch_size": 32},
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


train(spec.with_values({"student.arch": "mlp_8"}), 1)  # what is imported late is there now
before = status("VmSize:")
training.PackTraining = Watched
if room:
    resource.setrlimit(resource.RLIMIT_AS, (before + room, before + room))
results = train(spec, size)
found = {
    "sizes": sizes,
    "states": [result.state for result in results],
    "losses": [result.metrics["train_loss"] for result in results],
    "took": status("VmPeak:") - before,
}
print(json.dumps(found))
"""


def train(
    artifacts: Path, size: int, room: int = 0, student: str = "mlp_1024_2048"
) -> "subprocess.CompletedProcess[str]":
    """Train a pack in a process of its own.

    It may take at most `room` more bytes of address space.
    """
    command = [sys.executable, "-c", CHILD, str(artifacts), str(size), str(room), student]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_pack_that_outgrows_the_machine_is_halved_and_goes_on(tmp_path: Path) -> None:
    half, whole = (json.loads(train(tmp_path, size).stdout) for size in (4, 8))
    assert (half["sizes"], whole["sizes"]) == ([4], [8])
    room = (half["took"] + whole["took"]) // 2
    done = train(tmp_path, 8, room)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["sizes"] == [8, 4, 4]
    assert found["states"] == ["complete"] * 8
    assert found["losses"] == pytest.approx(whole["losses"], rel=1e-4)
    assert found["took"] <= room


@pytest.mark.slow
def test_one_student_that_outgrows_the_machine_is_told(tmp_path: Path) -> None:
    done = train(tmp_path, 2, room=2**24, student="mlp_4096_4096")
    assert "`training.batch_size` must be small enough for cpu, got 32" in done.stderr
