"""Hyper-parameters: their most probable values with broken trials doubted, and draws around those."""

from dataclasses import dataclass

import numpy as np
import scipy

from kdsearch.analysis.response.axes import BoolArray, FloatArray, IntArray
from kdsearch.analysis.response.doubts import OUTLIER_VARIANCE, doubted, doubted_unseen
from kdsearch.analysis.response.kernels import Kernel
from kdsearch.analysis.response.observations import (
    Evidence,
    Observations,
    cells_of,
    distinct_rows,
    pool,
    weigh,
)
from kdsearch.analysis.response.process import Posterior, Process

_RARE = 0.25
"""Accidents are rare: no such share of a setup's trials are accidents."""

_SAME_DOUBT = 0.2
"""By hand: variances that change less than a fifth move no hyper-parameter."""

_ENOUGH_TO_FIT = 3
"""Fewer observations say nothing that the prior does not."""

_FIT_CELLS = 240
"""So many observations tell the hyper-parameters; a step of the fit costs their square to cube."""

_SOLVE_CELLS = 700
"""By hand: the solution costs their cube, so more are pooled with their neighbours."""

_ITERATIONS = (30, 15, 30)
"""By hand, of L-BFGS in each round of doubt: the rounds settle after two or three."""

_CLOSE = 1e-6
"""A smaller relative gain of the log posterior moves no answer: draws are reweighted about its top."""


@dataclass(frozen=True)
class Fit:
    """Hyper-parameters, the sample they were fitted on, and all evidence pooled.

    `contradicted` are the setups of whose own trials the model of all setups takes too many for accidents.
    """

    kernel: Kernel
    theta: FloatArray
    sample: Evidence
    evidence: Evidence
    contradicted: tuple[int, ...] = ()

    def process(self, theta: FloatArray | None = None) -> Process:
        """Return the process given all the evidence."""
        return Process(self.kernel, self.theta if theta is None else theta, self.evidence)


def fit(
    kernel: Kernel,
    observations: Observations,
    theta: FloatArray | None = None,
    *,
    start: FloatArray | None = None,
    n_cells: int = _FIT_CELLS,
) -> Fit:
    """Return the most probable hyper-parameters, and the evidence.

    Evidence that is too low gets doubted. At most `n_cells` observations, the newest and an even sample of
    the older ones of each setup, decide the hyper-parameters. All of them enter the evidence, as at most
    about 700 cells.

    Args:
        kernel: The covariance of the study.
        observations: What was measured; at least one.
        theta: Hyper-parameters that are known already.
        start: Where their search begins, if not at the prior's mean: near the end it takes fewer steps.
        n_cells: How many observations decide the hyper-parameters.
    """
    everything = weigh(observations, kernel.n_setups)
    chosen = _sample(observations, kernel.n_setups, n_cells)
    plain = everything.take(chosen)
    if theta is None:
        theta, sample = _most_probable(kernel, plain, kernel.prior_mean if start is None else start)
    else:
        sample = doubted(kernel, theta, plain, doubted(kernel, theta, plain, plain))
    variance = everything.variance.copy()
    variance[chosen] = sample.variance
    rest = np.setdiff1d(np.arange(len(everything)), chosen)
    if len(rest):
        variance[rest] = doubted_unseen(kernel, theta, plain, sample, everything.take(rest))
    evidence = pool_to_fit(kernel, everything.with_variance(variance), _SOLVE_CELLS)
    contradicted = _contradicted(everything.setup, variance >= OUTLIER_VARIANCE)
    return Fit(kernel, theta, _pool_replicates(sample), evidence, contradicted)


def _contradicted(setup: IntArray, is_accident: BoolArray) -> tuple[int, ...]:
    share = np.bincount(setup, is_accident) / np.maximum(np.bincount(setup), 1)
    return tuple(np.flatnonzero(share >= _RARE).tolist())


