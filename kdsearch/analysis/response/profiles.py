"""Accuracy over temperature, as draws, and what follows from it."""

import math
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import NamedTuple, TypeAlias

import numpy as np

from kdsearch.analysis.response.axes import FloatArray, IntArray
from kdsearch.analysis.response.kernels import SHORTEST

Interval: TypeAlias = tuple[float, float]

_ROUNDING = 1e-9
"""Values this close are equal but for the order of a sum."""

_GOLDEN = 0.6180339887498949
"""Multiples of the golden ratio, modulo 1, are spread evenly however many there are."""

_MOVED_OUT = 0.03
"""Smooth draws put the best of a one-sided curve too far from its steep side: with this share of the range
added, intervals kept their promise in 92 to 96% of such curves instead of 81 to 92%."""

_FLAT = 0.8
"""How probable it must be of each temperature that it hardly matters. Chosen on 130 simulated studies: about
nearly flat curves draws scatter 1.4 to 2 times as far as they err, so that it is wrong far less than 20%."""

_MISSED = 0.045
"""After 16 trials three in four of the benchmark's cusps are missed by less than this share of the range."""

_SHARPER = 0.3
"""Of what a curve changes by near a temperature: the standard error by which a smooth model misses it there.
Without it intervals of 90% held what T = 4 loses in 71 to 76% of simulated cusps, and in 53 to 57% of curves
that fall at once."""

_LEAST_LOSS = 0.001
"""A tenth of a point is less than any two runs of a training differ by."""


