"""Which kinds of faults meet one study, in this order: what a study starts is started less often then.

Each file of rounds is a process's in a run of tests. Where two kinds of the trainer meet one study, what ends its
worker comes before what a result tells: the result would be lost with its pack.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest

from kdsearch.bench.faults.command import run_round
from kdsearch.bench.faults.shared_services import SharedServices

ROUNDS_OF_TRIALS = (
    ("worker", "hang", "raise", "memory", "diverge"),
    ("teacher", "pack", "weights", "targets", "checkpoint"),
    ("database", "log"),
)
ROUNDS_OF_DRIVERS = (("ray", "term", "driver", "stop"), ("network",))
ROUNDS_OF_MACHINES = (("node", "server"), ("disk",))


def check_round(kinds: Sequence[str], services: SharedServices, folder: Path) -> None:
    """Do faults to a study. Skip where one of them hit nobody and nothing else is wrong."""
    found = run_round(kinds, seed=1, folder=folder, services=services)
    assert not found.problems, f"in a round of {kinds}, missed {found.missed}: {found.problems}"
    if found.missed:
        pytest.skip(str(found.missed))
