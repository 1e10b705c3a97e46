"""What a study is searched in: trials that cost nothing, and a truth to judge its answers by."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from kdsearch.search import Proposer
from kdsearch.search.balance import is_evidence
from kdsearch.spec import TEMPERATURE, Params, Range, Setup, StudySpec
from kdsearch.storage import TrialRow


@dataclass(frozen=True)
class Truth:
    """A setup's true accuracy over temperature, every other parameter at its best.

    Attributes:
        temperatures: Rising [U].
        draws: Accuracy in points [D, U]; more than one draw where the truth itself was measured.
    """

    temperatures: Float64[np.ndarray, " U"]
    draws: Float64[np.ndarray, "D U"]

    @property
    def profile(self) -> Float64[np.ndarray, " U"]:
        """The expected accuracy in points at each temperature."""
        return np.asarray(self.draws.mean(axis=0))

    @property
    def losses(self) -> Float64[np.ndarray, " U"]:
        """What each temperature is expected to lose, in points.

        The loss is against the best temperature.
        """
        return np.asarray(self.profile.max() - self.profile)

    @property
    def error(self) -> float:
        """The standard error of what a temperature loses, in points.

        It is averaged over temperatures.
        """
        apart = self.draws - self.draws[:, [int(self.profile.argmax())]]
        return float(apart.std(axis=0).mean())

    def at(self, temperature: float, profile: Float64[np.ndarray, " U"] | None = None) -> float:
        """Return the accuracy in points at a temperature."""
        known = self.profile if profile is None else profile
        return float(np.interp(np.log(temperature), np.log(self.temperatures), known))

    def loss(self, temperature: float) -> float:
        """Return what a temperature loses against the best one, in points."""
        return float(self.profile.max() - self.at(temperature))

    def inside(self, interval: tuple[float, float]) -> Float64[np.ndarray, " N"]:
        """Return what an interval's temperatures lose, in points.

        Its ends are included.
        """
        low, high = interval
        between = self.temperatures[(self.temperatures > low) & (self.temperatures < high)]
        return np.array([self.loss(float(t)) for t in (low, *between, high)])


class World(ABC):
    """A study whose students are looked up or computed.

    Attributes:
        spec: The study's spec.
        rows: Its trials so far, in the order of their numbers.
    """

    def __init__(self, spec: StudySpec) -> None:
        self.spec = spec
        self.rows: list[TrialRow] = []

    @abstractmethod
    def outcome(self, setup: Setup, params: Params) -> tuple[Params, int, float | None]:
        """Return a trial's true parameters, its seed, and its accuracy.

        The accuracy is None where the student diverged.
        """

    @abstractmethod
    def truth(self, setup: Setup) -> Truth:
        """Return a setup's truth."""

    @abstractmethod
    def sensible(self, setup: Setup) -> Params:
        """Return what a practitioner would choose without a search.

        It holds the parameters beside the temperature.
        """

    def outcomes(self, setup: Setup, params: Sequence[Params]) -> Sequence[tuple[Params, int, float | None]]:
        """Return the `outcome` of each trial of a pack."""
        return [self.outcome(setup, own) for own in params]

    def run(self, setup: Setup, params: Sequence[Params]) -> None:
        """Train a pack of students and keep its trials."""
        self.rows += [
            self._row(len(self.rows) + k, setup, found)
            for k, found in enumerate(self.outcomes(setup, params))
        ]

    def _row(self, number: int, setup: Setup, found: tuple[Params, int, float | None]) -> TrialRow:
        trained, seed, accuracy = found
        return TrialRow(
            number=number,
            state="complete" if accuracy is not None else "failed",
            reason=None if accuracy is not None else "diverged",
            setup=setup,
            params=trained,
            seed=seed,
            epochs=self.spec.resolve(setup, {}).training.epochs,
            val_accuracy=accuracy,
        )

    def search(self, proposer: Proposer, n_trials: int) -> Sequence[TrialRow]:
        """Run packs that a proposer asks for, until so many trials count."""
        while (room := n_trials - sum(map(is_evidence, self.rows))) > 0:
            proposal = proposer.propose(self.rows, min(room, self.spec.pack_size))
            self.run(proposal.setup, proposal.params[:room])
        return self.rows

    def dimension(self, path: str, setup: Setup) -> Range:
        """Return the range of a tuned parameter."""
        dimension = self.spec.dimensions(setup)[path]
        assert isinstance(dimension, Range)  # noqa: S101 - worlds tune ranges alone
        return dimension

    def temperature_at(self, setup: Setup, unit: float) -> float:
        """Return the temperature at a share of its range."""
        return float(self.dimension(TEMPERATURE, setup).from_unit(unit))
