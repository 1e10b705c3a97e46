"""The interval of the best temperature, against draws that know no grid."""

import numpy as np
import pytest

from kdsearch.analysis.response.profiles import TemperatureProfile

TEMPERATURES = np.geomspace(1, 40, 41)
LOG = np.log(TEMPERATURES)
STEP = LOG[1] - LOG[0]


def profile_of(best: np.ndarray) -> TemperatureProfile:
    """Return draws with these best temperatures, in logs.

    Each is moved to the nearest one of the grid.
    """
    nearest = np.abs(best[:, None] - LOG).argmin(axis=1)
    return TemperatureProfile(TEMPERATURES, np.eye(len(LOG))[nearest], float(STEP / 2))


@pytest.mark.parametrize(("sd_steps", "off"), [(1.0, 0.06), (5.0, 0.02)])
@pytest.mark.parametrize("level", [0.5, 0.9])
def test_it_is_that_of_draws_between_the_grids_temperatures(
    sd_steps: float, off: float, level: float
) -> None:
    best = LOG[20] + 0.2 * STEP + sd_steps * STEP * np.random.default_rng(0).standard_normal(20_000)
    true = np.quantile(best, [(1 - level) / 2, (1 + level) / 2])
    found = np.log(profile_of(best).shortest_interval(level))
    assert found == pytest.approx(true, abs=0.25 * STEP)
    assert ((best >= found[0]) & (best <= found[1])).mean() == pytest.approx(level, abs=off)


def test_draws_that_are_all_near_one_temperature_leave_most_of_its_cell() -> None:
    low, high = np.log(profile_of(np.full(1000, LOG[20])).shortest_interval(0.9))
    assert (low, high) == pytest.approx((LOG[20] - 0.45 * STEP, LOG[20] + 0.45 * STEP), abs=0.01 * STEP)


def test_it_is_shorter_than_one_that_leaves_out_as_much_on_both_sides() -> None:
    best = np.minimum(LOG[0] + np.random.default_rng(0).exponential(8 * STEP, 20_000), LOG[-1])
    found = np.log(profile_of(best).shortest_interval(0.9))
    assert found == pytest.approx((LOG[0], np.quantile(best, 0.9)), abs=0.5 * STEP)


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_the_central_one_leaves_out_as_much_on_both_sides(level: float) -> None:
    best = np.minimum(LOG[0] + np.random.default_rng(0).exponential(8 * STEP, 20_000), LOG[-1])
    found = np.log(profile_of(best).central_interval(level))
    assert found == pytest.approx(np.quantile(best, [(1 - level) / 2, (1 + level) / 2]), abs=0.5 * STEP)


def test_the_central_one_has_an_end_that_may_be_best_with_more_than_a_tails_probability() -> None:
    best = np.repeat(LOG[[0, 20]], [8, 92])
    assert profile_of(best).central_interval(0.9)[0] == 1.0
    best = np.repeat(LOG[[0, 20]], [2, 98])
    assert profile_of(best).central_interval(0.9)[0] > TEMPERATURES[18]
    best = np.repeat(LOG[[20, 40]], [90, 10])
    assert profile_of(best).central_interval(0.9)[1] == 40.0


@pytest.mark.parametrize(("end", "at"), [(0, 0), (40, 1)])
def test_an_end_is_inside_where_the_rest_holds_too_little(end: int, at: int) -> None:
    best = np.repeat(LOG[[end, 20]], [12, 88])
    assert profile_of(best).shortest_interval(0.9)[at] == TEMPERATURES[end]
    best = np.repeat(LOG[[end, 20]], [8, 92])
    assert profile_of(best).shortest_interval(0.9)[at] == pytest.approx(TEMPERATURES[20], rel=0.05)


def test_of_temperatures_that_alone_can_be_chosen_it_has_the_fewest_that_hold_enough() -> None:
    levels = np.array([1.0, 2.0, 4.0, 8.0])
    draws = np.eye(4)[np.repeat([0, 1, 2, 3], [4, 60, 31, 5])]
    assert TemperatureProfile(levels, draws, 0.0).shortest_interval(0.9) == pytest.approx((2.0, 4.0))


def test_the_told_interval_is_moved_out_and_holds_the_recommended_temperature():
    """A share of the range is added, never beyond its ends.

    It is added where any temperature can be chosen.
    """
    temperatures = np.exp(np.linspace(0, np.log(40), 41))
    draws = np.full((100, 41), 0.8)
    draws[np.arange(100), np.repeat([20, 22], 50)] = 0.9
    draws[:, 30] += 0.06  # best on average, and of no draw
    found = TemperatureProfile(temperatures, draws, 0.5 * np.log(40) / 40)
    shortest, told = found.shortest_interval(0.9), found.interval(0.9)
    assert found.temperature == pytest.approx(temperatures[30])
    assert told[0] == pytest.approx(shortest[0] / 40**0.03)
    assert told[1] == pytest.approx(temperatures[30])
    ends = TemperatureProfile(temperatures, np.tile(np.linspace(1, 0, 41), (10, 1)), 0.5 * np.log(40) / 40)
    assert ends.interval(0.9)[0] == 1.0


