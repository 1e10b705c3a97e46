"""The temperature for a setup that was not run yet."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from kdsearch.analysis.questions.best import lost_by_defaults
from kdsearch.analysis.response.axes import FloatArray
from kdsearch.analysis.response.fitted import ENOUGH_POINTS, Response, fit_response, without_effect
from kdsearch.analysis.response.observations import POINTS, without_floor
from kdsearch.analysis.response.profiles import Interval, TemperatureProfile
from kdsearch.analysis.response.space import level_of
from kdsearch.analysis.response.warm_start import EarlierStudy
from kdsearch.analysis.shown import Shown
from kdsearch.analysis.threads import one_blas_thread
from kdsearch.errors import RequestError, SpecError
from kdsearch.intervals import LEVEL, TOLERANCE, check_level, check_loss
from kdsearch.spec import (
    TEMPERATURE,
    Params,
    Setup,
    StudySpec,
    is_level,
    level_label,
    load_stored_spec,
    spec_document,
)
from kdsearch.spec.space import ByFactor
from kdsearch.storage import TrialRow

_SAYS_LITTLE = 0.8
"""By hand: an interval over four fifths of the range is hardly narrower than no answer."""


@dataclass(frozen=True)
class Source:
    """A setup that the recommendation draws from.

    `likeness` is the expected share of temperature's effect that it has in common with the asked one.
    """

    study: str
    setup: Setup
    trials: int
    likeness: float


@dataclass(frozen=True)
class LossCurve:
    """What each temperature loses against the recommended one.

    `low` and `high` hold that with a probability. All four have one value for each temperature [U]; losses
    are fractions of accuracy, below 0 for a gain.
    """

    temperatures: tuple[float, ...]
    lost: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True, repr=False)
class Recommendation(Shown):
    """The temperature for a setup. Where `reason` tells why there is none, the numbers are None.

    Attributes:
        setup: The asked levels.
        like: The study whose spec holds for all that was not asked.
        level: Probability of the intervals.
        trials: Complete trials of this very setup; 0 where it was never run.
        temperature: The temperature with the least expected loss of accuracy.
        interval: Holds the best temperature with the probability `level`. It is as wide as setups were
            found to differ.
        near_optimal: Temperatures around `temperature` that are, each with that probability, within the
            tolerance of the best accuracy; None where not even one is.
        regret_of: Expected accuracy that common temperatures in the range lose against the recommended one.
        params: The other tuned parameters at the recommendation, where their range is known.
        sources: What it draws from, the likest first.
        curve: What each temperature is expected to lose against the recommended one, as `regret_of`, with
            ends that hold that with the probability `level`.
        warnings: What to know before it is believed.
        reason: Why there is no recommendation.
    """

    setup: Setup
    like: str | None = None
    level: float = LEVEL
    trials: int = 0
    temperature: float | None = None
    interval: Interval | None = None
    near_optimal: Interval | None = None
    regret_of: dict[str, float] | None = None
    params: Params | None = None
    sources: list[Source] = field(default_factory=list)
    curve: LossCurve | None = None
    warnings: tuple[str, ...] = ()
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the recommendation as a JSON document."""
        plain = {name: list(v) if isinstance(v, tuple) else v for name, v in self.__dict__.items()}
        curve = self.curve and {name: list(values) for name, values in self.curve.__dict__.items()}
        return {**plain, "curve": curve, "sources": [dict(source.__dict__) for source in self.sources]}


