"""A pack: what the search hands to a worker. Imports nothing that a worker would not load anyway."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kdsearch.search.pruning import Floors
from kdsearch.spec import StudySpec
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

    def to_dict(self) -> dict[str, Any]:
        """Return the pack as the plain values that travel to its worker."""
        trials = [trial.to_dict() for trial in self.trials]
        return {**self.__dict__, "trials": trials, "given_up": [*self.given_up], "audited": [*self.audited]}

    @classmethod
    def from_dict(cls, study: StudySpec, values: Mapping[str, Any]) -> "Pack":
        """Return the pack that `to_dict` described, of the same study."""
        return cls(**{**values, "trials": [Trial.from_dict(study, own) for own in values["trials"]]})
