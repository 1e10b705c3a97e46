"""A setup fitted alone, from its own trials.

Sharing between setups is right on average, but how much two of them have in common can hardly be learned
from a few levels of a factor: it is mostly the prior's. So what an answer owes to other setups is shown, and
it is decided only where the setup alone does not contradict it.
"""

from dataclasses import replace

import numpy as np

from kdsearch.analysis.response.axes import FloatArray
from kdsearch.analysis.response.fitting import Fit, fit
from kdsearch.analysis.response.kernels import Kernel
from kdsearch.analysis.response.observations import Observations

ENOUGH_ALONE = 6
"""With fewer observations a setup alone tells nothing but the prior."""

_FIT_CELLS = 64
"""Enough for the few hyper-parameters of one setup; twelve setups are fitted for one answer."""


def fit_alone(shared: Fit, observations: Observations, setup: int) -> Fit | None:
    """Return the model of one setup's own trials.

    In it the setup is number 0. None where its trials are too few.

    Args:
        shared: The model of all setups: where its hyper-parameters are, those of one begin.
        observations: Those of all setups.
        setup: The setup.
    """
    kernel, own = _only(shared, observations, setup)
    if np.isfinite(own.points).sum() < ENOUGH_ALONE:
        return None
    return fit(kernel, own, start=_start(kernel, shared, setup), n_cells=_FIT_CELLS)


def fit_apart(shared: Fit, observations: Observations, setup: int) -> Fit:
    """Return the model of a setup that the others contradict: of its own trials, however few they are.

    What the others told the hyper-parameters is no start for it: they may be steep where it is flat.
    """
    kernel, own = _only(shared, observations, setup)
    return fit(kernel, own, n_cells=_FIT_CELLS)


def _only(shared: Fit, observations: Observations, setup: int) -> tuple[Kernel, Observations]:
    own = observations.take(np.flatnonzero(observations.setup == setup))
    kernel = Kernel(shared.kernel.axes, np.zeros((1, 1, 0)))
    return kernel, replace(own, setup=np.zeros_like(own.setup))


def _start(kernel: Kernel, shared: Fit, setup: int) -> FloatArray:
    """Return where the fit of one setup alone begins.

    It takes the hyper-parameters of all setups' model that such a model has too: those come first.
    """
    start = shared.theta[: kernel.layout.size].copy()
    start[kernel.layout.noise] = np.log(shared.kernel.noise(shared.theta)[setup])
    return np.asarray(np.clip(start, *np.array(kernel.bounds()).T))