@one_blas_thread
def recommend_from(
    studies: Sequence[EarlierStudy],
    levels: Mapping[str, Any],
    *,
    level: float = LEVEL,
    tolerance: float = TOLERANCE,
    seed: int = 0,
) -> Recommendation:
    """Return the temperature for a setup that need not have been run.

    The model behind `best`, over the setups of all studies, believes something of any setup: levels of a
    number that lie near those that were run count more, an unknown level of another factor tells only how far
    setups differ. What is not asked is as in the study that has most of what is.

    Args:
        studies: What was run; those with fewer than 4 complete trials have no say.
        levels: Values by dotted path; together with the study's own they make the setup.
        level: Probability of the intervals, between 0 and 1.
        tolerance: What counts as near the best, as a fraction of accuracy.
        seed: Fixes the draws.

    Raises:
        RequestError: A path or a value is wrong, or a factor that matters is not given.
    """
    check_level(level)
    check_loss("tolerance", tolerance)
    told = [
        study for study in studies if sum(row.state == "complete" for row in study.trials) >= ENOUGH_POINTS
    ]
    if not told:
        reason = f"no study has the {ENOUGH_POINTS} complete trials that it takes to say anything."
        return Recommendation(dict(levels), level=level, reason=reason)
    levels = _as_run(told, levels)
    base = _likest(told, levels)
    target = _target(base.spec, levels)
    if (ignored := without_effect(target, target.setups()[0])) is not None:
        return Recommendation(target.setups()[0], base.spec.name, level, reason=ignored)
    own, others = _split(target, base, told)
    response = fit_response(target, own, earlier=others, seed=seed)
    profile = _profile(response)
    n_own = len(response.tallies[0].complete)
    interval = profile.interval(level) if n_own else profile.central_interval(level)
    lost = lost_by_defaults(profile, level)
    return Recommendation(
        setup=response.space.setups[0],
        like=base.spec.name,
        level=level,
        trials=n_own,
        temperature=profile.temperature,
        interval=interval,
        near_optimal=profile.near_optimal(level, tolerance),
        regret_of={name: mean for name, (mean, _) in lost.items()},
        params=_params(response, base.spec, profile.temperature),
        sources=_sources(response, others),
        curve=_loss_curve(profile, level),
        warnings=(*_about_own(base.spec.name, n_own), *_warnings(target, told, profile, interval)),
    )


def _as_run(studies: Sequence[EarlierStudy], levels: Mapping[str, Any]) -> dict[str, Any]:
    """Return levels as the studies have them: a recipe for its label, 1.0 for 1."""

    def as_run(path: str, value: Any) -> Any:
        run = (study.spec.setup.get(path, [level_of(study.spec, {}, path)]) for study in studies)
        return next((own for levels in run for own in levels if is_level(path, value, own)), value)

    return {path: as_run(path, value) for path, value in levels.items()}


def _likest(studies: Sequence[EarlierStudy], levels: Mapping[str, Any]) -> EarlierStudy:
    """Return the study that fits the asked levels best.

    It has the fewest factors left open, then most of the asked levels, then most trials.
    """

    def rank(study: EarlierStudy) -> tuple[int, int, int]:
        has = [_has(study.spec, path, value) for path, value in levels.items()]
        return -len(_open_factors(study.spec, levels)), sum(has), len(study.trials)

    return max(studies, key=rank)


def _has(spec: StudySpec, path: str, value: Any) -> bool:
    known = spec.setup[path] if path in spec.setup else [level_of(spec, {}, path)]
    return level_label(value) in map(level_label, known)


def _open_factors(spec: StudySpec, levels: Mapping[str, Any]) -> list[str]:
    factors = (path for path, found in spec.setup.items() if len(found) > 1 and path != TEMPERATURE)
    return [path for path in factors if path not in levels]


def _target(base: StudySpec, levels: Mapping[str, Any]) -> StudySpec:
    """Return the spec of a study of the asked setup alone.

    All else is as in `base`. A range that depends on a level that `base` does not have is replaced by one
    that it has: the model needs its shares alone.
    """
    for path in levels:
        if path == TEMPERATURE or path in base.tune:
            raise RequestError(f"`set` must not name {path}: it is what the answer tells.")
    if missing := _open_factors(base, levels):
        known = [f"{path} ({', '.join(map(level_label, base.setup[path]))})" for path in missing]
        raise RequestError(f"`set` must name a level of each factor; missing: {'; '.join(known)}.")
    fixed = {path: list(found) for path, found in base.setup.items()}
    document = spec_document(base)
    document["claims"] = []  # they compare levels that one setup does not have
    document["setup"] = {**fixed, **{path: [value] for path, value in levels.items()}}
    for path, dimension in base.tune.items():
        if isinstance(dimension, ByFactor):
            document["tune"][path] = _range_at(dimension, document["setup"][dimension.by][0])
    try:
        return load_stored_spec(document, changed=True)
    except SpecError as error:
        problems = " ".join(error.problems)
        for path in levels:
            problems = problems.replace(f"`setup.{path}.0`", f"`{path}`")
        raise RequestError(f"`set` must name a setup that can be trained. {problems}") from error


def _range_at(dimension: ByFactor, level: Any) -> dict[str, Any]:
    found = dimension.ranges.get(level_label(level), next(iter(dimension.ranges.values())))
    return found.model_dump(mode="json")


