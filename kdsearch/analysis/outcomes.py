"""How trials ended, by temperature: what a pruner removed, and where students diverged."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kdsearch.spec import TEMPERATURE, Choices, Range, Setup, StudySpec
from kdsearch.storage import DIVERGED, TrialRow


@dataclass(frozen=True)
class TemperatureBand:
    """How the trials of one range of temperatures ended."""

    low: float
    high: float
    complete: int
    pruned: int
    diverged: int
    failed: int

    @property
    def finished(self) -> int:
        """All trials of the band that ended."""
        return self.complete + self.lost

    @property
    def lost(self) -> int:
        """The trials that ended without a full training."""
        return self.pruned + self.diverged + self.failed

    def to_dict(self) -> dict[str, Any]:
        """Return the band as a JSON document."""
        return dict(self.__dict__)


def temperature_of(trial: TrialRow) -> float | None:
    """Return a trial's temperature, or None where it was neither tuned nor a factor."""
    value = trial.params.get(TEMPERATURE, trial.setup.get(TEMPERATURE))
    return None if value is None else float(value)


def belongs_to(trial: TrialRow, setup: Setup) -> bool:
    """Return whether a trial has all the levels of a setup, which may name only some factors."""
    return all(trial.setup.get(path) == level for path, level in setup.items())


def temperature_bands(
    trials: Sequence[TrialRow], span: tuple[float, float], *, n_bands: int = 6
) -> list[TemperatureBand]:
    """Return how the finished trials ended, over equal steps of log temperature within a span."""
    finished = [t for t in trials if t.state in ("complete", "pruned", "failed")]
    at = {t.number: temperature for t in finished if (temperature := temperature_of(t)) is not None}
    edges = _band_edges(span, n_bands)
    places = {number: _band_of(temperature, edges) for number, temperature in at.items()}
    return [
        _count([t for t in finished if places.get(t.number) == index], edges[index], edges[index + 1])
        for index in range(len(edges) - 1)
    ]


def band_of(temperature: float, bands: Sequence[TemperatureBand]) -> int:
    """Return the index of the band that holds a temperature."""
    return _band_of(temperature, [*(band.low for band in bands), bands[-1].high])


def outcome(trial: TrialRow) -> str:
    """Return how a finished trial ended: complete, pruned, diverged, or failed otherwise."""
    return DIVERGED if trial.state == "failed" and trial.reason == DIVERGED else trial.state


def temperature_span(trials: Sequence[TrialRow], spec: StudySpec) -> tuple[float, float]:
    """Return the lowest and the highest temperature that the spec allows or a trial had."""
    ranges = [spec.dimensions(setup).get(TEMPERATURE) for setup in spec.setups()]
    values = [t for trial in trials if (t := temperature_of(trial)) is not None]
    for dimension in ranges:
        if isinstance(dimension, Range):
            values += [dimension.low, dimension.high]
        elif isinstance(dimension, Choices):
            values += [float(choice) for choice in dimension.choices if isinstance(choice, int | float)]
    values += [float(level) for level in spec.setup.get(TEMPERATURE, ())]
    return min(values), max(values)


def _band_edges(span: tuple[float, float], n_bands: int) -> list[float]:
    low, high = span
    return [float(edge) for edge in np.geomspace(low, high, n_bands + 1)] if low < high else [low, high]


def _band_of(temperature: float, edges: Sequence[float]) -> int:
    index = int(np.searchsorted(edges, temperature, side="right")) - 1
    return min(max(index, 0), max(len(edges) - 2, 0))


def _count(trials: list[TrialRow], low: float, high: float) -> TemperatureBand:
    ends: list[Any] = [outcome(trial) for trial in trials]
    counts = {kind: ends.count(kind) for kind in ("complete", "pruned", "diverged", "failed")}
    return TemperatureBand(low, high, **counts)
