"""Studies of a table: they search a third of its seeds, the others are the truth."""

from functools import cache
from pathlib import Path

import numpy as np

from kdsearch.bench.calibration.smoothing import smoothed
from kdsearch.bench.calibration.table import LR, Table
from kdsearch.bench.calibration.worlds import Truth, World
from kdsearch.spec import TEMPERATURE, Params, Setup, setup_key

_PARTS = 3  # a search sees every third seed: the truth needs more students than a search
FOLDER = Path(__file__).parent / "tables"


def shipped() -> list[str]:
    """Return the names of the tables that ship."""
    return sorted(path.stem for path in FOLDER.glob("*.npz"))


@cache
def table_of(place: str) -> Table:
    """Return a table by its name, or another by its path.

    A name is that of a table that ships.
    """
    return Table.load(FOLDER / f"{place}.npz" if place in shipped() else Path(place))


@cache
def truth_of(place: str, setup: int, seeds: tuple[int, ...]) -> Truth:
    """Return the truth of a table's setup by some of its seeds.

    It is of validation and test images together.
    """
    table = table_of(place)
    n_validation, n_test = table.sizes
    validation, test = (one[setup][:, :, list(seeds)] for one in (table.validation, table.test))
    both = (n_validation * validation + n_test * test) / (n_validation + n_test)
    return smoothed(100 * both, table.axes.temperatures)


class TableWorld(World):
    """Looks up trials among a table's students, each used once.

    A trial gets a student of the nearest cell that has one left.

    Args:
        place: The table's name or path.
        seed: Fixes the search, and which third of the table's seeds it sees.
        n_trials: The budget that the spec names.
    """

    def __init__(self, place: str, seed: int, n_trials: int) -> None:
        self.place, self.table = place, table_of(place)
        spec = self.table.spec
        search = spec.search.model_copy(update={"trials": n_trials, "seed": seed})
        super().__init__(spec.model_copy(update={"search": search}))
        self._draw = np.random.default_rng([seed, 1])
        n_seeds = self.table.axes.n_seeds
        seen = np.arange(n_seeds) % _PARTS == seed % _PARTS
        self._seen = np.flatnonzero(seen)
        self._hidden = tuple(np.flatnonzero(~seen).tolist())
        self._index = {setup_key(setup): k for k, setup in enumerate(spec.setups())}
        shape = (*self.table.validation.shape[:3], len(self._seen))
        self._left = np.ones(shape, dtype=bool)

    def index(self, setup: Setup) -> int:
        """Return a setup's place in the table."""
        return self._index[setup_key(setup)]

    def outcome(self, setup: Setup, params: Params) -> tuple[Params, int, float | None]:
        """Return a student of the nearest cell that has one left.

        With its accuracy come the parameters and the seed that it was trained with.
        """
        s = self.index(setup)
        u, v = (self.dimension(path, setup).to_unit(params[path]) for path in (TEMPERATURE, LR))
        left = self._left[s]
        positions = [np.linspace(0, 1, n) for n in left.shape[:2]]
        apart = (positions[0][:, None] - u) ** 2 + (positions[1][None] - v) ** 2
        cell = np.unravel_index(np.where(left.any(axis=-1), apart, np.inf).argmin(), apart.shape)
        k = int(self._draw.choice(np.flatnonzero(left[cell])))
        self._left[s][cell][k] = False
        seed = int(self._seen[k])
        accuracy = float(self.table.validation[s][cell][seed])
        trained = self.table.params(s, int(cell[0]), int(cell[1]))
        return trained, seed, None if np.isnan(accuracy) else accuracy

    def truth(self, setup: Setup) -> Truth:
        """Return the truth by the seeds that the search does not see.

        It is of validation and test images together.
        """
        return truth_of(self.place, self.index(setup), self._hidden)

    def sensible(self, setup: Setup) -> Params:
        """Return the learning rate that is best on average.

        The average is over temperatures and the setups that have the same range.
        """
        rates = self.table.axes.rates
        own = rates[self.index(setup)]
        alike = [k for k, known in enumerate(rates) if known == own]
        accuracies = np.nan_to_num(self.table.validation[alike])
        return {LR: own[int(accuracies.mean(axis=(0, 1, 3)).argmax())]}
