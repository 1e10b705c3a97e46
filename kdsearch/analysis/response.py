"""The response of accuracy to temperature in each setup, with its doubt: joint draws from the model."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kdsearch.analysis.axes import FloatArray, IntArray
from kdsearch.analysis.candidates import candidates, product_nodes
from kdsearch.analysis.fitting import Fit, fit, hyperparameter_draws
from kdsearch.analysis.kernels import Kernel
from kdsearch.analysis.observations import Evidence, Tally, observe
from kdsearch.analysis.profiles import TemperatureProfile
from kdsearch.analysis.selection import select_setups
from kdsearch.analysis.space import ResponseSpace
from kdsearch.analysis.surfaces import Surfaces, draw_surfaces, mean_surface
from kdsearch.analysis.threads import one_blas_thread
from kdsearch.analysis.transfer import EarlierStudy, joined, observe_earlier
from kdsearch.spec import Setup, StudySpec
from kdsearch.storage import Trials

ENOUGH_POINTS = 4
_HYPERPARAMETER_DRAWS = 8
_DRAWS_EACH = 32


@dataclass(frozen=True)
class SetupDraws:
    """Draws of one setup's surface over all its temperatures and the candidates of the other parameters.

    Attributes:
        temperature_nodes: The setup's nodes on the temperature axis [U].
        candidates: Nodes of the other parameters [C, P - 1].
        profile: Each draw's best value at each temperature, in the model's points [Q, U].
        mean: The mean over the draws [U, C].
    """

    temperature_nodes: IntArray
    candidates: IntArray
    profile: FloatArray
    mean: FloatArray

    def nodes_at(self, temperature: int) -> IntArray:
        """Return the node on each axis of what is best on average at the setup's n-th temperature."""
        best = self.candidates[self.mean[temperature].argmax()]
        return np.concatenate([[self.temperature_nodes[temperature]], best]).astype(np.intp)


@dataclass(frozen=True)
class Response:
    """What a study's trials say about accuracy, for every setup; `draws` is empty without trials.

    `likeness` [S, S] is the expected share of temperature's effect that each two setups have in common;
    `prior_from` names the earlier studies that inform it.
    """

    spec: StudySpec
    space: ResponseSpace
    tallies: list[Tally]
    evidence: Evidence | None
    surfaces: list[Surfaces]
    draws: list[SetupDraws]
    likeness: FloatArray
    prior_from: tuple[str, ...] = ()

    def at(self, setup: int, nodes: IntArray) -> FloatArray:
        """Return draws of the accuracy [Q, N], as fractions, at nodes [N, P] of one setup."""
        assert self.evidence is not None  # noqa: S101 - only setups with an answer are asked
        values = np.concatenate([surfaces.at(setup, nodes) for surfaces in self.surfaces])
        return self.evidence.to_accuracy(values, setup)

    @property
    def tunes_others(self) -> bool:
        """Whether anything is tuned beside temperature."""
        return len(self.space.axes) > 1

    def profile(self, members: Sequence[int]) -> TemperatureProfile:
        """Return the profile of one setup, or the mean over several at the temperatures that all allow."""
        assert self.evidence is not None  # noqa: S101 - only setups with an answer are asked
        nodes = self.shared_temperatures(members)
        own = ((s, self.draws[s]) for s in members)
        return self._mean_profile(
            nodes,
            [
                self.evidence.to_accuracy(draws.profile[:, np.isin(draws.temperature_nodes, nodes)], s)
                for s, draws in own
            ],
        )

    def profile_at_common(self, members: Sequence[int], temperature: float) -> TemperatureProfile:
        """Return the profile where each setup's other parameters stay as recommended for one temperature."""
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
        """Return the node on each axis of what is best on average at a temperature of the setup."""
        own = self.space.temperatures()[self.draws[setup].temperature_nodes]
        return self.draws[setup].nodes_at(int(np.abs(np.log(own / temperature)).argmin()))

    def best_nodes(self, setup: int, temperature_node: int) -> IntArray:
        """Return the nodes of the other parameters [Q, P - 1] that each draw likes best at a temperature."""
        others = self.draws[setup].candidates
        nodes = product_nodes(np.array([temperature_node]), others)
        values = np.concatenate([surfaces.at(setup, nodes) for surfaces in self.surfaces])
        return np.asarray(others[values.argmax(axis=1)])

    def silence(self, setup: int) -> str | None:
        """Return why a setup can't be answered, or None where it can."""
        sites = [site for site in self.space.sites if site.index == setup]
        n_possible = sum(math.prod(int(nodes.sum()) for nodes in site.allowed) for site in sites)
        n_needed = min(ENOUGH_POINTS, n_possible)
        n_points = self.tallies[setup].complete.n_places
        if n_points >= n_needed:
            return None
        plural = "" if n_points == 1 else "s"
        return (
            f"too few trials: complete ones at {n_points} distinct point{plural}, "
            f"at least {n_needed} are needed."
        )


