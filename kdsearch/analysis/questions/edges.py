"""Best values at an end of their range.

Temperature acts as a hidden learning rate. Where the best learning rate lies at the end of its range, a
temperature that moves it further looks better, or worse, than it is.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kdsearch.analysis.response.fitted import Response
from kdsearch.analysis.response.profiles import TemperatureProfile
from kdsearch.spec import TEMPERATURE, Range
from kdsearch.spec.roles import is_learning_rate
from kdsearch.spec.widening import may_widen

MOST_WIDENINGS = 3
"""So often a range is widened: the third makes it 3.4 times as wide on its own scale."""

OUTER_SHARE = 0.1
"""By hand: a best value in the outer tenth of a range may as well lie beyond it."""

_PROBABLE = 0.5
"""More often than not: rarer ones would warn of flat responses, whose best lies anywhere."""

_SLIGHT_GAIN = 0.001
"""By hand: a tenth of a point from the last node to the end is a rise, not noise."""


@dataclass(frozen=True)
class Edge:
    """An end of a range where the best value probably lies.

    The value is the best of one setup. `is_widened` tells whether `search.widen`
    asks for that range.
    """

    path: str
    end: float
    is_high: bool
    is_widened: bool = False

    def __str__(self) -> str:
        if self.path == TEMPERATURE:
            beyond = f"{'above' if self.is_high else 'below'} {self.end:.3g}"
            return f"The best temperature probably lies at the edge of its range and may be {beyond}."
        remedy = (
            f"The search widens a range once trials lie at its end, {MOST_WIDENINGS} times at most; "
            "what lies further out takes a study with a wider one."
            if self.is_widened
            else "Widen the range, or set `search.widen`."
        )
        return (
            f"The best `{self.path}` probably lies at the edge of its range ({self.end:g}): an effect of "
            f"temperature may be an effect of `{self.path}`. {remedy}"
        )


def edges(response: Response, setup: int, temperature_node: int) -> Iterator[Edge]:
    """Yield the edges at which a setup's best values lie, temperature first.

    Ranges that are not logarithmic may end where the parameter does, as alpha does at 1; a learning rate
    never does.

    Args:
        response: The study's response.
        setup: A setup that can be answered.
        temperature_node: The recommended temperature, at which the other parameters are judged.
    """
    yield from _temperature_edges(response.profile([setup]))
    yield from parameter_edges(response, setup, temperature_node)


def parameter_edges(response: Response, setup: int, temperature_node: int) -> Iterator[Edge]:
    """Yield those of `edges` that are about other parameters than temperature."""
    dimensions = response.space.site_at(setup, temperature_node).dimensions
    best_nodes = response.best_nodes(setup, temperature_node)
    for axis, nodes in zip(response.space.axes[1:], best_nodes.T, strict=True):
        dimension, positions = dimensions[axis.path], axis.positions[nodes]
        if isinstance(dimension, Range) and (dimension.log or is_learning_rate(axis.path)):
            is_widened = may_widen(response.spec, axis.path)
            if np.mean(positions <= OUTER_SHARE) >= _PROBABLE:
                yield Edge(axis.path, dimension.low, is_high=False, is_widened=is_widened)
            if np.mean(positions >= 1 - OUTER_SHARE) >= _PROBABLE:
                yield Edge(axis.path, dimension.high, is_high=True, is_widened=is_widened)


def _temperature_edges(profile: TemperatureProfile) -> Iterator[Edge]:
    if not profile.half_step:
        return
    last = len(profile.temperatures) - 1
    inside = max(1, round(OUTER_SHARE * last))
    best = profile.places
    for end, neighbour in ((0, inside), (last, last - inside)):
        still_rising = profile.draws[:, end] - profile.draws[:, neighbour] >= _SLIGHT_GAIN
        if ((best == end) & still_rising).mean() >= _PROBABLE:
            yield Edge(TEMPERATURE, float(profile.temperatures[end]), is_high=end == last)
