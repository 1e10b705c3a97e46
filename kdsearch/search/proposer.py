"""What every sampler does: it sees the trials and proposes a pack."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from kdsearch.spec import Params, Setup
from kdsearch.storage import TrialRow


@dataclass(frozen=True)
class Proposal:
    """One setup, and the parameters of its next trials."""

    setup: Setup
    params: Sequence[Params]


class Proposer(Protocol):
    """Chooses what is trained next.

    A proposer keeps nothing that the trials do not tell: a study that goes on after a crash is
    searched as one that never stopped.
    """

    def propose(self, trials: Sequence[TrialRow], size: int, decided: Collection[str] = ()) -> Proposal:
        """Return `size` parameter sets of one setup.

        Args:
            trials: Every trial so far, those running and waiting included.
            size: How many parameter sets are wanted, at least 1.
            decided: Keys of setups that get no more trials; not all of them.
        """
