"""The default sampler: learns the response of accuracy to temperature, and asks where it is in doubt."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from kdsearch.analysis.axes import FloatArray, IntArray
from kdsearch.analysis.candidates import candidates, product_nodes
from kdsearch.analysis.fitting import Fit, fit, pool_to_fit
from kdsearch.analysis.kernels import Kernel
from kdsearch.analysis.observations import Observations, observe
from kdsearch.analysis.process import Process
from kdsearch.analysis.space import ResponseSpace, Site
from kdsearch.analysis.surfaces import mean_surface
from kdsearch.analysis.threads import one_blas_thread
from kdsearch.analysis.transfer import EarlierStudy, joined, observe_earlier
from kdsearch.search.balance import count_by_setup, next_setup, trials_of
from kdsearch.search.knowledge import knowledge_gradient_pack, plausible_maximisers
from kdsearch.search.proposer import Proposal
from kdsearch.search.start import covering_setups, start_points
from kdsearch.spec import ENOUGH_TRIALS, Params, Setup, StudySpec, setup_key
from kdsearch.storage import TrialRow

_REFIT_GROWTH = 1.15
_PENDING_CELLS = 300
"""As about so many cells do more trials that run enter the model: its time grows with their cube."""


class ProfileProposer:
    """Serves the setups in turn, each with the pack that teaches most about its best accuracy.

    The search starts like a grid: temperature in strata, the other parameters around their defaults, in a
    part of the setups that covers all factor levels where packs are large. From then on a model of all
    setups says what is believed, trials still running included, and the knowledge gradient picks the pack.
    """

    def __init__(self, spec: StudySpec, seed: int, earlier: Sequence[EarlierStudy] = ()) -> None:
        self._spec = spec
        self._seed = seed
        self._space = ResponseSpace(spec, [study.spec for study in earlier])
        self._earlier = observe_earlier(self._space, earlier)
        self._kernel = Kernel(self._space.axes, self._space.distances)
        self._fitted: tuple[bytes, FloatArray] = (b"", self._kernel.prior_mean)

    @one_blas_thread
    def propose(self, trials: Sequence[TrialRow], size: int, decided: Collection[str] = ()) -> Proposal:
        """Return the next pack: a setup and `size` parameter sets."""
        observations, tallies = observe(self._spec, self._space, trials)
        n_complete = sum(len(tally.complete) for tally in tallies)
        n_earlier = sum(len(part) for part in self._earlier)
        setup = None if n_earlier else self._setup_to_start(trials, size)
        if setup is None:
            setup = next_setup(self._spec, trials, decided)
            if n_complete + n_earlier >= max(ENOUGH_TRIALS, size):
                return Proposal(setup, self._learn(setup, observations, trials, size))
        first = len(trials_of(setup, trials))
        return Proposal(setup, start_points(self._spec, setup, first, size, self._seed))

    def _setup_to_start(self, trials: Sequence[TrialRow], size: int) -> Setup | None:
        """Return the setup of the start design that has the fewest trials; None once all have enough."""
        counts = count_by_setup(trials)
        first = covering_setups(self._spec.setups(), size)
        fewest = min(first, key=lambda setup: counts[setup_key(setup)])
        return fewest if counts[setup_key(fewest)] < ENOUGH_TRIALS else None

    def _learn(
        self, setup: Setup, observations: Observations, trials: Sequence[TrialRow], size: int
    ) -> list[Params]:
        site = self._space.site(setup)
        assert site is not None  # noqa: S101 - it is one of the spec's setups
        rng = np.random.default_rng([self._seed, len(trials)])
        process = self._with_pending(self._fit(observations), trials)
        places = self._places(site, process, rng)
        setups = np.full(len(places), site.index, dtype=np.intp)
        mean, variance = process.believe_each(setups, places)
        kept = plausible_maximisers(mean, variance, rng)
        mean, covariance = process.believe(setups[kept], places[kept])
        noise = float(process.tables.noise[site.index])
        pack = knowledge_gradient_pack(mean, covariance, noise, size, rng)
        return [self._params(site, places[kept[index]]) for index in pack]

    def _fit(self, observations: Observations) -> Fit:
        """Return the model; its hyper-parameters are fitted anew with every 15% more observations."""
        n_fitted = min(1, len(observations))
        while n_fitted * _REFIT_GROWTH + 1 <= len(observations):
            n_fitted = int(n_fitted * _REFIT_GROWTH) + 1
        fitted = joined(observations.take(np.arange(n_fitted)), self._earlier)
        digest = hashlib.sha256(b"".join(array.tobytes() for array in fitted.arrays())).digest()
        if self._fitted[0] != digest:
            self._fitted = (digest, fit(self._kernel, fitted).theta)
        return fit(self._kernel, joined(observations, self._earlier), self._fitted[1])

    def _with_pending(self, found: Fit, trials: Sequence[TrialRow]) -> Process:
        """Return the process in which the trials that run or wait are as good as measured at its mean."""
        running = [(self._space.site(t.setup), t) for t in trials if t.state in ("running", "waiting")]
        located = [(site, self._space.locate(site, t.params)) for site, t in running if site is not None]
        places = [(site.index, nodes) for site, nodes in located if nodes is not None]
        process = found.process()
        if not places:
            return process
        setup = np.array([index for index, _ in places], dtype=np.intp)
        nodes = np.array([nodes for _, nodes in places], dtype=np.intp)
        ones = np.ones(len(setup))
        pending = replace(found.evidence, setup=setup, nodes=nodes, y=ones, variance=ones)
        if len(pending) > _PENDING_CELLS:
            pending = pool_to_fit(self._kernel, pending, _PENDING_CELLS)
        mean, _ = process.believe_each(pending.setup, pending.nodes)
        return Process(self._kernel, found.theta, found.evidence.joined(replace(pending, y=mean)))

    def _places(self, site: Site, process: Process, rng: np.random.Generator) -> IntArray:
        """Return the nodes [N, P] among which the pack is chosen."""
        others = candidates(self._space, site.index, mean_surface(process), process.evidence, rng)
        for axis, allowed in enumerate(site.allowed[1:]):
            others = others[allowed[others[:, axis]]]
        temperatures = np.flatnonzero(site.allowed[0])
        step = 2 if self._space.axes[0].continuous and len(temperatures) > 2 else 1
        return product_nodes(temperatures[::step], others)

    def _params(self, site: Site, nodes: IntArray) -> Params:
        values = self._space.values(site, list(nodes))
        return {path: values[path] for path in self._spec.tune if path in values}
