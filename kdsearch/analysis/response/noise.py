"""How far accuracy scatters from seed to seed."""

import math

from kdsearch.analysis.response.fitted import ENOUGH_POINTS
from kdsearch.analysis.response.fitting import fit
from kdsearch.analysis.response.kernels import Kernel
from kdsearch.analysis.response.observations import POINTS, observe
from kdsearch.analysis.response.space import ResponseSpace
from kdsearch.analysis.threads import one_blas_thread
from kdsearch.spec import Setup, StudySpec
from kdsearch.storage import Trials


@one_blas_thread
def seed_noise(spec: StudySpec, trials: Trials, setup: Setup) -> float | None:
    """Return the standard deviation of a setup's accuracy over seeds.

    It is a fraction. The model learns it from replicates and from what no smooth response explains. None
    where fewer than `ENOUGH_POINTS` of its trials are complete. Setups that differ in their temperature alone
    share one noise.
    """
    space = ResponseSpace(spec)
    observations, tallies = observe(spec, space, trials)
    site = space.site(setup)
    if site is None or len(tallies[site.index].complete) < ENOUGH_POINTS:
        return None
    found = fit(Kernel(space.axes, space.distances), observations)
    return math.sqrt(found.kernel.noise(found.theta)[site.index]) / POINTS
