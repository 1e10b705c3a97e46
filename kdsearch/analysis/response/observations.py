"""What trials say about accuracy, as arrays in percentage points."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from kdsearch.analysis.response.axes import BoolArray, FloatArray, IntArray
from kdsearch.analysis.response.space import ResponseSpace
from kdsearch.spec import TEMPERATURE, StudySpec
from kdsearch.storage import DIVERGED, HOPELESS, TrialColumns, TrialRow, Trials, columns_of

POINTS = 100.0
"""Accuracies are fractions everywhere else; the model's numbers are percentage points."""

SOFT_FLOOR = 3.0
"""Points below the top: how bad a bad rate is must not shape the model where it is good; by hand."""

_STOPPED_BELOW = 10.0  # the pruner's margin: what it stopped would have ended under the median less this
_COLLAPSED_BELOW = 20.0  # so far below the top no seed's luck brings a trial that learned
_COLLAPSED_VARIANCE = 4.0  # a collapse says that the place is bad, not how bad
_COLLAPSED_SHARE = 0.25  # of the trials around; a lone one among sound ones is an accident
_DEEPEST = 80.0  # below the top: where students end that learned nothing
_AROUND = 0.1  # of an axis, by hand: trials this near share the place that is bad
_LENGTH = "training.epochs"
_LARGEST_KEY = 2**62
"""What still fits into the 64 bits of an integer."""


@dataclass(frozen=True)
class Competitors:
    """The trials of a setup that compete, by number [N]: nodes [N, P], and what was measured [N].

    Accuracies are fractions; what a trial does not tell is NaN.
    """

    number: IntArray
    nodes: IntArray
    temperature: FloatArray
    val_accuracy: FloatArray
    test_accuracy: FloatArray
    seconds: FloatArray

    def __len__(self) -> int:
        return len(self.nodes)

    @cached_property
    def n_places(self) -> int:
        """How many distinct places they have."""
        return len(distinct_rows(list(self.nodes.T))[0])

    @property
    def one_accuracy(self) -> float | None:
        """The accuracy that all of them have, below 100%: what moves it was not seen. Else None."""
        found = np.unique(self.val_accuracy)
        is_one = len(found) == 1 and found[0] < 1  # at the ceiling any temperature will do
        return float(found[0]) if is_one else None


@dataclass(frozen=True)
class Tally:
    """How a setup's trials ended: `complete` are those that compete, `failed` is without diverged ones."""

    complete: Competitors
    diverged: int
    failed: int
    pruned: int
    other_length: int
    outside: int

    @property
    def finished(self) -> int:
        """All trials that ended."""
        return len(self.complete) + sum(
            (self.diverged, self.failed, self.pruned, self.other_length, self.outside)
        )


@dataclass(frozen=True)
class Observations:
    """Measured accuracies: setup [N], node on each axis [N, P], points [N] (NaN: diverged or stopped).

    `reached` [N] is the last accuracy, in points, of those that were stopped: they would have ended above
    it. NaN of all others; None stands for nothing but NaN.
    """

    setup: IntArray
    nodes: IntArray
    points: FloatArray
    reached: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.setup)

    @property
    def at_least(self) -> FloatArray:
        """The points that each trial reached before it was stopped [N].

        NaN for others.
        """
        return np.full(len(self), np.nan) if self.reached is None else self.reached

    def take(self, which: IntArray) -> "Observations":
        """Return some of the observations."""
        return Observations(self.setup[which], self.nodes[which], self.points[which], self.at_least[which])

    def arrays(self) -> tuple[IntArray, IntArray, FloatArray, FloatArray]:
        """Return all that decides what a model makes of the observations."""
        return self.setup, self.nodes, self.points, self.at_least


def observe(
    spec: StudySpec, space: ResponseSpace, trials: Trials, study: int = 0
) -> tuple[Observations, list[Tally]]:
    """Return the trials' observations by number, and each setup's tally.

    A trial competes where it is complete and trained for as many epochs as were asked for. Of trials that
    diverged or were stopped as hopeless it is known that they end below the others, and above what they had
    reached. Those that failed for another reason are only counted.

    Args:
        spec: The study's spec.
        space: Where its trials lie.
        trials: The trials.
        study: Which study of the space it is: 0 for the space's own, n for its n-th earlier one.
    """
    columns = columns_of(trials)
    placed = _place(spec, space, columns, study)
    ended = _sort_by_end(columns, placed)
    informs = np.flatnonzero((ended.competes | ended.far_below) & (placed.nodes[:, 0] >= 0))
    measured = POINTS * _numbers(columns.val_accuracy)
    points = np.where(ended.competes, measured, np.nan)
    reached = np.where(ended.pruned, measured, np.nan)
    observations = Observations(
        placed.setup[informs], placed.nodes[informs], points[informs], reached[informs]
    )
    return observations, [_tally(columns, placed, ended, s) for s in range(len(space.distances))]