def _sample(observations: Observations, n_setups: int, n_cells: int) -> IntArray:
    """Return which observations are fitted: per setup the newest half and an even sample of the rest."""
    if len(observations) <= n_cells:
        return np.arange(len(observations))
    share = max(4, n_cells // n_setups)
    chosen = []
    for s in range(n_setups):
        own = np.flatnonzero(observations.setup == s)
        newest, older = own[-(share // 2) :], own[: -(share // 2)]
        n_older = min(len(older), share - len(newest))
        spaced = older[np.linspace(0, len(older) - 1, n_older).astype(int)] if n_older else older
        chosen.append(np.union1d(spaced, newest))
    return np.concatenate(chosen)


def _most_probable(kernel: Kernel, plain: Evidence, theta: FloatArray) -> tuple[FloatArray, Evidence]:
    """Return the most probable hyper-parameters and their evidence, doubted.

    They are fitted again where they raise other doubts; those of the last fit stay.
    """
    if len(plain) < _ENOUGH_TO_FIT:
        return kernel.prior_mean, plain
    doubts = doubted(kernel, theta, plain, plain)
    for iterations in _ITERATIONS:
        evidence = doubts
        found = scipy.optimize.minimize(
            Posterior(kernel, _pool_replicates(evidence)).value_and_gradient,
            theta,
            jac=True,
            method="L-BFGS-B",
            bounds=kernel.bounds(),
            options={"maxiter": iterations, "ftol": _CLOSE},
        )
        theta = np.asarray(found.x)
        doubts = doubted(kernel, theta, plain, evidence)
        if np.allclose(doubts.variance, evidence.variance, rtol=_SAME_DOUBT):
            break
    return theta, evidence


def _pool_replicates(evidence: Evidence) -> Evidence:
    return pool(evidence, [1] * evidence.nodes.shape[1])


def pool_to_fit(kernel: Kernel, evidence: Evidence, n_cells: int) -> Evidence:
    """Pool replicates. Where more than about `n_cells` are left, neighbours on the ordered axes too.

    Args:
        kernel: The model's covariance.
        evidence: All that was observed.
        n_cells: About so many places are left.
    """
    places = evidence.take(distinct_rows(cells_of(evidence, [1] * len(kernel.axes)))[0])
    for step in (1, 2, 4, 8):
        steps = [step if axis.continuous else 1 for axis in kernel.axes]
        if len(distinct_rows(cells_of(places, steps))[0]) <= n_cells:
            break
    return pool(evidence, steps)


def hyperparameter_draws(found: Fit, n_draws: int, rng: np.random.Generator) -> list[FloatArray]:
    """Return draws of the hyper-parameters: a Laplace approximation, reweighted by importance.

    The noise profile of the setups stays at its most probable values.

    Args:
        found: The fitted model.
        n_draws: How many.
        rng: What is drawn from.
    """
    posterior = Posterior(found.kernel, found.sample)
    free = np.arange(found.kernel.layout.profile.start)
    curvature, directions = np.linalg.eigh(_hessian(posterior, found.theta, free))
    curvature = np.maximum(curvature, 1 / found.kernel.prior_sd.max() ** 2)
    n_tried = 4 * n_draws
    normal = rng.standard_normal((n_tried, len(free)))
    tried = np.tile(found.theta, (n_tried, 1))
    tried[:, free] += (normal / np.sqrt(curvature)) @ directions.T
    tried = np.clip(tried, *np.array(found.kernel.bounds()).T)
    log_weight = np.array([-posterior.value(theta) for theta in tried]) + 0.5 * (normal**2).sum(axis=1)
    weight = np.exp(log_weight - log_weight.max())
    weight = np.minimum(weight, np.sqrt(n_tried) * weight.mean())
    return list(tried[rng.choice(n_tried, n_draws, p=weight / weight.sum())])


def _hessian(posterior: Posterior, theta: FloatArray, free: IntArray, step: float = 1e-3) -> FloatArray:
    """Return the curvature among the free hyper-parameters, by differences of the gradient.

    The step is small beside the priors' spread of about 1, and large beside rounding.
    """
    centre = posterior.value_and_gradient(theta)[1][free]
    rows = []
    for index in free:
        moved = theta.copy()
        moved[index] += step
        rows.append((posterior.value_and_gradient(moved)[1][free] - centre) / step)
    matrix = np.array(rows)
    return 0.5 * (matrix + matrix.T)
