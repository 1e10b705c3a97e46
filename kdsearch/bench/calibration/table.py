"""Tables of really trained students: every setup × temperature × learning rate × seed, curves included.

Accuracies are kept as counts of right answers, so that a table of thousands of students is small.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt16

from kdsearch.errors import RequestError
from kdsearch.spec import TEMPERATURE, Params, Range, Setup, StudySpec, load_stored_spec, spec_document

LR = "optimizer.lr"
_VERSION = 1  # of the file; changes with its arrays
_MISSING = 65535  # the count that stands for a student that diverged


@dataclass(frozen=True)
class Axes:
    """What a table is spread over, beside its study's setups.

    Attributes:
        temperatures: Of all setups, rising.
        rates: Learning rates of each setup, rising.
        n_seeds: Seeds that all cells share; each draws its own first weights, views and batches.
    """

    temperatures: tuple[float, ...]
    rates: tuple[tuple[float, ...], ...]
    n_seeds: int

    @classmethod
    def of(cls, spec: StudySpec, shape: tuple[int, int, int]) -> "Axes":
        """Spread temperatures, rates and seeds over the ranges a study tunes.

        Raises:
            RequestError: The study tunes something else.
        """
        if set(spec.tune) != {TEMPERATURE, LR}:
            raise RequestError(
                f"`tune` must have {TEMPERATURE} and {LR} alone for a table, got {', '.join(spec.tune)}. "
                "Fix the other parameters."
            )
        n_temperatures, n_rates, n_seeds = shape
        setups = spec.setups()
        rates = tuple(_spread(spec.dimensions(setup)[LR], n_rates) for setup in setups)
        temperatures = _spread(spec.dimensions(setups[0])[TEMPERATURE], n_temperatures)
        return cls(temperatures, rates, n_seeds)


def _spread(dimension: Any, count: int) -> tuple[float, ...]:
    if not isinstance(dimension, Range):
        raise RequestError(f"`tune` must have ranges for a table, got {dimension}. Give `low` and `high`.")
    return tuple(float(dimension.from_unit(unit)) for unit in np.linspace(0.0, 1.0, count))


@dataclass(frozen=True)
class Table:
    """Accuracies of trained students as fractions, NaN where a student diverged.

    Attributes:
        spec: The study that they belong to.
        axes: What they are spread over.
        validation: Of the last epoch [S, U, L, K]: setups, temperatures, rates, seeds.
        test: The same on test images.
        curves: Validation accuracy after each epoch [S, U, L, K, E], NaN behind a setup's last epoch.
        sizes: Numbers of validation and of test images.
    """

    spec: StudySpec
    axes: Axes
    validation: Float64[np.ndarray, "S U L K"]
    test: Float64[np.ndarray, "S U L K"]
    curves: Float64[np.ndarray, "S U L K E"]
    sizes: tuple[int, int]

    @property
    def setups(self) -> list[Setup]:
        """The study's setups, in the table's order."""
        return self.spec.setups()

    def params(self, setup: int, temperature: int, rate: int) -> Params:
        """Return what the students of a cell were trained with."""
        return {TEMPERATURE: self.axes.temperatures[temperature], LR: self.axes.rates[setup][rate]}

    def save(self, path: Path) -> None:
        """Write the table to a file."""
        head = {
            "version": _VERSION,
            "spec": spec_document(self.spec),
            "temperatures": self.axes.temperatures,
            "rates": self.axes.rates,
            "sizes": self.sizes,
        }
        n_validation, n_test = self.sizes
        np.savez_compressed(
            path,
            head=np.array(json.dumps(head)),
            test=_counts(self.test, n_test),
            curves=_differences(_counts(self.curves, n_validation)),
        )

    @classmethod
    def load(cls, path: Path) -> "Table":
        """Read a table.

        Raises:
            RequestError: The file is missing or of another kind.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                head = json.loads(str(arrays["head"]))
                test, curves = arrays["test"], arrays["curves"]
        except (OSError, ValueError, KeyError) as error:
            raise RequestError(f"A table must be a file of `bench table`, got {path}: {error}.") from error
        if head["version"] != _VERSION:
            raise RequestError(
                f"A table must have version {_VERSION}, got {head['version']} in {path}. Make it again."
            )
        n_validation, n_test = head["sizes"]
        axes = Axes(tuple(head["temperatures"]), tuple(map(tuple, head["rates"])), test.shape[-1])
        fractions = _fractions(np.cumsum(curves, axis=-1, dtype=np.uint16), n_validation)
        return cls(
            spec=load_stored_spec(head["spec"]),
            axes=axes,
            validation=last_of(fractions),
            test=_fractions(test, n_test),
            curves=fractions,
            sizes=(n_validation, n_test),
        )


def last_of(curves: Float64[np.ndarray, "*B E"]) -> Float64[np.ndarray, "*B"]:
    """Return the last epoch of each curve.

    It is NaN where the curve diverged before its setup's last epoch.
    """
    lengths = (~np.isnan(curves)).sum(-1)
    asked = lengths.reshape(lengths.shape[0], -1).max(1).reshape(-1, *[1] * (lengths.ndim - 1))
    last = np.take_along_axis(curves, np.maximum(lengths - 1, 0)[..., None], -1)[..., 0]
    return np.where(lengths == asked, last, np.nan)


def _counts(fractions: Float64[np.ndarray, "..."], n_images: int) -> UInt16[np.ndarray, "..."]:
    counts = np.rint(np.nan_to_num(fractions) * n_images)
    return np.where(np.isnan(fractions), _MISSING, counts).astype(np.uint16)


def _fractions(counts: UInt16[np.ndarray, "..."], n_images: int) -> Float64[np.ndarray, "..."]:
    return np.where(counts == _MISSING, np.nan, counts / n_images)


def _differences(counts: UInt16[np.ndarray, "*B E"]) -> UInt16[np.ndarray, "*B E"]:
    """Return the steps from epoch to epoch, modulo 2**16: smaller numbers compress better."""
    return np.diff(counts, axis=-1, prepend=np.zeros_like(counts[..., :1]))