@dataclass(frozen=True)
class _Placed:
    """Where trials lie: setup [N] (-1: none of the study), nodes [N, P] (-1: outside), and what was asked."""

    setup: IntArray
    nodes: IntArray
    temperature: FloatArray
    asked_epochs: IntArray


def _place(spec: StudySpec, space: ResponseSpace, columns: TrialColumns, study: int) -> _Placed:
    site_of = space.sites_of(columns.setup, study)
    placed = _Placed(
        setup=np.full(len(columns), -1, dtype=np.intp),
        nodes=np.full((len(columns), len(space.axes)), -1, dtype=np.intp),
        temperature=np.full(len(columns), np.nan),
        asked_epochs=np.zeros(len(columns), dtype=np.intp),
    )
    for number in np.unique(site_of[site_of >= 0]):
        site, own = space.sites[number], np.flatnonzero(site_of == number)
        params = [columns.params[at] for at in own.tolist()]
        placed.setup[own] = site.index
        placed.nodes[own] = space.locate_all(site, params)
        inside = own[placed.nodes[own, 0] >= 0]
        placed.temperature[inside] = site.column(TEMPERATURE, (columns.params[at] for at in inside.tolist()))
        default = site.setup.get(_LENGTH, spec.training.epochs)
        placed.asked_epochs[own] = [int(values.get(_LENGTH, default)) for values in params]
    return placed


@dataclass(frozen=True)
class _Ended:
    """How trials of the study's setups ended, a mask [N] each."""

    diverged: BoolArray
    failed: BoolArray
    pruned: BoolArray
    other_length: BoolArray
    outside: BoolArray
    competes: BoolArray
    far_below: BoolArray


def _sort_by_end(columns: TrialColumns, placed: _Placed) -> _Ended:
    is_known = placed.setup >= 0
    state = np.array(columns.state, dtype=str)
    failed, pruned = (state == "failed") & is_known, (state == "pruned") & is_known
    measured = np.array([accuracy is not None for accuracy in columns.val_accuracy], dtype=bool)
    complete = (state == "complete") & is_known & measured
    epochs = np.array([epochs or 0 for epochs in columns.epochs], dtype=np.intp)
    other_length = complete & (epochs != 0) & (epochs != placed.asked_epochs)
    outside = complete & ~other_length & (placed.nodes[:, 0] < 0)
    diverged, hopeless = np.zeros((2, len(columns)), dtype=bool)
    for at in np.flatnonzero(failed | pruned).tolist():
        reason = columns.reason[at] or ""
        diverged[at] = failed[at] and reason == DIVERGED
        hopeless[at] = pruned[at] and reason.startswith(HOPELESS)
    competes = complete & ~other_length & ~outside
    return _Ended(
        diverged, failed & ~diverged, pruned, other_length, outside, competes, far_below=diverged | hopeless
    )


def _tally(columns: TrialColumns, placed: _Placed, ended: _Ended, setup: int) -> Tally:
    own = placed.setup == setup
    complete = np.flatnonzero(own & ended.competes)
    measured = (columns.val_accuracy, columns.test_accuracy, columns.seconds)
    return Tally(
        Competitors(
            np.array(columns.number, dtype=np.intp)[complete],
            placed.nodes[complete],
            placed.temperature[complete],
            *(_numbers([column[at] for at in complete.tolist()]) for column in measured),
        ),
        diverged=int((own & ended.diverged).sum()),
        failed=int((own & ended.failed).sum()),
        pruned=int((own & ended.pruned).sum()),
        other_length=int((own & ended.other_length).sum()),
        outside=int((own & ended.outside).sum()),
    )


def _numbers(values: Sequence[float | None]) -> FloatArray:
    """Return measured values; NaN where there is none."""
    return np.array(values, dtype=float)


