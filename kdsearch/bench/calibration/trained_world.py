"""A table's study, with students trained as they are asked for."""

from collections.abc import Sequence
from pathlib import Path

from kdsearch.bench.calibration.table_world import TableWorld, truth_of
from kdsearch.bench.calibration.worlds import Truth
from kdsearch.distill import train_pack
from kdsearch.seeds import trial_seed
from kdsearch.spec import Params, Setup

_ARTIFACTS = Path("~/.cache/kdsearch").expanduser()


class TrainedWorld(TableWorld):
    """Trains every trial by a seed of its own. The whole table is the truth, for it saw none of them."""

    def outcomes(self, setup: Setup, params: Sequence[Params]) -> Sequence[tuple[Params, int, float | None]]:
        """Train a pack."""
        first = trial_seed(self.spec.search.seed, len(self.rows))
        members = [{**own, "seed": first + k} for k, own in enumerate(params)]
        results = train_pack(self.spec.resolve(setup, {}), members, artifacts=_ARTIFACTS)
        return [
            (own, first + k, result.metrics.get("val_accuracy") if result.state == "complete" else None)
            for k, (own, result) in enumerate(zip(params, results, strict=True))
        ]

    def truth(self, setup: Setup) -> Truth:
        """Return the truth by all seeds of the table."""
        return truth_of(self.place, self.index(setup), tuple(range(self.table.axes.n_seeds)))
