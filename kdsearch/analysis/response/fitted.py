"""How accuracy responds to temperature in each setup: draws from the model."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from kdsearch.analysis.response.alone import fit_alone, fit_apart
from kdsearch.analysis.response.axes import FloatArray, IntArray
from kdsearch.analysis.response.candidates import candidates, nearest_places, product_nodes
from kdsearch.analysis.response.fitting import Fit, fit, hyperparameter_draws
from kdsearch.analysis.response.kernels import Kernel
from kdsearch.analysis.response.observations import Evidence, Observations, Tally, observe
from kdsearch.analysis.response.profiles import TemperatureProfile
from kdsearch.analysis.response.selection import select_setups
from kdsearch.analysis.response.space import ResponseSpace, level_of
from kdsearch.analysis.response.split_luck import SplitLuck, draw_split_luck
from kdsearch.analysis.response.surfaces import Surfaces, draw_surfaces, mean_surface
from kdsearch.analysis.response.warm_start import EarlierStudy, joined, observe_earlier
from kdsearch.analysis.threads import one_blas_thread
from kdsearch.intervals import LEVEL
from kdsearch.seeds import numbered_seed
from kdsearch.spec import Setup, StudySpec
from kdsearch.spec.catalogue import ignores_temperature
from kdsearch.storage import Trials

ENOUGH_POINTS = 4
"""Complete trials at fewer distinct places can't tell a temperature's effect from a learning rate's."""

_HYPERPARAMETER_DRAWS, _DRAWS_EACH = 12, 32
"""With so many no answer changes with the seed of its draws by more than a tenth of its expected regret."""


_CAUTION = 0.25
"""Of values that are as good on average the best known is recommended: so many standard deviations it may be
worse. Draws of what was never tried have a mean of next to nothing, which luck puts above what is known."""

_FEWER_HYPERPARAMETER_DRAWS = 6
"""Enough to agree or not: for a setup alone, and for a second look."""

_SPREAD = 1.15
"""Draws are moved away from their mean by so much: the model is too sure by this factor on tables of really
trained students, where true regret was 1.3 to 1.7 times the stated one without it."""


@dataclass(frozen=True)
class SetupDraws:
    """Draws of one setup's surface over its temperatures and the candidates.

    The candidates are values of the other parameters.

    Attributes:
        temperature_nodes: The setup's nodes on the temperature axis [U].
        candidates: Nodes of the other parameters [C, P - 1].
        profile: Each draw's best value at each temperature, in the model's points, the luck of the validation
            images included [Q, U].
        mean: The mean over the draws [U, C].
        sd: Their standard deviation [U, C].
    """

    temperature_nodes: IntArray
    candidates: IntArray
    profile: FloatArray
    mean: FloatArray
    sd: FloatArray

    def moved(self, by: FloatArray) -> "SetupDraws":
        """Return the draws with something added to each one's profile [Q, U]."""
        return replace(self, profile=self.profile + by[: len(self.profile)])

    def nearest(self, nodes: IntArray) -> IntArray:
        """Return the nearest temperature and candidate [N, 2] to nodes [N, P]."""
        return nearest_places(self.temperature_nodes, self.candidates, nodes)

    def nodes_at(self, temperature: int) -> IntArray:
        """Return the nodes of the best at the n-th temperature.

        Of what is as good, it is what is better known.
        """
        cautious = self.mean[temperature] - _CAUTION * self.sd[temperature]
        best = self.candidates[cautious.argmax()]
        return np.concatenate([[self.temperature_nodes[temperature]], best]).astype(np.intp)


