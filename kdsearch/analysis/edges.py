"""Best values at the end of their range: what lies beyond may be better, and may be taken for something else.

Temperature acts as a hidden learning rate. Where the best learning rate lies at the end of its range, a
temperature that moves it further looks better, or worse, than it is.
"""

from collections.abc import Iterator

import numpy as np

from kdsearch.analysis.profiles import TemperatureProfile
from kdsearch.analysis.response import Response
from kdsearch.spec import Range

_OUTER_SHARE = 0.1
_PROBABLE = 0.5
_SLIGHT_GAIN = 0.001


def edge_warnings(response: Response, setup: int, temperature_node: int) -> Iterator[str]:
    """Yield a warning for each logarithmic range at whose end a setup's best value probably lies.

    Ranges that are not logarithmic may end where the parameter does, as alpha does at 1.

    Args:
        response: The study's response.
        setup: A setup that can be answered.
        temperature_node: The recommended temperature, at which the other parameters are judged.
    """
    yield from _temperature_warnings(response.profile([setup]))
    yield from parameter_warnings(response, setup, temperature_node)


def parameter_warnings(response: Response, setup: int, temperature_node: int) -> Iterator[str]:
    """Yield the warnings of `edge_warnings` that are about other parameters than temperature."""
    dimensions = response.space.site_at(setup, temperature_node).dimensions
    best_nodes = response.best_nodes(setup, temperature_node)
    for axis, nodes in zip(response.space.axes[1:], best_nodes.T, strict=True):
        dimension, positions = dimensions[axis.path], axis.positions[nodes]
        if isinstance(dimension, Range) and dimension.log:
            for edge, is_near in (
                (dimension.low, positions <= _OUTER_SHARE),
                (dimension.high, positions >= 1 - _OUTER_SHARE),
            ):
                if np.mean(is_near) >= _PROBABLE:
                    yield (
                        f"The best `{axis.path}` probably lies at the edge of its range ({edge:g}): an "
                        f"effect of temperature may be an effect of `{axis.path}`. Widen the range."
                    )


def _temperature_warnings(profile: TemperatureProfile) -> Iterator[str]:
    if not profile.half_step:
        return
    last = len(profile.temperatures) - 1
    inside = max(1, round(_OUTER_SHARE * last))
    best = profile.draws.argmax(axis=1)
    for end, neighbour, word in ((0, inside, "below"), (last, last - inside, "above")):
        still_rising = profile.draws[:, end] - profile.draws[:, neighbour] >= _SLIGHT_GAIN
        if ((best == end) & still_rising).mean() >= _PROBABLE:
            yield (
                "The best temperature probably lies at the edge of its range and may be "
                f"{word} {profile.temperatures[end]:.3g}."
            )