def asked_epochs(spec: StudySpec, trial: TrialRow) -> int:
    """Return for how many epochs a trial was to train."""
    asked = {**trial.setup, **trial.params}.get(_LENGTH, spec.training.epochs)
    return int(asked)


@dataclass(frozen=True)
class Evidence:
    """Observations as the model takes them.

    Attributes:
        setup: Setup of each cell [N].
        nodes: Node on each axis [N, P].
        y: How far points lie from their setup's top, softly floored, centred by `centre` [N]. What setups
            differ by as a whole is left out: it tells nothing of temperature, and in the model it would be
            taken for effects of what is tuned where they differ by more than a few points.
        variance: Noise variance of a cell as a multiple of one trial's [N].
        centre: The mean of the setups' means.
        tops: Each setup's top, from which its soft floor hangs [S].
        n_spare: Observations of a setup beyond one for each of its cells [S].
        spread: Weighted squared deviations of the observations from their cell's mean [S].
    """

    setup: IntArray
    nodes: IntArray
    y: FloatArray
    variance: FloatArray
    centre: float
    tops: FloatArray
    n_spare: FloatArray
    spread: FloatArray

    def __len__(self) -> int:
        return len(self.setup)

    def with_variance(self, variance: FloatArray) -> "Evidence":
        """Return the same evidence under other noise multiples."""
        return replace(self, variance=variance)

    def take(self, which: IntArray) -> "Evidence":
        """Return some of the cells."""
        return replace(
            self,
            setup=self.setup[which],
            nodes=self.nodes[which],
            y=self.y[which],
            variance=self.variance[which],
        )

    def joined(self, other: "Evidence") -> "Evidence":
        """Return the evidence with another's cells, on the same scale."""
        return replace(
            self,
            setup=np.concatenate([self.setup, other.setup]),
            nodes=np.concatenate([self.nodes, other.nodes]),
            y=np.concatenate([self.y, other.y]),
            variance=np.concatenate([self.variance, other.variance]),
        )

    def to_accuracy(self, y: FloatArray, setup: int) -> FloatArray:
        """Return accuracies, as fractions, of values on the model's scale."""
        raised = self.tops[setup] - without_floor(-(y + self.centre))
        return np.asarray(np.clip(raised / POINTS, 0.0, 1.0))


def without_floor(below: FloatArray) -> FloatArray:
    """Return distances below a top in points, the soft floor undone."""
    deep = SOFT_FLOOR * (1 + np.expm1(np.maximum(below / SOFT_FLOOR - 1, 0)))
    return np.where(below > SOFT_FLOOR, deep, below)


def weigh(observations: Observations, n_setups: int) -> Evidence:
    """Return one cell for each observation, with the soft floor applied.

    What diverged or was stopped is known within bounds: it enters in their middle, with a variance that
    covers them. A collapse is neither an accident to be doubted, where others collapsed around it or nobody
    else was, nor exact.
    """
    tops = _tops(observations, n_setups)
    top, unknown = tops[observations.setup], np.isnan(observations.points)
    below = np.where(unknown, 0.0, top - observations.points)
    depth, variance = _soft(below), np.ones(len(observations))
    variance[_collapsed(observations, below)] = _COLLAPSED_VARIANCE
    deepest = _soft(np.where(np.isnan(observations.at_least), _DEEPEST, top - observations.at_least))
    highest = np.minimum(_soft(top - _lines(observations, tops)[observations.setup]), deepest)
    depth[unknown] = ((deepest + highest) / 2)[unknown]
    variance[unknown] = (_COLLAPSED_VARIANCE + (deepest - highest) ** 2 / 12)[unknown]
    floored = -depth
    present = np.unique(observations.setup)
    centre = (
        float(np.mean([floored[observations.setup == s].mean() for s in present])) if len(present) else 0.0
    )
    return Evidence(
        setup=observations.setup,
        nodes=observations.nodes,
        y=floored - centre,
        variance=variance,
        centre=centre,
        tops=tops,
        n_spare=np.zeros(n_setups),
        spread=np.zeros(n_setups),
    )


def _soft(below: FloatArray) -> FloatArray:
    """Return distances below a top in points, under the soft floor."""
    deep = SOFT_FLOOR * (1 + np.log1p(np.maximum(below / SOFT_FLOOR - 1, 0)))
    return np.where(below > SOFT_FLOOR, deep, below)