@dataclass(frozen=True)
class Observed:
    """What a response was fitted on: the study's own observations and tallies, earlier studies', a seed."""

    own: Observations
    tallies: list[Tally]
    earlier: Sequence[Observations]
    names: tuple[str, ...]
    seed: int

    def is_beside_others(self, setup: int) -> bool:
        """Return whether other setups have trials too: only then a setup owes anything to others."""
        return len(self.earlier) > 0 or bool((self.own.setup != setup).any())

    def a_pack_earlier(self, size: int) -> "Observed":
        """Return it without each setup's latest `size` observations.

        Its seed is another.
        """
        last = [np.flatnonzero(self.own.setup == s)[-size:] for s in np.unique(self.own.setup)]
        kept = np.setdiff1d(np.arange(len(self.own)), np.concatenate(last)) if last else np.arange(0)
        return replace(self, own=self.own.take(kept), seed=self.seed + 1)


@dataclass(frozen=True)
class Apart:
    """What a setup's own trials alone say of it.

    In it the setup is number 0.
    """

    evidence: Evidence
    surfaces: list[Surfaces]


@dataclass(frozen=True)
class Response:
    """What a study's trials say about accuracy, for every setup.

    `draws` is empty without trials. `observed` is what it was fitted on, `found` the model of it, `surfaces`
    are draws of what that believes. `apart` has the setups that this model contradicts: they are answered by
    their own trials alone.
    """

    spec: StudySpec
    space: ResponseSpace
    tallies: list[Tally]
    found: Fit | None
    surfaces: list[Surfaces]
    draws: list[SetupDraws]
    luck: SplitLuck
    observed: "Observed"
    apart: Mapping[int, Apart] = field(default_factory=dict)
    _alone: dict[int, TemperatureProfile | None] = field(default_factory=dict, repr=False, compare=False)

    @property
    def evidence(self) -> Evidence | None:
        """What the model was given; None without trials."""
        return None if self.found is None else self.found.evidence

    @property
    def prior_from(self) -> tuple[str, ...]:
        """The names of the earlier studies that inform it."""
        return self.observed.names

    @cached_property
    def likeness(self) -> FloatArray:
        """The share of temperature's effect that setups have in common [S, S].

        It is an expectation for each two setups.
        """
        if self.found is None:
            return np.eye(len(self.space.setups))
        shared = np.array(self.found.kernel.tables(self.found.theta).sharing[0].matrix)
        for setup in self.apart:
            shared[setup], shared[:, setup] = 0.0, 0.0
            shared[setup, setup] = 1.0
        return shared

    @cached_property
    def a_pack_earlier(self) -> "Response":
        """The response before each setup's latest pack, from other draws: a second look."""
        earlier = self.observed.a_pack_earlier(self.spec.pack_size)
        start = None if self.found is None else self.found.theta
        return _respond(self.spec, self.space, earlier, _FEWER_HYPERPARAMETER_DRAWS, start=start)

    def at(self, setup: int, nodes: IntArray) -> FloatArray:
        """Return draws of accuracy [Q, N] at one setup's nodes [N, P].

        They are fractions.
        """
        return self._to_accuracy(self.drawn(setup, nodes), setup)

    def drawn(self, setup: int, nodes: IntArray, n_surfaces: int | None = None) -> FloatArray:
        """Return draws [Q, N] at nodes [N, P] of one setup.

        They are in the model's points. `n_surfaces` takes the first ones.
        """
        if (own := self.apart.get(setup)) is not None:
            return drawn_at(own.surfaces[:n_surfaces], 0, nodes)
        return drawn_at(self.surfaces[:n_surfaces], setup, nodes)

    def _to_accuracy(self, y: FloatArray, setup: int) -> FloatArray:
        assert self.evidence is not None  # noqa: S101 - only setups with an answer are asked
        own = self.apart.get(setup)
        return self.evidence.to_accuracy(y, setup) if own is None else own.evidence.to_accuracy(y, 0)

    @property
    def tunes_others(self) -> bool:
        """Whether anything is tuned beside temperature."""
        return len(self.space.axes) > 1

    def profile(self, members: Sequence[int]) -> TemperatureProfile:
        """Return the profile of one setup, or the mean of several.

        A mean is over the temperatures that all of them allow.
        """
        nodes = self.shared_temperatures(members)
        own = ((s, self.draws[s]) for s in members)
        return self._mean_profile(
            nodes,
            [
                self._to_accuracy(draws.profile[:, np.isin(draws.temperature_nodes, nodes)], s)
                for s, draws in own
            ],
        )

    def profile_alone(self, setup: int) -> TemperatureProfile | None:
        """Return the profile that a setup's own trials tell without the others.

        None where the study has no other, the setup too few trials, or its answer is of them alone already.
        """
        if setup not in self._alone:
            self._alone[setup] = self._fit_alone(setup)
        return self._alone[setup]

    def _fit_alone(self, setup: int) -> TemperatureProfile | None:
        if self.found is None or setup in self.apart or not self.observed.is_beside_others(setup):
            return None
        rng = np.random.default_rng(numbered_seed(self.observed.seed, setup))
        alone = fit_alone(self.found, self.observed.own, setup)
        if alone is None:
            return None
        shared, surfaces = self.draws[setup], draw_all(alone, _FEWER_HYPERPARAMETER_DRAWS, rng)
        draws = _draws_of(0, shared.temperature_nodes, shared.candidates, surfaces)
        draws = draws.moved(self.luck.at(setup, shared.temperature_nodes))
        curve = alone.evidence.to_accuracy(draws.profile, 0)
        return self._mean_profile(draws.temperature_nodes, [curve])

    def profile_at_common(self, members: Sequence[int], temperature: float) -> TemperatureProfile:
        """Return the profile with other parameters recommended for one temperature.

        Each setup keeps its own.
        """
        nodes = self.shared_temperatures(members)
        kept = [self.recommended_nodes(s, temperature)[None, 1:] for s in members]
        return self._mean_profile(
            nodes, [self.at(s, product_nodes(nodes, own)) for s, own in zip(members, kept, strict=True)]
        )

    def _mean_profile(self, nodes: IntArray, curves: Sequence[FloatArray]) -> TemperatureProfile:
        axis, temperatures = self.space.axes[0], self.space.temperatures()
        half_step = axis.half_step * np.log(temperatures[-1] / temperatures[0])
        return TemperatureProfile(temperatures[nodes], np.mean(curves, axis=0), float(half_step))

    def shared_temperatures(self, members: Sequence[int]) -> IntArray:
        """Return the temperature nodes that all of some setups allow, maybe none."""
        allowed = [self.space.allowed(s, 0) for s in members]
        return np.flatnonzero(np.logical_and.reduce(allowed))

    def recommended_nodes(self, setup: int, temperature: float) -> IntArray:
        """Return the best node on each axis at a setup's temperature.

        Of what is as good, it is what is better known.
        """
        own = self.space.temperatures()[self.draws[setup].temperature_nodes]
        return self.draws[setup].nodes_at(int(np.abs(np.log(own / temperature)).argmin()))

    def best_nodes(self, setup: int, temperature_node: int) -> IntArray:
        """Return each draw's best nodes [Q, P - 1] of other parameters."""
        others = self.draws[setup].candidates
        nodes = product_nodes(np.array([temperature_node]), others)
        return np.asarray(others[self.drawn(setup, nodes).argmax(axis=1)])

    def silence(self, setup: int) -> str | None:
        """Return why a setup can't be answered, or None where it can."""
        why = without_effect(self.spec, self.space.setups[setup])
        return self.shortage(setup) if why is None else why

    def stalemate(self, setup: int) -> str | None:
        """Return why a setup's trials compare nothing: they have one accuracy. Else None."""
        complete = self.tallies[setup].complete
        if complete.one_accuracy is None:
            return None
        return f"all of its {len(complete)} trials have an accuracy of {100 * complete.one_accuracy:.6g}%"

    def ignores_temperature(self, setup: int) -> bool:
        """Return whether a setup's objective makes no use of the temperature."""
        return without_effect(self.spec, self.space.setups[setup]) is not None

    def shortage(self, setup: int) -> str | None:
        """Return why a setup has too few trials. None where it has enough."""
        sites = [site for site in self.space.sites if site.index == setup]
        n_possible = sum(math.prod(int(nodes.sum()) for nodes in site.allowed) for site in sites)
        n_needed = min(ENOUGH_POINTS, n_possible)
        n_points = self.tallies[setup].complete.n_places
        if n_points >= n_needed:
            return None
        plural = "" if n_points == 1 else "s"
        return all_diverged([self.tallies[setup]]) or (
            f"too few trials: complete ones at {n_points} distinct point{plural}, "
            f"at least {n_needed} are needed."
        )