class Losses(NamedTuple):
    """What each temperature loses against the recommended one, as fractions.

    Attributes:
        mean: The expected loss [U].
        low: Where the interval of each begins [U]; below 0 where the temperature may gain.
        high: Where it ends [U].
    """

    mean: FloatArray
    low: FloatArray
    high: FloatArray


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

    @property
    def expected_regret(self) -> float:
        """The accuracy that the recommended temperature is expected to lose."""
        return float(self.regret[:, self.best].mean())

    def chance_to_lose(self, loss: float, at: int | None = None) -> float:
        """Return the probability that a temperature loses more than `loss`.

        It is the recommended temperature, or the n-th.
        """
        return float((self.regret[:, self.best if at is None else at] > loss).mean())

    @property
    def lost_at_a_cusp(self) -> float:
        """What the recommended temperature might lose more, were the curve's top a cusp.

        A smooth model puts a round top between two slopes, on which little is lost by a small miss. A cusp
        loses half of what the curve differs by at two places as far to both sides, or what its slopes lose
        within a usual miss: the less of both, as a cusp has two slopes and trials tell the one from the
        other in time. 0 where the range ends sooner, or only some temperatures can be chosen.
        """
        lowest, highest = float(self.temperatures[0]), float(self.temperatures[-1])
        apart = (highest / lowest) ** SHORTEST  # within this length a sharp top is taken for a round one
        low, high = self.temperature / apart, self.temperature * apart
        if not self.half_step or low < lowest or high > highest:
            return 0.0
        below, above = self.accuracy_at(low), self.accuracy_at(high)
        least_fall = self.mean[self.best] - max(below.mean(), above.mean())
        return float(min(np.abs(below - above).mean() / 2, max(least_fall, 0.0) * _MISSED / SHORTEST))

    @property
    def interval_loss(self) -> float:
        """The accuracy within which `interval` promises to hold the best temperature.

        The very best can't be promised: where a curve is steep on one side, smooth draws put it too far on
        the other (measured: intervals of 90% held it in 43% of simulated one-sided curves). What the
        recommendation is expected to lose is what an answer can't tell apart.
        """
        return max(_LEAST_LOSS, self.expected_regret)

    @cached_property
    def places(self) -> IntArray:
        """Which temperature is best in each draw [Q]. Draws in which several are take them in turn."""
        tied = self.draws >= self.draws.max(axis=1, keepdims=True) - _ROUNDING
        turn = np.arange(len(tied)) * _GOLDEN % 1.0
        nth = (turn * tied.sum(axis=1)).astype(np.intp)
        return np.asarray((tied.cumsum(axis=1) == nth[:, None] + 1).argmax(axis=1))

    @cached_property
    def log_best(self) -> FloatArray:
        """The log of each draw's best temperature [Q]."""
        return np.asarray(np.log(self.temperatures)[self.places])

    def interval(self, level: float) -> Interval:
        """Return the interval that holds the best temperature, to within `interval_loss`.

        It is `shortest_interval`, its ends moved out by 3% of the range where any temperature can be chosen,
        and it holds the recommended temperature.
        """
        low, high = self.shortest_interval(level)
        if self.half_step:
            out = float(self.temperatures[-1] / self.temperatures[0]) ** _MOVED_OUT
            low = max(low / out, float(self.temperatures[0]))
            high = min(high * out, float(self.temperatures[-1]))
        return min(low, self.temperature), max(high, self.temperature)

    def shortest_interval(self, level: float) -> Interval:
        """Return the shortest interval that holds a share of draws' bests.

        Its length is measured in log T. Where any temperature can be chosen, a draw's best one stands for all
        that are nearer to it than to its neighbours, and one at an end of the range for that end. An interval
        that left out as much on both sides would hold more than was asked wherever an end may be best:
        nothing is beyond it.
        """
        places = np.sort(self.places)
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
        """Return the interval that leaves equal probability on both sides.

        It is longer than the shortest, and safer. It holds more than `level`
        wherever an end of the range may be best. Where the draws know less than they claim, as of a setup
        that was never run, that is what the shortest one lacks.
        """
        tails = np.array([(1 - level) / 2, (1 + level) / 2])
        places = self.places
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
        """The log temperatures [U + 1] between the cells of the grid.

        Each temperature of the grid stands for all of its cell.
        """
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
        """Return the range in which each temperature is nearly the best.

        None where not even the recommended temperature is.
        """
        near = (self.regret <= tolerance).mean(axis=0) >= level
        if not near[self.best]:
            return None
        far = np.flatnonzero(~near)
        first = int(max(far[far < self.best], default=-1)) + 1
        last = int(min(far[far > self.best], default=len(near))) - 1
        return float(self.temperatures[first]), float(self.temperatures[last])

    def nearest(self, temperature: float) -> int:
        """Return the index of the nearest temperature, by their ratio."""
        return int(np.abs(np.log(self.temperatures / temperature)).argmin())

    def accuracy_at(self, temperature: float) -> FloatArray:
        """Return each draw's accuracy [Q] at a temperature.

        It must be one that can be chosen.
        """
        if not self.half_step or len(self.temperatures) < 2:
            return np.asarray(self.draws[:, self.nearest(temperature)])
        return _interpolated(math.log(temperature), np.log(self.temperatures), self.draws)

    def lost(self, level: float) -> "Losses":
        """Return what each temperature loses against the recommended one, with intervals.

        They are those of the draws, widened by what a curve may have that no draw is sharp enough for.
        """
        lost = self.draws[:, [self.best]] - self.draws
        mean = lost.mean(axis=0)
        low, high = np.quantile(lost, [(1 - level) / 2, (1 + level) / 2], axis=0)
        sharper = NormalDist().inv_cdf((1 + level) / 2) * self._sharper
        return Losses(mean, mean - np.hypot(mean - low, sharper), mean + np.hypot(high - mean, sharper))

    @property
    def _sharper(self) -> FloatArray:
        """The standard error [U] of `lost` by which a curve may be sharper than draws are.

        It grows with what the mean curve changes by within the model's shortest length of a temperature and
        of the recommended one, as that is where a bend would be drawn too round, and fades where they meet.
        """
        if not self.half_step:
            return np.zeros(len(self.temperatures))
        places = np.log(self.temperatures)
        length = SHORTEST * (places[-1] - places[0])
        apart = np.abs(places[:, None] - places)
        near = apart <= length * (1 + _ROUNDING)
        highest = np.where(near, self.mean, -np.inf).max(axis=1)
        change = highest - np.where(near, self.mean, np.inf).min(axis=1)
        both = np.hypot(change, change[self.best])
        return np.asarray(_SHARPER * both * np.minimum(apart[self.best] / length, 1.0))

    def lost_at(self, temperature: float, level: float) -> tuple[float, Interval] | None:
        """Return a temperature's loss against the recommended one, with an interval.

        The interval reaches below 0 where the temperature may gain. None
        where it can't be chosen.
        """
        lost = self.lost(level)
        if (
            self.half_step
            and len(self.temperatures) > 1
            and self.temperatures[0] <= temperature <= self.temperatures[-1]
        ):
            places = np.log(self.temperatures)
            found = [np.interp(np.log(temperature), places, own) for own in lost]
        else:
            same = np.flatnonzero(np.isclose(self.temperatures, temperature))
            if not len(same):
                return None
            found = [own[same[0]] for own in lost]
        mean, low, high = map(float, found)
        return mean, (low, high)

    def is_flat(self, tolerance: float) -> bool:
        """Return whether temperature hardly matters.

        That is: each temperature loses, with a probability of 80%, at most twice the tolerance against the
        recommended one. A curve that is not flat has some temperature that loses more, and that one alone
        has to be told: so no temperature need share its probability with others, as it would have to if
        all were asked at once, whose extremes doubt alone moves apart.
        """
        lost = self.draws[:, [self.best]] - self.draws
        return bool(((lost <= 2 * tolerance).mean(axis=0) >= _FLAT).all())


def _interpolated(at: float, places: FloatArray, values: FloatArray) -> FloatArray:
    """Return values [Q] at a place, interpolated from values [Q, U].

    Their places are in rising order.
    """
    above = int(np.clip(np.searchsorted(places, at), 1, len(places) - 1))
    share = (at - places[above - 1]) / (places[above] - places[above - 1])
    return np.asarray((1 - share) * values[:, above - 1] + share * values[:, above])