@dataclass(frozen=True)
class ResponseCurve:
    """Accuracy over temperature in one setup, with the other parameters at their best for each.

    `mean`, `low` and `high` are expected accuracies and a credible band; `at_common` is what is expected
    where the other parameters stay as recommended for the best temperature, so that the two tell how much of
    temperature's effect is one of tuning; it is empty where nothing else is tuned. All are empty where the
    setup has too few trials to say. `points` are the observed (temperature, accuracy) of the complete trials.
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
    spec: StudySpec,
    trials: Trials,
    *,
    earlier: Sequence[EarlierStudy] = (),
    where: Mapping[str, Any] | None = None,
    level: float = 0.9,
    seed: int = 0,
) -> list[ResponseCurve]:
    """Return the curve of every setup, or of those with some levels, from the draws behind `best`.

    Raises:
        RequestError: A factor or a level does not belong to the study.
    """
    return curves_of(fit_response(spec, trials, earlier=earlier, seed=seed), where=where, level=level)


@one_blas_thread
def curves_of(
    response: Response, *, where: Mapping[str, Any] | None = None, level: float = 0.9
) -> list[ResponseCurve]:
    """Return what `response_curves` does, of a response that is there already."""
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
    """Return the response that the trials tell, the same for the same trials and seed.

    Args:
        spec: The study's spec.
        trials: Its trials.
        earlier: Other studies, whose setups then stand behind the spec's.
        seed: Fixes the draws.
    """
    names = tuple(study.spec.name for study in earlier)
    space = ResponseSpace(spec, [study.spec for study in earlier])
    own, tallies = observe(spec, space, trials)
    observations = joined(own, observe_earlier(space, earlier))
    if not len(observations):
        return Response(spec, space, tallies, None, [], [], np.eye(len(space.setups)), names)
    rng = np.random.default_rng(seed)
    found = fit(Kernel(space.axes, space.distances), observations)
    surfaces = _all_surfaces(found, rng)
    mean = mean_surface(found.process())
    setups = range(len(space.setups))
    draws = [_draws_of(space, s, surfaces, candidates(space, s, mean, found.evidence, rng)) for s in setups]
    likeness = found.kernel.tables(found.theta).sharing[0].matrix
    return Response(spec, space, tallies, found.evidence, surfaces, draws, likeness, names)


def _all_surfaces(found: Fit, rng: np.random.Generator) -> list[Surfaces]:
    thetas = hyperparameter_draws(found, _HYPERPARAMETER_DRAWS, rng)
    return [draw_surfaces(found.process(theta), _DRAWS_EACH, rng) for theta in thetas]


def _draws_of(space: ResponseSpace, setup: int, surfaces: Sequence[Surfaces], others: IntArray) -> SetupDraws:
    temperature_nodes = np.flatnonzero(space.allowed(setup, 0))
    shape = (len(temperature_nodes), len(others))
    nodes = product_nodes(temperature_nodes, others)
    values = [surface.at(setup, nodes).reshape(-1, *shape) for surface in surfaces]
    profile = np.concatenate([value.max(axis=2) for value in values])
    mean = np.mean([value.mean(axis=0) for value in values], axis=0)
    return SetupDraws(temperature_nodes, others, profile, mean)
