"""Which ranges a search should widen."""

from collections import Counter
from collections.abc import Sequence

from kdsearch.analysis.labels import setup_names
from kdsearch.analysis.questions.edges import MOST_WIDENINGS, OUTER_SHARE, Edge, edges
from kdsearch.analysis.response.fitted import Response
from kdsearch.analysis.threads import one_blas_thread
from kdsearch.spec.widening import Widening, level_of_range, may_widen, widen_range

ENOUGH_TO_WIDEN = 8
"""Complete trials of a setup, by hand: with fewer it may be luck that its best values are at an end."""

_MOST_NAMES = 3
"""More make the sentence unreadable."""


@one_blas_thread
def find_widenings(response: Response, done: Sequence[Widening]) -> list[Widening]:
    """Return the ranges that `search.widen` lets be widened now.

    Each is widened at most once and at one end. A range is one for all setups, or for those of a level: one
    of them decides, once it has trials near that end. What the model only expects there is no reason.

    Args:
        response: The study's response, under its ranges as they are now.
        done: How they were widened before.
    """
    spec = response.spec
    if not spec.search.widen:
        return []
    at_end: dict[tuple[str, str | None], tuple[Edge, list[int]]] = {}
    for s, tally in enumerate(response.tallies[: len(response.space.setups)]):
        if response.silence(s) or len(tally.complete) < ENOUGH_TO_WIDEN:
            continue
        node = _recommended_node(response, s)
        setup = response.space.site_at(s, node).setup
        for edge in edges(response, s, node):
            if may_widen(spec, edge.path) and _was_tried(response, s, edge):
                place = edge.path, level_of_range(spec, edge.path, setup)
                first, members = at_end.setdefault(place, (edge, []))
                members += [s] if edge == first else []
    times = Counter((widening.path, widening.level) for widening in done)
    names = setup_names(response.space.setups)
    found = [
        widen_range(spec, *place, is_high=edge.is_high, reason=_reason(edge, [names[s] for s in members]))
        for place, (edge, members) in at_end.items()
        if times[place] < MOST_WIDENINGS
    ]
    return [widening for widening in found if widening is not None]


def _was_tried(response: Response, setup: int, edge: Edge) -> bool:
    """Return whether a complete trial is near the end at an edge.

    Near is the outer tenth of the range.
    """
    index = next(i for i, axis in enumerate(response.space.axes) if axis.path == edge.path)
    positions = response.space.axes[index].positions
    tried = positions[response.tallies[setup].complete.nodes[:, index]]
    inside = positions[response.space.allowed(setup, index)]
    low, high = inside.min(), inside.max()
    near = OUTER_SHARE * (high - low)
    return bool((tried >= high - near).any() if edge.is_high else (tried <= low + near).any())


def _reason(edge: Edge, names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    end = "upper" if edge.is_high else "lower"
    return f"the best value probably lies at the {end} end in {'; '.join(names[:_MOST_NAMES])}{more}"


def _recommended_node(response: Response, setup: int) -> int:
    temperature = response.profile([setup]).temperature
    return int(response.recommended_nodes(setup, temperature)[0])
