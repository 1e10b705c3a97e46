"""When a setup's answer is decided, and what is missing till then.

An expected loss within the target is not enough: a few lucky seeds at one learning rate, believed because
other setups fall alike, have that too. So the answer also has to stand without the other setups, without
the latest pack, and against rivals that were tried at rates that suit them.
"""

from collections.abc import Iterator

import numpy as np

from kdsearch.analysis.labels import temperature_text
from kdsearch.analysis.questions.bracketing import untried
from kdsearch.analysis.questions.replication import Gap, count_tuned, find_gaps, usual_index
from kdsearch.analysis.response.axes import FloatArray, IntArray
from kdsearch.analysis.response.fitted import Response
from kdsearch.analysis.response.profiles import TemperatureProfile

ENOUGH_TO_DECIDE = 12
"""So many complete trials a setup needs before its doubt is believed: a model of few trials is too sure."""

_LARGE = 2.5
"""A large loss in targets: half a point, the tolerance, where the target is 0.2 points."""

_CHANCE_OF_LARGE = 0.05
"""By hand, the usual one in twenty; the benchmark of calibration measures what decided answers lose."""

_CHANCE_ALONE = 0.1
"""The setup alone knows less: what it may take for a large loss is twice as likely."""

_EARLIER_REGRET = 1.5
"""In targets, by hand: one pack earlier less was known, so the same temperature may look a little worse."""


def what_is_missing(
    response: Response, setup: int, profile: TemperatureProfile, target: float
) -> tuple[str, ...]:
    """Return in words what keeps a setup's answer from being decided. Nothing where it is.

    Args:
        response: The study's response.
        setup: A setup that can be answered.
        profile: Its profile.
        target: The accuracy that its recommendation may be expected to lose.
    """
    return tuple(_missing(response, setup, profile, target))


def _missing(response: Response, setup: int, profile: TemperatureProfile, target: float) -> Iterator[str]:
    n_trials = len(response.tallies[setup].complete)
    if n_trials < ENOUGH_TO_DECIDE:
        yield f"{ENOUGH_TO_DECIDE} complete trials, it has {n_trials}"
    if (accuracy := response.tallies[setup].complete.one_accuracy) is not None:
        yield f"accuracies that differ, all of its {n_trials} trials have {100 * accuracy:.6g}%"
    doubts = list(_doubts(profile, profile.best, target, target, _CHANCE_OF_LARGE))
    yield from doubts
    if not doubts:
        yield from _sharp(profile, target)
    for gap in gaps_of(response, setup, profile):
        temperature = temperature_text(profile.temperatures[gap.temperature])
        plural = "" if gap.missing == 1 else "s"
        yield f"{gap.missing} more trial{plural} near T = {temperature} ({gap.why}) at tuned values"
    nodes = response.recommended_nodes(setup, profile.temperature)
    yield from map(str, untried(response, setup, nodes))
    if n_trials < ENOUGH_TO_DECIDE or doubts:
        return  # the rest is dear to find, and says little before
    yield from _alone(response, setup, profile, target)
    yield from _earlier(response, setup, profile, target)


def gaps_of(response: Response, setup: int, profile: TemperatureProfile) -> list[Gap]:
    """Return which temperatures a setup has tried too seldom at tuned values."""
    usual = usual_index(profile.temperatures, profile.half_step)
    return find_gaps(_places(response, setup), response.draws[setup].mean, _tried(response, setup), usual)


def tuned_trials(response: Response, setup: int) -> tuple[int, ...]:
    """Return the count of tuned complete trials per quarter of temperatures.

    Quarters are of the setup's range; a trial is tuned where its other parameters are good.
    """
    count = count_tuned(_places(response, setup), response.draws[setup].mean, _tried(response, setup))
    return tuple(count.tolist())


def _places(response: Response, setup: int) -> FloatArray:
    return np.asarray(response.space.axes[0].positions[response.draws[setup].temperature_nodes])


def _tried(response: Response, setup: int) -> IntArray:
    return response.draws[setup].nearest(response.tallies[setup].complete.nodes)


def _doubts(
    profile: TemperatureProfile, at: int, target: float, regret: float, chance: float
) -> Iterator[str]:
    lost = float(profile.regret[:, at].mean())
    if lost > regret:
        yield f"an expected loss of at most {_points(regret)}, it is {_beyond(lost, regret)} points"
    large = profile.chance_to_lose(_LARGE * target, at)
    if large > chance:
        found = _beyond(large, chance, ".0f")
        yield (
            f"at most {100 * chance:.6g}% chance to lose more than {_points(_LARGE * target)}, it is {found}%"
        )


def _sharp(profile: TemperatureProfile, target: float) -> Iterator[str]:
    lost = profile.expected_regret + profile.lost_at_a_cusp
    if lost > target:
        yield (
            f"more trials on both sides of T = {temperature_text(profile.temperature)}: if the curve has a "
            f"sharp peak there, the expected loss is {_beyond(lost, target)} points"
        )


def _alone(response: Response, setup: int, profile: TemperatureProfile, target: float) -> Iterator[str]:
    alone = response.profile_alone(setup)
    if alone is None:
        return
    large = alone.chance_to_lose(_LARGE * target, alone.nearest(profile.temperature))
    if large > _CHANCE_ALONE:
        yield (
            f"agreement of its own trials: alone they give a chance of {100 * large:.0f}% "
            f"that it loses more than {_points(_LARGE * target)}"
        )


def _earlier(response: Response, setup: int, profile: TemperatureProfile, target: float) -> Iterator[str]:
    earlier = response.a_pack_earlier
    if earlier.silence(setup) is not None:
        yield "a second look, a pack apart"
        return
    before = earlier.profile([setup])
    at = before.nearest(profile.temperature)
    if any(_doubts(before, at, target, _EARLIER_REGRET * target, _CHANCE_ALONE)):
        yield "a second look that agrees: a pack earlier it was in doubt"


def _points(accuracy: float) -> str:
    return f"{100 * accuracy:.6g} points"


def _beyond(value: float, bound: float, form: str = ".2g") -> str:
    """Return a value in hundredths, with more digits where it would read like the bound that it is beyond."""
    shown = float(f"{100 * bound:.6g}")
    texts = (format(100 * value, each) for each in (form, *(f".{n}g" for n in range(2, 18))))
    return next((text for text in texts if float(text) > shown), f"{100 * value:.17g}")