@pytest.mark.parametrize(("chance", "flat"), [(0.15, True), (0.25, False)])
@pytest.mark.parametrize("loss", [0.02, 0.2])
def test_a_curve_is_flat_where_each_temperature_alone_hardly_matters(
    chance: float, loss: float, *, flat: bool
) -> None:
    """Which temperatures cost much may differ from draw to draw, so that nearly each draw has one."""
    draws = np.full((1000, len(LOG)), 0.9)
    for n in (0, 10, 30, 40):
        draws[np.random.default_rng(n).permutation(1000)[: int(1000 * chance)], n] -= loss
    profile = TemperatureProfile(TEMPERATURES, draws, float(STEP / 2))
    assert profile.is_flat(0.005) == flat
    assert profile.is_flat(loss)


def test_one_temperature_that_surely_costs_more_than_twice_the_tolerance_is_not_flat() -> None:
    for lost, flat in ((0.0099, True), (0.0101, False)):
        curve = np.where(np.arange(len(LOG)) == 40, 0.9 - lost, 0.9)
        assert (
            TemperatureProfile(TEMPERATURES, np.tile(curve, (50, 1)), float(STEP / 2)).is_flat(0.005) == flat
        )


def cusps(*misses: float, places: np.ndarray = LOG) -> TemperatureProfile:
    """Return draws with sharp peaks, each so far beside the middle of the range as it misses.

    They fall by a point over a tenth of the range.
    """
    u = (places - places[0]) / (places[-1] - places[0])
    at = 0.5 + np.array(misses)[:, None]
    return TemperatureProfile(np.exp(places), 0.9 - 0.1 * np.abs(u - at), float(STEP / 2))


def test_a_cusp_loses_half_of_what_its_sides_differ_by() -> None:
    assert cusps(-0.02, 0.0, 0.02).lost_at_a_cusp == pytest.approx(0.1 * 0.02 * 2 / 3)
    assert cusps(0.0).lost_at_a_cusp == pytest.approx(0.0)


def test_a_cusp_loses_no_more_than_its_slopes_do_within_a_usual_miss() -> None:
    profile = cusps(-0.1, 0.0, 0.1)
    fall = profile.mean.max() - profile.accuracy_at(40 ** (0.5 + 0.15)).mean()
    assert profile.lost_at_a_cusp == pytest.approx(0.3 * fall, rel=0.01)


def test_a_best_at_an_end_is_no_cusp() -> None:
    falling = cusps(-0.52, -0.5, -0.48)
    assert falling.best == 0
    assert falling.lost_at_a_cusp == 0.0


def test_temperatures_between_which_nothing_can_be_chosen_have_no_cusp() -> None:
    draws = cusps(-0.02, 0.0, 0.02).draws
    assert TemperatureProfile(TEMPERATURES, draws, 0.0).lost_at_a_cusp == 0.0


def lost_of(curve: np.ndarray, share: float, spread: float = 0.0) -> tuple[float, float]:
    """Return the interval of what the temperature at a share of the range loses, by draws of a curve."""
    draws = curve + spread * np.random.default_rng(0).standard_normal((400, 1)) * np.sin(9 * LOG)
    profile = TemperatureProfile(TEMPERATURES, draws, float(STEP / 2))
    found = profile.lost_at(float(np.exp(share * LOG[-1])), 0.9)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("at", [0.1, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("top", [0.0, 0.6])
def test_what_a_temperature_loses_holds_for_a_sharp_curve_of_which_draws_are_round(
    at: float, top: float
) -> None:
    fine = np.linspace(-0.15, 1.15, 1301)
    sharp = -0.04 * np.abs(fine - top)
    rounded = np.convolve(np.pad(sharp, 75, mode="edge"), np.full(151, 1 / 151), mode="valid")
    units = LOG / LOG[-1]
    true = 0.04 * abs(at - top) - 0.04 * abs(units[np.interp(units, fine, rounded).argmax()] - top)
    low, high = lost_of(np.interp(units, fine, rounded), at)
    assert low < true < high
    assert high - low < 0.03


def test_a_level_curve_and_the_recommended_temperature_are_as_sure_as_their_draws() -> None:
    assert lost_of(np.zeros(len(LOG)), 0.4) == pytest.approx((0, 0))
    assert lost_of(-((LOG - LOG[20]) ** 2), 0.5) == pytest.approx((0, 0))


def test_temperatures_between_which_nothing_can_be_chosen_are_as_sure_as_their_draws() -> None:
    draws = np.array([[0.7, 0.8, 0.6], [0.7, 0.8, 0.5]])
    profile = TemperatureProfile(np.array([1.0, 4.0, 16.0]), draws, 0.0)
    assert profile.lost_at(1.0, 0.9) == (pytest.approx(0.1), pytest.approx((0.1, 0.1)))