def _lines(observations: Observations, tops: FloatArray) -> FloatArray:
    """Return where each setup's hopeless trials would have ended [S].

    They would have ended below these points.
    """
    lines = tops - _STOPPED_BELOW
    for s in np.unique(observations.setup):
        points = observations.points[(observations.setup == s) & ~np.isnan(observations.points)]
        if len(points):
            lines[s] = np.median(points) - _STOPPED_BELOW
    return lines


def _collapsed(observations: Observations, below: FloatArray) -> BoolArray:
    """Return which trials collapsed [N]: far below the top, as were a quarter or more of those around.

    Around are the setup's trials within a tenth of each axis but the temperature's: what makes students
    collapse is a learning rate, at whatever temperature.
    """
    is_low = np.isnan(observations.points) | (below > _COLLAPSED_BELOW)
    others = observations.nodes[:, 1:]
    reach = _AROUND * np.maximum(np.ptp(others, axis=0), 1) if len(others) else np.zeros(others.shape[1])
    collapsed = np.zeros(len(observations), dtype=bool)
    for at in np.flatnonzero(is_low & ~np.isnan(observations.points)).tolist():
        around = observations.setup == observations.setup[at]
        around &= (np.abs(others - others[at]) <= reach).all(axis=1)
        collapsed[at] = is_low[around].mean() >= _COLLAPSED_SHARE
    return collapsed


def _tops(observations: Observations, n_setups: int) -> FloatArray:
    """Return the mean of each setup's best few observations (at most three)."""
    tops = np.full(n_setups, np.nan)
    for s in range(n_setups):
        points = observations.points[(observations.setup == s) & ~np.isnan(observations.points)]
        if len(points):
            tops[s] = np.sort(points)[-min(3, len(points) // 3 + 1) :].mean()
    known = tops[~np.isnan(tops)]
    return np.where(np.isnan(tops), known.mean() if len(known) else 0.0, tops)


def pool(evidence: Evidence, steps: Sequence[int]) -> Evidence:
    """Return the evidence with one cell for each place.

    A place is a setup's nodes. Exact: what the replicates say about the noise is kept in `n_spare` and
    `spread`.

    Args:
        evidence: Cells as `weigh` returns them, outliers already down-weighted.
        steps: How many neighbouring nodes of each axis count as the same; 1 pools replicates alone.
    """
    first, group = distinct_rows(cells_of(evidence, steps))
    weight = 1 / evidence.variance
    total = np.bincount(group, weight)
    mean = np.bincount(group, weight * evidence.y) / total
    centres = [np.bincount(group, weight * nodes) / total for nodes in evidence.nodes.T]
    nodes = np.rint(np.column_stack(centres)).astype(np.intp) if max(steps) > 1 else evidence.nodes[first]
    n_setups = len(evidence.tops)
    cells = np.bincount(evidence.setup[first], minlength=n_setups)
    off = weight * (evidence.y - mean[group]) ** 2
    return replace(
        evidence,
        setup=evidence.setup[first],
        nodes=nodes,
        y=mean,
        variance=1 / total,
        n_spare=evidence.n_spare + np.bincount(evidence.setup, minlength=n_setups) - cells,
        spread=evidence.spread + np.bincount(evidence.setup, off, n_setups),
    )


def cells_of(evidence: Evidence, steps: Sequence[int]) -> list[IntArray]:
    """Return columns [N] that tell the cells of `pool` apart: setup and places."""
    stride = np.array(steps)
    return [evidence.setup, *((evidence.nodes + stride // 2) // stride).T]


def distinct_rows(columns: Sequence[IntArray]) -> tuple[IntArray, IntArray]:
    """Return each distinct row's first index, and each row's group.

    Distinct rows come in sorted order. Like `np.unique(axis=0)`, but rows become single numbers first: with
    many rows that is ten times faster.

    Args:
        columns: Counts from 0 [N], the most significant first.
    """
    key, n_keys = np.zeros(len(columns[0]), dtype=np.intp), 1
    for column in columns:
        base = int(column.max(initial=0)) + 1
        if n_keys * base > _LARGEST_KEY:
            key = np.unique(key, return_inverse=True)[1]
            n_keys = int(key.max(initial=0)) + 1
        key, n_keys = key * base + column, n_keys * base
    _, first, group = np.unique(key, return_index=True, return_inverse=True)
    return first, group
