"""The default sampler: looks everywhere first, then where doubt is."""

import hashlib
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from kdsearch.analysis.questions.forecast import target_of
from kdsearch.analysis.questions.replication import find_gaps, usual_index
from kdsearch.analysis.response.axes import FloatArray
from kdsearch.analysis.response.fitting import Fit, fit, hyperparameter_draws
from kdsearch.analysis.response.kernels import Kernel
from kdsearch.analysis.response.observations import POINTS, Observations, observe
from kdsearch.analysis.response.space import ResponseSpace, Site
from kdsearch.analysis.response.surfaces import Surfaces, draw_surfaces
from kdsearch.analysis.response.warm_start import EarlierStudy, joined, observe_earlier
from kdsearch.analysis.threads import one_blas_thread
from kdsearch.search.balance import count_by_setup, covering_order, in_doubt_first, trials_of
from kdsearch.search.beliefs import SetupBelief, believe
from kdsearch.search.proposer import Proposal
from kdsearch.search.regions import NEAR_POINTS, balanced_pack
from kdsearch.search.start import start_points
from kdsearch.seeds import numbered_seed
from kdsearch.spec import ENOUGH_TRIALS, TEMPERATURE, Params, Setup, StudySpec, setup_key
from kdsearch.storage import TrialRow

_REFIT_GROWTH = 1.15
"""Hyper-parameters change little with 15% more observations, and fitting them is most of asking's time."""

_ENOUGH_TO_BELIEVE = 8
"""Below so many observations the model knows less of the rates than an even spread over them tells."""

ENOUGH_TO_CHALLENGE = 8
"""With fewer trials the temperature that looks best is not worth its replicates yet."""

_MOST_WEIGHED = 48
"""Of more setups those with the fewest trials are weighed: each takes some 10 ms of every ask."""

_NEARLY = 1.5
"""A setup is nearly decided where its expected regret is at most so many times the target."""

_HYPERPARAMETER_DRAWS, _DRAWS_EACH = 3, 32
"""About a hundred surfaces tell a region's chance of 5% from none."""


