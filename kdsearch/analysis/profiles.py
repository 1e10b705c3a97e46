"""Accuracy over temperature with the other parameters at their best, as draws, and what follows from it."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np

from kdsearch.analysis.axes import FloatArray, IntArray

Interval: TypeAlias = tuple[float, float]

_ROUNDING = 1e-9


@dataclass(frozen=True)
class TemperatureProfile:
    """Draws of accuracy over temperature, for one setup or averaged over several.

    Attributes:
        temperatures: Temperatures in rising order [U].
        draws: Accuracies, as fractions [Q, U].
        half_step: Half the log ratio of neighbouring temperatures; 0 where only these can be chosen.
    """

    temperatures: FloatArray
    draws: FloatArray
    half_step: float

    @cached_property
    def mean(self) -> FloatArray:
        """The expected accuracy at each temperature [U]."""
        return np.asarray(self.draws.mean(axis=0))

    @cached_property
    def regret(self) -> FloatArray:
        """What each temperature loses against the draw's best [Q, U]."""
        return np.asarray(self.draws.max(axis=1, keepdims=True) - self.draws)

    @property
    def best(self) -> int:
        """The index of the recommended temperature: the one with the least expected regret."""
        return int(self.mean.argmax())

    @property
    def temperature(self) -> float:
        """The recommended temperature."""
        return float(self.temperatures[self.best])

    @cached_property
    def log_best(self) -> FloatArray:
        """The log of each draw's best temperature [Q]."""
        return np.asarray(np.log(self.temperatures)[self.draws.argmax(axis=1)])

    def interval(self, level: float) -> Interval:
        """Return the shortest interval, in log temperature, that holds the best one with a probability.

        Where any temperature can be chosen, a draw's best one stands for all that lie nearer to it than to
        its neighbours, and one at an end of the range for that end. An interval that left out as much on
        both sides would hold more than was asked wherever an end may be best, for nothing lies beyond it.
        """
        places = np.sort(self.draws.argmax(axis=1))
        logs = self._spread_in_cells(places)
        n_held = math.ceil(level * len(places))
        widths = logs[n_held - 1 :] - logs[: len(logs) - n_held + 1]
        shortest = np.flatnonzero(widths <= widths.min() + _ROUNDING)
        first = int(shortest[len(shortest) // 2])
        last = first + n_held - 1
        ends = 0, len(self.temperatures) - 1
        low, high = (
            self.temperatures[places[n]] if places[n] in ends or not self.half_step else np.exp(logs[n])
            for n in (first, last)
        )
        return float(low), float(high)

    def central_interval(self, level: float) -> Interval:
        """Return the interval that leaves out as much, in probability, on both sides: longer, and safer.

        It holds more than `level` wherever an end of the range may be best. Where the draws know less than
        they claim, as of a setup that was never run, that is what the shortest one lacks.
        """
        tails = np.array([(1 - level) / 2, (1 + level) / 2])
        places = self.draws.argmax(axis=1)
        if not self.half_step:
            low, high = np.quantile(self.temperatures[places], tails, method="inverted_cdf")
            return float(low), float(high)
        share = np.bincount(places, minlength=len(self.temperatures)) / len(places)
        ends = np.interp(tails, np.concatenate([[0.0], share.cumsum()]), self._borders)
        low = self.temperatures[0] if share[0] >= tails[0] else np.exp(ends[0])
        high = self.temperatures[-1] if share[-1] >= 1 - tails[1] else np.exp(ends[1])
        return float(low), float(high)

    @property
    def _borders(self) -> FloatArray:
        """The log temperatures [U + 1] between which each one of the grid stands for all."""
        nodes = np.log(self.temperatures)
        return np.concatenate([nodes[:1], nodes[1:] - self.half_step, nodes[-1:]])

    def _spread_in_cells(self, places: IntArray) -> FloatArray:
        """Return log temperatures [Q] of places in rising order: those of a cell fill it evenly."""
        nodes = np.log(self.temperatures)
        if not self.half_step:
            return np.asarray(nodes[places])
        borders = self._borders
        count = np.bincount(places, minlength=len(nodes))
        nth = np.arange(len(places)) - (count.cumsum() - count)[places]
        share = (nth + 0.5) / count[places]
        return np.asarray(borders[places] + share * (borders[places + 1] - borders[places]))

    def near_optimal(self, level: float, tolerance: float) -> Interval | None:
        """Return the range around the best of temperatures that are, each with a probability, near the best.

        None where not even the recommended temperature is.
        """
        near = (self.regret <= tolerance).mean(axis=0) >= level
        if not near[self.best]:
            return None
        far = np.flatnonzero(~near)
        first = int(max(far[far < self.best], default=-1)) + 1
        last = int(min(far[far > self.best], default=len(near))) - 1
        return float(self.temperatures[first]), float(self.temperatures[last])

    def regret_at(self, temperature: float) -> float | None:
        """Return the expected accuracy lost by a temperature; None where it can't be chosen."""
        if self.half_step and self.temperatures[0] <= temperature <= self.temperatures[-1]:
            at = np.interp(np.log(temperature), np.log(self.temperatures), self.regret.mean(axis=0))
            return float(at)
        same = np.isclose(self.temperatures, temperature)
        return float(self.regret[:, same].mean()) if same.any() else None

    def is_flat(self, tolerance: float) -> bool:
        """Return whether the temperature hardly matters.

        That is: with a probability of two thirds, no temperature costs more than twice the tolerance. A
        draw's extremes differ by more than the truth's, so that curves whose true range is the tolerance or
        less are mostly called flat, and those with twice that hardly ever.
        """
        return bool((self.regret.max(axis=1) <= 2 * tolerance).mean() >= 2 / 3)
