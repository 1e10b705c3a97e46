"""A simulated study behind the interface that asking for packs needs."""

from collections.abc import Collection, Mapping, Sequence

from kdsearch.bench.search.simulation import SimulatedStudy
from kdsearch.spec import Params, Setup, StudySpec
from kdsearch.spec.widening import Widening, widened
from kdsearch.storage import TrialRow
from kdsearch.trial import Trial


class SimulatedRecord:
    """Trains what is started at once.

    `stopped` has why setups get no more trials, by their keys; `spec` is the study's, its ranges as they were
    widened. The truth keeps to the ranges of before.
    """

    def __init__(self, study: SimulatedStudy) -> None:
        self.study = study
        self.spec = study.spec
        self.stopped: Mapping[str, str] = {}
        self._widenings: list[Widening] = []

    def trials(self) -> list[TrialRow]:
        """Return every trial so far."""
        return self.study.rows

    def curves(self, numbers: Sequence[int]) -> Mapping[int, Mapping[int, float]]:  # noqa: ARG002
        """Return no curve: accuracy is computed for the last epoch alone."""
        return {}

    def take_waiting(
        self,
        size: int,  # noqa: ARG002 - the interface
        pack: str,  # noqa: ARG002
        aside: Collection[str] = (),  # noqa: ARG002
    ) -> list[Trial]:
        """Return no trial: none is ever lost."""
        return []

    def start(self, setup: Setup, params: Sequence[Params], pack: str) -> list[Trial]:  # noqa: ARG002
        """Return trials of a setup, which have ended by now."""
        rows = [self.study.run(setup, own) for own in params]
        spec = self.study.spec
        return [Trial.of(spec, setup, row.params, number=row.number, seed=row.seed) for row in rows]

    def stop_setups(self, reasons: Mapping[str, str]) -> None:
        """Take why setups get no more trials; all others do."""
        self.stopped = dict(reasons)

    def widenings(self) -> list[Widening]:
        """Return how ranges were widened so far."""
        return self._widenings

    def widen(self, widening: Widening) -> StudySpec:
        """Widen a range; return the spec that holds from now on."""
        self._widenings.append(widening)
        self.spec = widened(self.spec, [widening])
        return self.spec
