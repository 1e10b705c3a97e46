"""The interval of the best temperature, against draws that know no grid."""

import numpy as np
import pytest

from kdsearch.analysis.profiles import TemperatureProfile

TEMPERATURES = np.geomspace(1, 40, 41)
LOG = np.log(TEMPERATURES)
STEP = LOG[1] - LOG[0]


def profile_of(best: np.ndarray) -> TemperatureProfile:
    """Return draws whose best temperatures, in logs, are the grid's nearest to these."""
    nearest = np.abs(best[:, None] - LOG).argmin(axis=1)
    return TemperatureProfile(TEMPERATURES, np.eye(len(LOG))[nearest], float(STEP / 2))


@pytest.mark.parametrize(("sd_steps", "off"), [(1.0, 0.06), (5.0, 0.02)])
@pytest.mark.parametrize("level", [0.5, 0.9])
def test_it_is_that_of_draws_between_the_grids_temperatures(
    sd_steps: float, off: float, level: float
) -> None:
    best = LOG[20] + 0.2 * STEP + sd_steps * STEP * np.random.default_rng(0).standard_normal(20_000)
    true = np.quantile(best, [(1 - level) / 2, (1 + level) / 2])
    found = np.log(profile_of(best).interval(level))
    assert found == pytest.approx(true, abs=0.25 * STEP)
    assert ((best >= found[0]) & (best <= found[1])).mean() == pytest.approx(level, abs=off)


def test_draws_that_are_all_near_one_temperature_leave_most_of_its_cell() -> None:
    low, high = np.log(profile_of(np.full(100, LOG[20])).interval(0.9))
    assert (low, high) == pytest.approx((LOG[20] - 0.45 * STEP, LOG[20] + 0.45 * STEP))


def test_an_end_that_may_be_best_is_inside_and_one_that_may_not_is_outside() -> None:
    best = np.repeat(LOG[[0, 20]], [8, 92])
    assert profile_of(best).interval(0.9)[0] == 1.0
    best = np.repeat(LOG[[0, 20]], [2, 98])
    assert profile_of(best).interval(0.9)[0] > TEMPERATURES[18]
    best = np.repeat(LOG[[20, 40]], [90, 10])
    assert profile_of(best).interval(0.9)[1] == 40.0