def _split(
    target: StudySpec, base: EarlierStudy, studies: Sequence[EarlierStudy]
) -> tuple[list[TrialRow], list[EarlierStudy]]:
    """Return the asked setup's own trials, and the studies without them.

    It has some where it was run in `base`.
    """

    def is_asked(row: TrialRow) -> bool:
        paths = [path for path in target.setup if path != TEMPERATURE]
        return all(
            level_label(level_of(base.spec, row.setup, path)) == level_label(target.setup[path][0])
            for path in paths
        )

    temperature = {TEMPERATURE} & target.setup.keys()
    setup = {path: found[0] for path, found in target.setup.items() if path not in temperature}
    own = [
        replace(
            row,
            setup={path: row.setup[path] if path in temperature else setup[path] for path in target.setup},
        )
        for row in base.trials
        if is_asked(row)
    ]
    rest = replace(base, trials=[row for row in base.trials if not is_asked(row)])
    return own, [rest if study is base else study for study in studies]


def _loss_curve(profile: TemperatureProfile, level: float) -> LossCurve:
    columns = (profile.temperatures, *profile.lost(level))
    return LossCurve(*(tuple(map(float, column)) for column in columns))


def _profile(response: Response) -> TemperatureProfile:
    """Return the profile of the asked setup. How accurate it is at its best is not known and counts as 1."""
    axis, temperatures = response.space.axes[0], response.space.temperatures()
    draws = response.draws[0]
    lost: FloatArray = without_floor(draws.profile.max(axis=1, keepdims=True) - draws.profile)
    half_step = axis.half_step * np.log(temperatures[-1] / temperatures[0])
    return TemperatureProfile(temperatures[draws.temperature_nodes], 1 - lost / POINTS, float(half_step))


def _params(response: Response, base: StudySpec, temperature: float) -> Params:
    nodes = response.recommended_nodes(0, temperature)
    site = response.space.site_at(0, int(nodes[0]))
    return {
        path: value
        for path, value in response.space.values(site, list(nodes)).items()
        if path != TEMPERATURE and _range_is_known(base, site.setup, path)
    }


def _range_is_known(base: StudySpec, setup: Setup, path: str) -> bool:
    dimension = base.tune.get(path)
    return not isinstance(dimension, ByFactor) or level_label(setup[dimension.by]) in dimension.ranges


def _sources(response: Response, studies: Sequence[EarlierStudy]) -> list[Source]:
    """Return the setups that were run, likest to the asked one first."""
    found: dict[int, Source] = {}
    for n, study in enumerate(studies, start=1):
        for row in study.trials:
            site = response.space.site(row.setup, n)
            if site is None or row.state != "complete":
                continue
            seen = found.get(site.index)
            likeness = float(response.likeness[0, site.index])
            setup = {path: level for path, level in row.setup.items() if path != TEMPERATURE}
            found[site.index] = Source(study.spec.name, setup, 1 + (seen.trials if seen else 0), likeness)
    return sorted((found[index] for index in sorted(found)), key=lambda source: -source.likeness)


def _about_own(study: str, n_own: int) -> Iterator[str]:
    if n_own:
        yield (
            f"{n_own} trials of this very setup are in {study}: `best` answers it with that study's other "
            "setups, and its numbers may differ a little."
        )


def _warnings(
    target: StudySpec, studies: Sequence[EarlierStudy], profile: TemperatureProfile, interval: Interval
) -> list[str]:
    setup = target.setups()[0]
    notes = []
    for path, value in setup.items():
        run = [level_of(study.spec, row.setup, path) for study in studies for row in study.trials]
        labels = {level_label(level) for level in run}
        if path == TEMPERATURE or level_label(value) in labels:
            continue
        numbers = [level for level in run if isinstance(level, int | float) and not isinstance(level, bool)]
        if not isinstance(value, int | float) or isinstance(value, bool) or len(numbers) < len(run):
            notes.append(
                f"{path}={level_label(value)} was never run: only how far other setups differ is known."
            )
        elif not min(numbers) <= value <= max(numbers):
            low, high = f"{min(numbers):g}", f"{max(numbers):g}"
            run_were = low if low == high else f"{low} to {high}"
            notes.append(f"{path}={value:g} lies outside what was run, {run_were}.")
    span = np.log(profile.temperatures[-1] / profile.temperatures[0])
    if span and np.log(interval[1] / interval[0]) > _SAYS_LITTLE * span:
        notes.append(
            "What was run says little about this setup: the best temperature may lie almost anywhere."
        )
    return notes
