"""How trials ended, by temperature: what a pruner removed, and where students diverged."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kdsearch.analysis.response.axes import BoolArray, FloatArray, IntArray
from kdsearch.spec import TEMPERATURE, Choices, Range, Setup, StudySpec
from kdsearch.storage import DIVERGED, TrialColumns, TrialRow, Trials, columns_of
from kdsearch.trial import AUDITED, CAME_BACK

KINDS = ("complete", "pruned", DIVERGED, "failed")
_COUNTED = (*KINDS, "audited", "came_back")


@dataclass(frozen=True)
class TemperatureBand:
    """How the trials of one range of temperatures ended.

    `audited` of the complete ones would have been stopped as hopeless, had they not been chosen to show how
    often that is wrong; `came_back` of these ended above the pruner's line.
    """

    low: float
    high: float
    complete: int
    pruned: int
    diverged: int
    failed: int
    audited: int = 0
    came_back: int = 0

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
    """Return a trial's temperature, else None.

    None means that it was neither tuned nor a factor.
    """
    value = trial.params.get(TEMPERATURE, trial.setup.get(TEMPERATURE))
    return None if value is None else float(value)


def belongs_to(trial: TrialRow, setup: Setup) -> bool:
    """Return whether a trial has all the levels of a setup.

    The setup may name only some factors.
    """
    return all(trial.setup.get(path) == level for path, level in setup.items())


@dataclass(frozen=True)
class Outcomes:
    """How trials ended [N]. Kinds are places in `KINDS` (-1: not yet); a temperature may be NaN."""

    kind: IntArray
    temperature: FloatArray
    audited: BoolArray
    came_back: BoolArray

    def take(self, which: BoolArray) -> "Outcomes":
        """Return those of some trials."""
        return Outcomes(self.kind[which], self.temperature[which], self.audited[which], self.came_back[which])

    def bands(self, span: tuple[float, float], *, n_bands: int = 6) -> list[TemperatureBand]:
        """Return the outcomes over equal steps of log temperature.

        They are those of `temperature_bands`, with the same reason for six.
        """
        edges = _band_edges(span, n_bands)
        ended = self.take((self.kind >= 0) & ~np.isnan(self.temperature))
        counts = np.zeros((len(edges) - 1, len(_COUNTED)), dtype=int)
        at = _places(ended.temperature, edges)
        np.add.at(counts, (at, ended.kind), 1)
        for column, which in enumerate((ended.audited, ended.came_back), start=len(KINDS)):
            np.add.at(counts, (at[which], column), 1)
        ends = zip(edges, edges[1:], counts.tolist(), strict=False)
        return [
            TemperatureBand(low, high, **dict(zip(_COUNTED, own, strict=True))) for low, high, own in ends
        ]


def outcomes_of(trials: Trials) -> Outcomes:
    """Return how trials ended, by number."""
    columns = columns_of(trials)
    places = {kind: place for place, kind in enumerate(KINDS)}
    kind = np.array([places.get(state, -1) for state in columns.state], dtype=np.intp)
    for at in np.flatnonzero(kind == places["failed"]).tolist():
        kind[at] = places[DIVERGED] if columns.reason[at] == DIVERGED else kind[at]
    reasons = [reason or "" for reason in columns.reason]
    complete = kind == places["complete"]
    audited = np.array([reason.startswith((AUDITED, CAME_BACK)) for reason in reasons], dtype=bool)
    came_back = np.array([reason.startswith(CAME_BACK) for reason in reasons], dtype=bool)
    return Outcomes(kind, _temperatures(columns), complete & audited, complete & came_back)


def temperature_bands(
    trials: Trials, span: tuple[float, float], *, n_bands: int = 6
) -> list[TemperatureBand]:
    """Return how finished trials ended, in equal steps of log temperature.

    Args:
        trials: The study's trials.
        span: The lowest and the highest temperature.
        n_bands: How many bands, of equal width in log T; by hand: in more, few have trials enough.
    """
    return outcomes_of(trials).bands(span, n_bands=n_bands)


def band_of(temperature: float, bands: Sequence[TemperatureBand]) -> int:
    """Return the index of the band that holds a temperature."""
    edges = [*(band.low for band in bands), bands[-1].high]
    return int(_places(np.array([temperature]), edges)[0])


def outcome(trial: TrialRow) -> str:
    """Return how a finished trial ended: complete, pruned, diverged, or failed otherwise."""
    return DIVERGED if trial.state == "failed" and trial.reason == DIVERGED else trial.state


def temperature_span(trials: Trials, spec: StudySpec) -> tuple[float, float]:
    """Return the lowest and the highest temperature allowed or tried.

    What the spec allows counts, and what any trial had.
    """
    ranges = [spec.dimensions(setup).get(TEMPERATURE) for setup in spec.setups()]
    had = _temperatures(columns_of(trials))
    values = had[~np.isnan(had)].tolist()
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


def _places(temperature: FloatArray, edges: Sequence[float]) -> IntArray:
    """Return the band of each temperature. What lies outside belongs to the outer ones."""
    found = np.searchsorted(edges, temperature, side="right") - 1
    return np.clip(found, 0, max(len(edges) - 2, 0))


def _temperatures(columns: TrialColumns) -> FloatArray:
    """Return each trial's temperature. NaN where it was neither tuned nor a factor."""
    values = [params.get(TEMPERATURE) for params in columns.params]
    if None in values:
        pairs = zip(columns.setup, values, strict=True)
        values = [setup.get(TEMPERATURE) if value is None else value for setup, value in pairs]
    return np.array(values, dtype=float)
