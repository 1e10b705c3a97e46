"""A pack: what the search hands to a worker. Imports nothing that a worker would not load anyway."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from kdsearch.search.pruning import Floors
from kdsearch.trial import Trial


@dataclass(frozen=True)
class Pack:
    """Trials of one setup that are trained together, and what prunes them.

    `floors` are accuracies by epoch; the trials of the numbers `given_up` end with their first epoch. Those
    of the numbers `audited` go on under a floor, to show whether they end above the `line` after all.
    """

    name: str
    trials: Sequence[Trial]
    floors: Floors = field(default_factory=dict)
    given_up: Sequence[int] = ()
    audited: Sequence[int] = ()
    line: float = 0.0