class ProfileProposer:
    """Serves the setup most in doubt, and leaves no temperature untried.

    A setup's first pack runs through the range of temperatures, at rates that are spread while nothing is
    known of them and drawn from the model afterwards. Every later pack balances what was tried *at a rate
    that is good there* over four regions of temperature, each by its chance to hold the best and none
    forgotten: an early accident can't keep the search from looking again.
    """

    def __init__(self, spec: StudySpec, seed: int, earlier: Sequence[EarlierStudy] = ()) -> None:
        self._spec = spec
        self._seed = seed
        self._space = ResponseSpace(spec, [study.spec for study in earlier])
        self._earlier = observe_earlier(self._space, earlier)
        self._kernel = Kernel(self._space.axes, self._space.distances)
        self._order = covering_order(spec.setups())
        self._index = {setup_key(setup): self._site(setup).index for setup in self._order}
        self._fitted: tuple[bytes, list[FloatArray]] = (b"", [self._kernel.prior_mean])

    @one_blas_thread
    def propose(self, trials: Sequence[TrialRow], size: int, decided: Collection[str] = ()) -> Proposal:
        """Return the next pack: a setup and `size` parameter sets."""
        observations, _ = observe(self._spec, self._space, trials)
        n_known = sum(bool(trial.setup or trial.params) for trial in trials)  # Optuna's may be empty yet
        rng = np.random.default_rng(numbered_seed(self._seed, n_known))
        undecided = [setup for setup in self._order if setup_key(setup) not in decided]
        counts = count_by_setup(trials)
        fewest = min(undecided, key=lambda setup: counts[setup_key(setup)])
        is_first = counts[setup_key(fewest)] < max(ENOUGH_TRIALS, size) and not self._earlier
        known = joined(observations, self._earlier)
        if len(known) < _ENOUGH_TO_BELIEVE:
            first = len(trials_of(fewest, trials))
            return Proposal(fewest, start_points(self._spec, fewest, first, size, self._seed))
        found, surfaces = self._believe(observations, known, rng)
        weighed = sorted(undecided, key=lambda setup: counts[setup_key(setup)])[:_MOST_WEIGHED]
        beliefs = {
            setup_key(setup): believe(self._space, self._site(setup), found, surfaces, rng)
            for setup in ([fewest] if is_first else weighed)
        }
        setup = fewest
        if not is_first:
            doubts = _while_running(self._doubts(weighed, beliefs), trials)
            setup = in_doubt_first(weighed, counts, doubts, size)
        site, belief = self._site(setup), beliefs[setup_key(setup)]
        tried, positions = self._tried(site, trials), self._space.axes[0].positions
        challenged = [] if is_first else self._challenged(belief, tried)
        pack = balanced_pack(
            belief, positions, tried, size, rng, look_everywhere=is_first, challenged=challenged
        )
        return Proposal(setup, [self._params(site, nodes) for nodes in pack])

    def _challenged(self, belief: SetupBelief, tried: Sequence[Sequence[int]]) -> list[int]:
        """Return the temperatures that still need trials to check an answer.

        There are none until the answer is nearly decided; a temperature is there once for each trial that it
        lacks.
        """
        target = POINTS * target_of(self._spec)
        if len(tried) < ENOUGH_TO_CHALLENGE or belief.regret > _NEARLY * target:
            return []
        axis, temperatures = self._space.axes[0], self._space.temperatures()
        half_step = axis.half_step * float(np.log(temperatures[-1] / temperatures[0]))
        usual = usual_index(temperatures[belief.temperatures], 2 * half_step)  # every second one is there
        places = axis.positions[belief.temperatures]
        gaps = find_gaps(places, belief.mean, belief.nearest(tried), usual)
        return [gap.temperature for gap in gaps for _ in range(gap.missing)]

    def _site(self, setup: Setup) -> Site:
        site = self._space.site(setup)
        assert site is not None  # noqa: S101 - it is one of the spec's setups
        return site

    def _believe(
        self, observations: Observations, known: Observations, rng: np.random.Generator
    ) -> tuple[Fit, list[Surfaces]]:
        """Return the fitted model and draws of what it believes.

        The hyper-parameters are fitted anew with every 15% more trials.
        """
        n_fitted = min(1, len(observations))
        while n_fitted * _REFIT_GROWTH + 1 <= len(observations):
            n_fitted = int(n_fitted * _REFIT_GROWTH) + 1
        fitted = joined(observations.take(np.arange(n_fitted)), self._earlier)
        digest = hashlib.sha256(b"".join(array.tobytes() for array in fitted.arrays())).digest()
        if self._fitted[0] != digest:
            own = np.random.default_rng(numbered_seed(self._seed, n_fitted))
            self._fitted = digest, hyperparameter_draws(fit(self._kernel, fitted), _HYPERPARAMETER_DRAWS, own)
        found = fit(self._kernel, known, self._fitted[1][0])
        return found, [draw_surfaces(found.process(theta), _DRAWS_EACH, rng) for theta in self._fitted[1]]

    def _doubts(self, setups: Sequence[Setup], beliefs: Mapping[str, SetupBelief]) -> dict[str, float]:
        """Return what each setup's recommendation is expected to lose.

        Where temperature is a factor it is how often a level is nearly the best: levels compete in a setup.
        """
        if TEMPERATURE not in self._spec.setup:
            return {key: belief.regret for key, belief in beliefs.items()}
        best = {key: belief.profile.max(axis=1) for key, belief in beliefs.items()}
        rivals = {
            setup_key(s): [k for k in beliefs if self._index[k] == self._index[setup_key(s)]] for s in setups
        }
        top = {key: np.max([best[rival] for rival in own], axis=0) for key, own in rivals.items()}
        return {key: float((best[key] >= top[key] - NEAR_POINTS).mean()) for key in beliefs}

    def _tried(self, site: Site, trials: Sequence[TrialRow]) -> list[tuple[int, ...]]:
        """Return the nodes of a setup's complete, running and waiting trials."""
        asked = ("complete", "running", "waiting")
        own = [trial.params for trial in trials_of(site.setup, trials) if trial.state in asked]
        return [nodes for params in own if (nodes := self._space.locate(site, params)) is not None]

    def _params(self, site: Site, nodes: Sequence[int]) -> Params:
        values = self._space.values(site, nodes)
        return {path: values[path] for path in self._spec.tune if path in values}


def _while_running(doubts: Mapping[str, float], trials: Sequence[TrialRow]) -> dict[str, float]:
    """Return each setup's doubt, less where trials still run.

    Their results will lower it, so others may be served meanwhile.
    """
    asked = count_by_setup(trials)
    done = count_by_setup([trial for trial in trials if trial.state not in ("running", "waiting")])
    return {
        key: doubt * (done[key] + ENOUGH_TRIALS) / (asked[key] + ENOUGH_TRIALS)
        for key, doubt in doubts.items()
    }