def all_diverged(tallies: Sequence[Tally]) -> str | None:
    """Return what to do where all trials of some setups diverged: more would not help. Else None."""
    diverged = sum(tally.diverged for tally in tallies)
    if not diverged or diverged < sum(tally.finished for tally in tallies):
        return None
    return (
        f"all {diverged} trials diverged: their loss or accuracy was not finite. Lower the learning rate or "
        "its range, or set `training.clip_norm`."
    )


def without_effect(spec: StudySpec, setup: Setup) -> str | None:
    """Return why temperature has no effect in a setup, else None."""
    if not spec.has_engine_words:
        return None
    name, alpha = (level_of(spec, setup, f"objective.{leaf}") for leaf in ("name", "alpha"))
    if not ignores_temperature(str(name), float(alpha) if isinstance(alpha, int | float) else 1.0):
        return None
    cause = "`objective.alpha: 0`" if alpha == 0 else f"`objective.name: {name}`"
    return f"temperature has no effect with {cause}: what differs between temperatures is luck."


@dataclass(frozen=True)
class ResponseCurve:
    """Accuracy over temperature in one setup.

    The other parameters are at their best for each temperature. `mean`, `low` and `high` are expected
    accuracies and a credible band; `at_common` is what is expected where the other parameters stay as
    recommended for the best temperature, so that the two tell how much of temperature's effect is one of
    tuning; it is empty where nothing else is tuned. All are empty where the setup has too few trials to say.
    `points` are the observed (temperature, accuracy) of the complete trials.
    """

    setup: Setup
    temperatures: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]
    points: list[tuple[float, float]]
    at_common: list[float] = field(default_factory=list)


