"""Whether the recommended other parameters were tried on both sides, and apart from temperature.

Temperature acts as a hidden learning rate. Where all trials have one rate, or one for each temperature, what
the temperature does at a better one is not known, however often each temperature was repeated.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kdsearch.analysis.questions.edges import OUTER_SHARE
from kdsearch.analysis.response.axes import IntArray
from kdsearch.analysis.response.fitted import Response

_TIED = 0.95
"""By hand: so correlated, the two have a tenth of their variance apart; searches that follow a ridge less."""

_ENOUGH_TO_TIE = 8
"""Complete trials: of eight that are random, one setup in three thousand is so correlated."""


@dataclass(frozen=True)
class Untried:
    """A parameter that a setup's trials tried on one side alone.

    Sides are those of its recommended value; it may lack both. `below` and `above` are the outermost values
    that were tried, each None where its side was.
    """

    path: str
    below: float | None
    above: float | None

    @property
    def hides_temperature(self) -> bool:
        """Whether neither side was tried: all trials have one value."""
        return self.below is not None and self.above is not None

    def __str__(self) -> str:
        if self.hides_temperature:
            side = f"other than about {self.below:.3g}"
        else:
            side = f"below {self.below:.3g}" if self.above is None else f"above {self.above:.3g}"
        return (
            f"None of its trials has `{self.path}` {side}: at a better value another temperature may be best."
        )


@dataclass(frozen=True)
class Tied:
    """A parameter that moves with the temperature in all trials of a setup, up or down."""

    path: str
    rises: bool

    @property
    def hides_temperature(self) -> bool:
        """Always: what is seen is of both together."""
        return True

    def __str__(self) -> str:
        return (
            f"`{self.path}` {'rises' if self.rises else 'falls'} with the temperature in its trials: none of "
            f"them tells an effect of temperature from one of `{self.path}`."
        )


def untried(response: Response, setup: int, nodes: IntArray) -> Iterator[Untried | Tied]:
    """Yield why a setup's trials leave open what temperature does at better values of the others.

    Args:
        response: The study's response.
        setup: A setup that can be answered.
        nodes: The node on each axis of the recommendation [P].
    """
    yield from untried_sides(response, setup, nodes)
    yield from tied_parameters(response, setup)


def tied_parameters(response: Response, setup: int) -> Iterator[Tied]:
    """Yield the parameters that a setup's trials have not moved apart from temperature."""
    complete, axes = response.tallies[setup].complete.nodes, response.space.axes
    if len(complete) < _ENOUGH_TO_TIE:
        return
    temperatures = axes[0].positions[complete[:, 0]]
    for number, axis in enumerate(axes[1:], start=1):
        values = axis.positions[complete[:, number]]
        if axis.choices or not np.ptp(values) or not np.ptp(temperatures):
            continue
        correlation = float(np.corrcoef(temperatures, values)[0, 1])
        if abs(correlation) >= _TIED:
            yield Tied(axis.path, rises=correlation > 0)


def untried_sides(response: Response, setup: int, nodes: IntArray) -> Iterator[Untried]:
    """Yield recommended values that a setup's trials have not bracketed.

    Temperature's is left aside. Where trials lie in the outer tenth of a range nothing more can be asked for
    on that side, unless all have the same value.

    Args:
        response: The study's response.
        setup: A setup that can be answered.
        nodes: The node on each axis of the recommendation [P].
    """
    complete = response.tallies[setup].complete.nodes
    for number, axis in enumerate(response.space.axes[1:], start=1):
        if axis.choices:
            continue
        inside = axis.positions[response.space.allowed(setup, number)]
        tried, own = axis.positions[complete[:, number]], axis.positions[nodes[number]]
        first, last = complete[tried.argmin()], complete[tried.argmax()]
        width = np.ptp(inside)
        is_low = tried.min() >= own and tried.min() > inside.min() + OUTER_SHARE * width
        is_high = tried.max() <= own and tried.max() < inside.max() - OUTER_SHARE * width
        if width > 0 and first[number] == last[number]:
            is_low = is_high = True
        if is_low or is_high:
            yield Untried(
                axis.path,
                _value(response, setup, first, number) if is_low else None,
                _value(response, setup, last, number) if is_high else None,
            )


def _value(response: Response, setup: int, nodes: IntArray, number: int) -> float:
    """Return the value of the n-th axis at a trial's nodes."""
    axis = response.space.axes[number]
    dimension = response.space.site_at(setup, int(nodes[0])).dimensions[axis.path]
    return float(np.asarray(axis.value(dimension, int(nodes[number]))))
