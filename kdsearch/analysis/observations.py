"""What trials say about accuracy, as arrays: in percentage points, floored softly, replicates pooled."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from kdsearch.analysis.axes import FloatArray, IntArray
from kdsearch.analysis.space import Nodes, ResponseSpace
from kdsearch.spec import StudySpec
from kdsearch.storage import DIVERGED, HOPELESS, TrialRow

POINTS = 100.0
SOFT_FLOOR = 3.0
_DIVERGED_BELOW_TOP = 20.0
_DIVERGED_VARIANCE = 40.0
_LENGTH = "training.epochs"


@dataclass
class Tally:
    """How a setup's trials ended; `complete` are those that compete, each with its node on every axis."""

    complete: list[tuple[Nodes, TrialRow]] = field(default_factory=list)
    failed: int = 0
    pruned: int = 0
    other_length: int = 0
    outside: int = 0


@dataclass(frozen=True)
class Observations:
    """Measured accuracies: setup [N], node on each axis [N, P], points [N] (NaN: diverged)."""

    setup: IntArray
    nodes: IntArray
    points: FloatArray

    def __len__(self) -> int:
        return len(self.setup)

    def take(self, which: IntArray) -> "Observations":
        """Return some of the observations."""
        return Observations(self.setup[which], self.nodes[which], self.points[which])

    def arrays(self) -> tuple[IntArray, IntArray, FloatArray]:
        """Return all that decides what a model makes of the observations."""
        return self.setup, self.nodes, self.points


def observe(
    spec: StudySpec, space: ResponseSpace, trials: Sequence[TrialRow], study: int = 0
) -> tuple[Observations, list[Tally]]:
    """Return what the trials say, in the order of their numbers, and a tally for each setup.

    A trial competes where it is complete and trained for as many epochs as were asked for. Trials that
    diverged or were hopeless are information: they end far below the others. Those that failed for another
    reason are only counted.

    Args:
        spec: The study's spec.
        space: Where its trials lie.
        trials: The trials.
        study: Which study of the space it is: 0 for the space's own, n for its n-th earlier one.
    """
    tallies = [Tally() for _ in space.distances]
    rows: list[tuple[int, Nodes, float]] = []
    for trial in sorted(trials, key=lambda trial: trial.number):
        site = space.site(trial.setup, study)
        if site is None:
            continue
        nodes = space.locate(site, trial.params)
        points = _count(tallies[site.index], trial, asked_epochs(spec, trial), nodes)
        if points is not None and nodes is not None:
            rows.append((site.index, nodes, points))
    observations = Observations(
        setup=np.array([row[0] for row in rows], dtype=np.intp),
        nodes=np.array([row[1] for row in rows], dtype=np.intp).reshape(-1, len(space.axes)),
        points=np.array([row[2] for row in rows], dtype=float),
    )
    return observations, tallies


def _count(tally: Tally, trial: TrialRow, asked_epochs: int, nodes: Nodes | None) -> float | None:
    """Add a trial to the tally; return its accuracy in points, NaN if diverged, None if it has no say."""
    if trial.state == "failed":
        tally.failed += 1
        return float("nan") if trial.reason == DIVERGED else None
    if trial.state == "pruned":
        tally.pruned += 1
        return float("nan") if (trial.reason or "").startswith(HOPELESS) else None
    if trial.state != "complete" or trial.val_accuracy is None:
        return None
    if trial.epochs not in (None, 0, asked_epochs):
        tally.other_length += 1
        return None
    if nodes is None:
        tally.outside += 1
        return None
    tally.complete.append((nodes, trial))
    return POINTS * trial.val_accuracy


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
        y: Softly floored points, centred by `centre` [N].
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

    def joined(self, setup: IntArray, nodes: IntArray, y: FloatArray) -> "Evidence":
        """Return the evidence with more cells, each as noisy as one trial."""
        return replace(
            self,
            setup=np.concatenate([self.setup, setup]),
            nodes=np.concatenate([self.nodes, nodes]),
            y=np.concatenate([self.y, y]),
            variance=np.concatenate([self.variance, np.ones(len(y))]),
        )

    def to_accuracy(self, y: FloatArray, setup: int) -> FloatArray:
        """Return accuracies, as fractions, of values on the model's scale."""
        raised = self.tops[setup] - without_floor(self.tops[setup] - (y + self.centre))
        return np.asarray(np.clip(raised / POINTS, 0.0, 1.0))


def without_floor(below: FloatArray) -> FloatArray:
    """Return how far values truly lie below a top, of what the soft floor makes of it, in points."""
    deep = SOFT_FLOOR * (1 + np.expm1(np.maximum(below / SOFT_FLOOR - 1, 0)))
    return np.where(below > SOFT_FLOOR, deep, below)


def weigh(observations: Observations, n_setups: int) -> Evidence:
    """Return one cell for each observation, with the soft floor applied."""
    tops = _tops(observations, n_setups)
    diverged = np.isnan(observations.points)
    below = np.where(diverged, _DIVERGED_BELOW_TOP, tops[observations.setup] - observations.points)
    deep = SOFT_FLOOR * (1 + np.log1p(np.maximum(below / SOFT_FLOOR - 1, 0)))
    floored = tops[observations.setup] - np.where(below > SOFT_FLOOR, deep, below)
    present = np.unique(observations.setup)
    centre = (
        float(np.mean([floored[observations.setup == s].mean() for s in present])) if len(present) else 0.0
    )
    return Evidence(
        setup=observations.setup,
        nodes=observations.nodes,
        y=floored - centre,
        variance=np.where(diverged, _DIVERGED_VARIANCE, 1.0),
        centre=centre,
        tops=tops,
        n_spare=np.zeros(n_setups),
        spread=np.zeros(n_setups),
    )


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
    """Return the evidence with one cell for all observations at the same nodes.

    Exact: what the replicates say about the noise is kept in `n_spare` and `spread`.

    Args:
        evidence: Cells as `weigh` returns them, outliers already down-weighted.
        steps: How many neighbouring nodes of each axis count as the same; 1 pools replicates alone.
    """
    stride = np.array(steps)
    coarse = (evidence.nodes + stride // 2) // stride
    keys = np.column_stack([evidence.setup, coarse])
    _, first, group = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    group = group.reshape(-1)
    weight = 1 / evidence.variance
    total = np.bincount(group, weight)
    mean = np.bincount(group, weight * evidence.y) / total
    centres = [np.bincount(group, weight * nodes) / total for nodes in evidence.nodes.T]
    nodes = np.rint(np.column_stack(centres)).astype(np.intp) if stride.max() > 1 else evidence.nodes[first]
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