@one_blas_thread
def response_curves(
    response: Response, *, where: Mapping[str, Any] | None = None, level: float = LEVEL
) -> list[ResponseCurve]:
    """Return the curve of every setup, or of those with some levels.

    Args:
        response: What a study's trials say.
        where: Levels of factors that restrict the setups.
        level: Probability of the bands, between 0 and 1.

    Raises:
        RequestError: A factor or a level of `where` does not belong to the study.
    """
    return [_curve(response, s, level) for s in select_setups(response.space.setups, where)]


def _curve(response: Response, setup: int, level: float) -> ResponseCurve:
    complete = response.tallies[setup].complete
    points = list(zip(complete.temperature.tolist(), complete.val_accuracy.tolist(), strict=True))
    if response.silence(setup) is not None:
        return ResponseCurve(response.space.setups[setup], [], [], [], [], points)
    profile = response.profile([setup])
    low, high = np.quantile(profile.draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    common = response.profile_at_common([setup], profile.temperature) if response.tunes_others else None
    return ResponseCurve(
        setup=response.space.setups[setup],
        temperatures=profile.temperatures.tolist(),
        mean=profile.mean.tolist(),
        low=low.tolist(),
        high=high.tolist(),
        points=points,
        at_common=[] if common is None else common.mean.tolist(),
    )


@one_blas_thread
def fit_response(
    spec: StudySpec, trials: Trials, *, earlier: Sequence[EarlierStudy] = (), seed: int = 0
) -> Response:
    """Return the response to temperature that a study's trials show.

    It is the same for the same trials and seed.

    Args:
        spec: The study's spec.
        trials: Its trials.
        earlier: Other studies, whose setups then stand behind the spec's.
        seed: Fixes the draws.
    """
    names = tuple(study.spec.name for study in earlier)
    space = ResponseSpace(spec, [study.spec for study in earlier])
    own, tallies = observe(spec, space, trials)
    return _respond(spec, space, Observed(own, tallies, observe_earlier(space, earlier), names, seed))


def _respond(
    spec: StudySpec,
    space: ResponseSpace,
    observed: Observed,
    n_thetas: int = _HYPERPARAMETER_DRAWS,
    *,
    start: FloatArray | None = None,
) -> Response:
    observations = joined(observed.own, observed.earlier)
    if not len(observations):
        nothing = SplitLuck(np.zeros((0, len(space.axes[0]))), np.zeros(len(space.setups)))
        return Response(spec, space, observed.tallies, None, [], [], nothing, observed)
    rng = np.random.default_rng(observed.seed)
    found = fit(Kernel(space.axes, space.distances), observations, start=start)
    surfaces = draw_all(found, n_thetas, rng)
    accuracies = [tally.complete.val_accuracy for tally in observed.tallies]
    n_splits = spec.training.splits if "split" in spec.training.vary else 1
    positions, n_draws = space.axes[0].positions, n_thetas * _DRAWS_EACH
    luck = draw_split_luck(positions, accuracies, n_draws, rng, n_splits=n_splits)
    mean = mean_surface(found.process())
    apart = {s: _apart(found, observed, s, n_thetas) for s in found.contradicted if _has_own(observed, s)}
    draws = []
    for s in range(len(space.setups)):
        nodes = np.flatnonzero(space.allowed(s, 0))
        others = candidates(space, s, mean, found.evidence, rng)
        own = _draws_of(0, nodes, others, apart[s].surfaces) if s in apart else None
        own = _draws_of(s, nodes, others, surfaces) if own is None else own
        draws.append(own.moved(luck.at(s, nodes)))
    return Response(spec, space, observed.tallies, found, surfaces, draws, luck, observed, apart)


def _has_own(observed: Observed, setup: int) -> bool:
    """Return whether a setup has enough trials of its own.

    It must be of the study itself, and have others beside it.
    """
    enough = setup < len(observed.tallies) and observed.tallies[setup].complete.n_places >= ENOUGH_POINTS
    return enough and observed.is_beside_others(setup)


def _apart(found: Fit, observed: Observed, setup: int, n_thetas: int) -> Apart:
    alone = fit_apart(found, observed.own, setup)
    rng = np.random.default_rng(numbered_seed(observed.seed, setup))
    return Apart(alone.evidence, draw_all(alone, n_thetas, rng))


def draw_all(found: Fit, n_thetas: int, rng: np.random.Generator) -> list[Surfaces]:
    """Return draws of all setups' surfaces.

    There are some under each of a few draws of the hyper-parameters.

    Args:
        found: The fitted model.
        n_thetas: How many draws of the hyper-parameters.
        rng: What is drawn from.
    """
    return [
        draw_surfaces(found.process(theta), _DRAWS_EACH, rng)
        for theta in hyperparameter_draws(found, n_thetas, rng)
    ]


def drawn_at(surfaces: Sequence[Surfaces], setup: int, nodes: IntArray) -> FloatArray:
    """Return draws [Q, N], in the model's points, moved apart by `_SPREAD`.

    Args:
        surfaces: Draws, some for each draw of the hyper-parameters.
        setup: The setup's place in the model.
        nodes: Places on the axes [N, P].
    """
    values = np.concatenate([surface.at(setup, nodes) for surface in surfaces])
    mean = values.mean(axis=0)
    return np.asarray(mean + _SPREAD * (values - mean))


def _draws_of(
    setup: int, temperature_nodes: IntArray, others: IntArray, surfaces: Sequence[Surfaces]
) -> SetupDraws:
    values = drawn_at(surfaces, setup, product_nodes(temperature_nodes, others))
    values = values.reshape(-1, len(temperature_nodes), len(others))
    return SetupDraws(temperature_nodes, others, values.max(axis=2), values.mean(axis=0), values.std(axis=0))
