"""What scheduling costs: how it is counted. `test_launches.py` runs both ways once."""

import sys

import pytest

from kdsearch.bench.study.overhead import Run, overhead_of
from kdsearch.bench.study.spending import spending_of
from kdsearch.errors import RunError

BURN = "import time\nwhile time.process_time() < {seconds}: pass\n"


def test_a_trial_costs_what_more_trials_add() -> None:
    runs = [Run("plain", n, wall_s=5 + 0.5 * n, cpu_s=20 + 2.0 * n) for n in (16, 80)]
    others = [Run("kdsearch", n, wall_s=900.0, cpu_s=900.0) for n in (16, 80)]
    found = overhead_of("plain", runs + others)
    assert (found.trial_wall_s, found.trial_cpu_s) == pytest.approx((0.5, 2.0))
    assert (found.start_wall_s, found.start_cpu_s) == pytest.approx((5.0, 20.0))


def test_rounds_are_averaged() -> None:
    runs = [Run("plain", n, wall_s=wall, cpu_s=1.0) for n, wall in ((10, 9), (10, 11), (20, 19), (20, 21))]
    assert overhead_of("plain", runs).trial_wall_s == pytest.approx(1.0)


def test_the_cpu_time_of_children_counts() -> None:
    below = BURN.format(seconds=1.0)
    source = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {below!r}])\n"
    taken = spending_of([sys.executable, "-c", source + BURN.format(seconds=1.0)])
    assert 2.0 - 2 * 0.25 < taken.cpu_s < 2.5


def test_a_command_that_fails_is_told() -> None:
    with pytest.raises(RunError, match="exit code 3: no luck"):
        spending_of([sys.executable, "-c", "import sys; print('no luck', file=sys.stderr); sys.exit(3)"])
