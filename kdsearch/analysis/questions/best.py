"""Which temperature is best in each setup, and how sure that is."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from kdsearch.analysis.labels import temperature_text
from kdsearch.analysis.questions.bracketing import Tied, Untried, untried
from kdsearch.analysis.questions.decision import ENOUGH_TO_DECIDE, tuned_trials
from kdsearch.analysis.questions.edges import Edge, edges
from kdsearch.analysis.questions.effects import TemperatureEffect, effect_of, tuning_note
from kdsearch.analysis.questions.forecast import (
    COMMON_TARGET,
    SetupForecast,
    forecast_setup,
    stopped_in,
    target_of,
)
from kdsearch.analysis.questions.outcomes import TemperatureBand, outcomes_of, temperature_span
from kdsearch.analysis.questions.replication import USUAL_TEMPERATURE
from kdsearch.analysis.response.axes import FloatArray, IntArray
from kdsearch.analysis.response.fitted import Response, all_diverged, fit_response
from kdsearch.analysis.response.observations import Competitors, Tally
from kdsearch.analysis.response.profiles import Interval, TemperatureProfile
from kdsearch.analysis.response.selection import group_setups, select_setups
from kdsearch.analysis.response.space import level_of
from kdsearch.analysis.response.warm_start import EarlierStudy
from kdsearch.analysis.shown import Shown
from kdsearch.analysis.threads import one_blas_thread
from kdsearch.intervals import LEVEL, TOLERANCE, check_level, check_loss
from kdsearch.spec import TEMPERATURE, Params, Setup, StudySpec, setup_key
from kdsearch.storage import SET_ASIDE, StoredWidening, StudySummary, Trials, columns_of

COMMON_DEFAULTS = (1.0, USUAL_TEMPERATURE)
_BORROWED = math.log(3)
"""An interval that the other setups made this much narrower, as a ratio, is said to rest on them."""

_NEAR = 0.15
"""By hand, as a share of an axis: trials this near to the recommendation are like it."""

_N_NEAREST = 5
"""By hand: a mean of five has under half of one trial's scatter, and is still of the place."""


@dataclass(frozen=True)
class SetupAnswer:
    """One setup's answer. Where `reason` tells why there is none, the numbers are None.

    Attributes:
        setup: The setup; for a marginal answer, its levels of the factors that were asked `by`.
        temperature: The temperature with the highest expected accuracy, the others at their best.
        interval: Holds, with the asked probability, a temperature that loses at most `interval_loss`
            against the best.
        interval_loss: The accuracy to within which `interval` holds the best temperature.
        near_optimal: Temperatures around `temperature` of which each is, with the asked probability,
            within the tolerance of the best accuracy; None where not even one is, or all trials have one
            accuracy below 100%.
        accuracy: Expected validation accuracy at the recommended temperature and parameters.
        accuracy_interval: Holds that accuracy with the asked probability.
        test_accuracy: The mean observed test accuracy of the nearest (at most 5) complete trials within 15%
            of every range from the recommendation; None where there is none.
        params: The other tuned parameters at the recommendation; None for a marginal answer.
        nearest_trial: The number of the complete trial nearest to the recommendation, within 15% of every
            range, of equally near ones the best; None where there is none, and for a marginal answer.
        trials: Complete trials that have a say.
        diverged: Trials that diverged.
        failed: Other failed trials, those that were lost and run again included.
        pruned: Pruned trials.
        outcomes: How the trials of each range of temperatures ended; the ranges are the same for all setups.
        forecast: How far the setup is from being decided; None for a marginal answer, or without an answer.
        stopped: Why the search gives the setup no more trials; None where it does.
        regret_of: Expected accuracy that common temperatures in the range lose against the recommended one.
        regret_interval_of: Holds that loss with the asked probability; below 0 where they may gain.
        flat: Whether temperature hardly matters: of each temperature in the range it is 80% probable that it
            costs at most twice the tolerance. Never said of fewer than 12 trials, where it may be the other
            setups that are flat, nor where all trials have one value of another tuned parameter, or it
            moves with T: at a better one temperature may matter; nor where all have one accuracy below 100%.
        alone: What the setup's own trials say without the other setups; None where nothing is shared, or they
            are too few.
        tuned_trials: Complete trials in each quarter of the range of temperatures whose other parameters cost
            less than 0.7 points there: where the answer has been looked for.
        effect: What the best temperature gains over the worst, the others at their best for each.
        effect_at_common: The same with the others kept at the recommendation, `params`; None where nothing
            else is tuned.
        regret_at_common: Expected accuracy lost by common temperatures with the others kept so.
        warnings: What to know before the answer is believed.
        reason: Why there is no answer.
    """

    setup: Setup
    temperature: float | None = None
    interval: Interval | None = None
    interval_loss: float | None = None
    near_optimal: Interval | None = None
    accuracy: float | None = None
    accuracy_interval: Interval | None = None
    test_accuracy: float | None = None
    params: Params | None = None
    nearest_trial: int | None = None
    trials: int = 0
    diverged: int = 0
    failed: int = 0
    pruned: int = 0
    outcomes: tuple[TemperatureBand, ...] = ()
    regret_of: dict[str, float] | None = None
    regret_interval_of: dict[str, Interval] | None = None
    flat: bool | None = None
    alone: "AloneAnswer | None" = None
    tuned_trials: tuple[int, ...] | None = None
    effect: TemperatureEffect | None = None
    effect_at_common: TemperatureEffect | None = None
    regret_at_common: dict[str, float] | None = None
    warnings: tuple[str, ...] = ()
    reason: str | None = None
    stopped: str | None = None
    forecast: SetupForecast | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as a JSON document."""
        return {name: _plain(value) for name, value in self.__dict__.items()}


@dataclass(frozen=True)
class AloneAnswer:
    """What a setup's own trials say without the other setups.

    Attributes:
        temperature: The temperature with the highest expected accuracy.
        interval: Holds what may be best with the asked probability, as a setup's `interval` does.
        regret: What the recommended temperature, that of all setups' model, is then expected to lose.
    """

    temperature: float
    interval: Interval
    regret: float

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON document."""
        return {**self.__dict__, "interval": list(self.interval)}


@dataclass(frozen=True, repr=False)
class BestAnswer(Shown):
    """The best temperature of every setup of a study.

    `target` is the accuracy that a decided setup may be expected to lose, `slots` how many packs run at the
    same time in the hours of the forecasts. `prior_from` names the earlier studies whose trials have a say
    beside the study's own. `state` and `state_reason` are the study's; None where only its trials were asked.
    `widened` are the ranges that its search has widened. `luck` is what the doubt includes and no
    other: what the trials differ by, as `StudySpec.luck` has it, and `images`, where that of the validation
    images is known.
    """

    study: str
    level: float
    tolerance: float
    setups: list[SetupAnswer] = field(default_factory=list)
    prior_from: tuple[str, ...] = ()
    state: str | None = None
    state_reason: str | None = None
    widened: tuple[StoredWidening, ...] = ()
    target: float = COMMON_TARGET
    slots: float = 1.0
    metric: str = "val_accuracy"
    luck: tuple[str, ...] = ("initialisation",)

    def of_study(self, study: StudySummary) -> "BestAnswer":
        """Return the answers with their study's state.

        It includes which setups the study stopped early.
        """
        reasons = stopped_in(study)
        setups = [_as_stopped(found, reasons.get(setup_key(found.setup))) for found in self.setups]
        return replace(self, setups=setups, state=study.state, state_reason=study.why, widened=study.widened)

    def to_dict(self) -> dict[str, Any]:
        """Return the answers as the JSON document of `kdsearch best --format json`.

        `prior_from` is there where the study started from others.
        """
        return {
            "study": self.study,
            "state": self.state,
            "state_reason": self.state_reason,
            "metric": self.metric,
            "level": self.level,
            "tolerance": self.tolerance,
            "target": self.target,
            "slots": self.slots,
            "luck": list(self.luck),
            "setups": [answer.to_dict() for answer in self.setups],
            "widened": [widening.to_dict() for widening in self.widened],
            **({"prior_from": list(self.prior_from)} if self.prior_from else {}),
        }


def _as_stopped(found: SetupAnswer, stopped: str | None) -> SetupAnswer:
    """Return an answer with the reason why its setup was stopped.

    Where there is no answer of a setup that was set aside, that is why.
    """
    is_aside = stopped is not None and stopped.startswith(SET_ASIDE)
    return replace(found, stopped=stopped, reason=stopped if found.reason and is_aside else found.reason)


@one_blas_thread
def best(
    spec: StudySpec,
    trials: Trials,
    *,
    earlier: Sequence[EarlierStudy] = (),
    by: Sequence[str] | None = None,
    where: Mapping[str, Any] | None = None,
    level: float = LEVEL,
    tolerance: float = TOLERANCE,
    slots: float = 1.0,
    seed: int = 0,
) -> BestAnswer:
    """Return the best temperature of each setup.

    `by` asks for one per combination of levels of some factors.

    Args:
        spec: The study's spec.
        trials: Its trials so far; all of them inform every answer.
        earlier: The studies that `search.warm_start` names: what they say fades as this one's trials
            come in.
        by: Factors to answer for, averaging the accuracy over the others.
        where: Levels of factors to which the answers are restricted.
        level: Probability of the intervals, between 0 and 1.
        tolerance: What counts as near the best, as a fraction of accuracy.
        slots: How many packs run at the same time, for what is forecast.
        seed: Fixes the draws that the answers are computed from.

    Raises:
        RequestError: A factor or a level does not belong to the study.
    """
    response = fit_response(spec, trials, earlier=earlier, seed=seed)
    return best_of(response, trials, by=by, where=where, level=level, tolerance=tolerance, slots=slots)


@one_blas_thread
def best_of(
    response: Response,
    trials: Trials,
    *,
    by: Sequence[str] | None = None,
    where: Mapping[str, Any] | None = None,
    level: float = LEVEL,
    tolerance: float = TOLERANCE,
    slots: float = 1.0,
) -> BestAnswer:
    """Return what `best` does, of a response that is there already.

    Args:
        response: What the study's trials say.
        trials: Its trials so far.
        by: Factors to answer for, averaging the accuracy over the others.
        where: Levels of factors to which the answers are restricted.
        level: Probability of the intervals, between 0 and 1.
        tolerance: What counts as near the best, as a fraction of accuracy.
        slots: How many packs run at the same time, for what is forecast.
    """
    check_level(level)
    check_loss("tolerance", tolerance)
    groups = group_setups(response.space.setups, select_setups(response.space.setups, where), by)
    target = target_of(response.spec)
    judge = _Judge(response, trials, level, tolerance, target, slots)
    answers = [judge.answer(setup, members, is_marginal=by is not None) for setup, members in groups]
    return BestAnswer(
        study=response.spec.name,
        level=level,
        tolerance=tolerance,
        setups=answers,
        prior_from=response.prior_from,
        target=target,
        slots=slots,
        luck=(*response.spec.luck, *(("images",) if response.luck.sd.any() else ())),
    )


class _Judge:
    """Answers for groups of setups from one response."""

    def __init__(
        self,
        response: Response,
        trials: Trials,
        level: float,
        tolerance: float,
        target: float,
        slots: float,
    ) -> None:
        self._response = response
        columns = columns_of(trials)
        self._ended = outcomes_of(columns)
        self._setup_of = response.space.setups_of(columns.setup)
        self._span = temperature_span(columns, response.spec)
        self._level = level
        self._tolerance = tolerance
        self._target = target
        self._slots = slots

    def answer(self, setup: Setup, members: Sequence[int], *, is_marginal: bool) -> SetupAnswer:
        reasons = [self._response.silence(s) for s in members]
        answered = [s for s, reason in zip(members, reasons, strict=True) if reason is None]
        tallies = [self._response.tallies[s] for s in members]
        known: dict[str, Any] = {
            "setup": setup,
            "trials": sum(len(tally.complete) for tally in tallies),
            "diverged": sum(tally.diverged for tally in tallies),
            "failed": sum(tally.failed for tally in tallies),
            "pruned": sum(tally.pruned for tally in tallies),
            "outcomes": self._outcomes(members),
        }
        warnings = [note for tally in tallies for note in _exclusions(tally)]
        reason = self._disagreement(answered) if answered else all_diverged(tallies) or reasons[0]
        if reason is not None:
            return SetupAnswer(**known, warnings=tuple(warnings), reason=reason)
        if silent := len(members) - len(answered):
            warnings.append(f"{silent} of {len(members)} setups have too few trials and are left out.")
        profile = self._response.profile(answered)
        known |= self._about_temperature(profile)
        details = [self._at_the_recommendation(s, profile) for s in answered]
        left_open = [
            list(untried(self._response, s, own.nodes)) for s, own in zip(answered, details, strict=True)
        ]
        known["flat"] = self._is_flat(answered, profile, left_open)
        if self._have_one_accuracy(answered):
            known["near_optimal"] = None  # that none was seen to cost anything is no finding
        known |= self._about_accuracy(details)
        params = None if is_marginal else details[0].params
        if self._response.tunes_others:
            common = self._response.profile_at_common(answered, profile.temperature)
            known |= self._about_common(common)
            note = tuning_note(profile, common, params, level=self._level, tolerance=self._tolerance)
            warnings += [note] if note else []
        if not is_marginal:
            known |= {"params": params, "nearest_trial": details[0].nearest_trial}
            known |= self._about_evidence(answered[0], profile)
            warnings += [_flat_note(self._tolerance)] if known["flat"] else []
            warnings += [note] if (note := self._moving_note(answered[0], details[0].params)) else []
            warnings += [note] if (note := _borrowed(known["alone"], known["interval"])) else []
            warnings += [_APART] if answered[0] in self._response.apart else []
            at_edge = list(edges(self._response, answered[0], int(details[0].nodes[0])))
            warnings += map(str, at_edge)
            warnings += map(str, left_open[0])
            known["forecast"] = self._forecast(answered[0], profile, at_edge)
        return SetupAnswer(**known, warnings=tuple(warnings))

    def _is_flat(
        self,
        members: Sequence[int],
        profile: TemperatureProfile,
        left_open: Sequence[Sequence[Untried | Tied]],
    ) -> bool:
        n_trials = sum(len(self._response.tallies[s].complete) for s in members)
        if n_trials < ENOUGH_TO_DECIDE or not profile.is_flat(self._tolerance):
            return False
        if self._have_one_accuracy(members):
            return False
        return not any(o.hides_temperature for own in left_open for o in own)

    def _have_one_accuracy(self, members: Sequence[int]) -> bool:
        return any(self._response.stalemate(s) for s in members)

    def _moving_note(self, setup: int, params: Params) -> str | None:
        """Return what T stands for where it moves within a training."""
        space, path = self._response.space, "objective.temperature_ratio"
        ratio = params.get(path, level_of(self._response.spec, space.setups[setup], path))
        is_number = isinstance(ratio, int | float) and ratio > 0  # a column of a file may hold anything
        if not self._response.spec.has_engine_words or not is_number or ratio == 1:
            return None
        first, last = (f"{float(ratio) ** power:.3g} T" for power in (-0.5, 0.5))
        return f"T moves within each training, from {first} to {last}: what is said of T is of the middle."

    def _about_evidence(self, setup: int, profile: TemperatureProfile) -> dict[str, Any]:
        alone, own = self._response.profile_alone(setup), None
        if alone is not None:
            lost = alone.regret[:, alone.nearest(profile.temperature)].mean()
            own = AloneAnswer(alone.temperature, alone.interval(self._level), float(lost))
        return {"alone": own, "tuned_trials": tuned_trials(self._response, setup)}

    def _forecast(self, setup: int, profile: TemperatureProfile, at_edge: Sequence[Edge]) -> SetupForecast:
        other = next((edge for edge in at_edge if edge.path != TEMPERATURE), None)
        return forecast_setup(self._response, setup, profile, other, target=self._target, slots=self._slots)

    def _outcomes(self, members: Sequence[int]) -> tuple[TemperatureBand, ...]:
        own = self._ended.take(np.isin(self._setup_of, members))
        return tuple(own.bands(self._span))

    def _disagreement(self, members: Sequence[int]) -> str | None:
        shared = self._response.shared_temperatures(members)
        return None if len(shared) else "the setups have no temperature in common."

    def _about_temperature(self, profile: TemperatureProfile) -> dict[str, Any]:
        lost = lost_by_defaults(profile, self._level)
        return {
            "temperature": profile.temperature,
            "interval": profile.interval(self._level),
            "interval_loss": profile.interval_loss,
            "near_optimal": profile.near_optimal(self._level, self._tolerance),
            "regret_of": {name: mean for name, (mean, _) in lost.items()},
            "regret_interval_of": {name: interval for name, (_, interval) in lost.items()},
            "effect": effect_of(profile, self._level),
        }

    def _about_common(self, common: TemperatureProfile) -> dict[str, Any]:
        lost = lost_by_defaults(common, self._level)
        regrets = {name: mean for name, (mean, _) in lost.items()}
        return {"effect_at_common": effect_of(common, self._level), "regret_at_common": regrets}

    def _at_the_recommendation(self, setup: int, profile: TemperatureProfile) -> "_Recommendation":
        response = self._response
        nodes = response.recommended_nodes(setup, profile.temperature)
        site = response.space.site_at(setup, int(nodes[0]))
        params = response.space.values(site, list(nodes))
        params.pop(TEMPERATURE)
        accuracies = response.at(setup, nodes[None])[:, 0]
        complete, apart = response.tallies[setup].complete, _apart(response, setup, nodes)
        near = _nearest_trial(complete, apart), _test_accuracy_near(complete, apart)
        return _Recommendation(nodes, params, accuracies, *near)

    def _about_accuracy(self, details: Sequence["_Recommendation"]) -> dict[str, Any]:
        accuracies = np.mean([detail.accuracies for detail in details], axis=0)
        low, high = np.quantile(accuracies, [(1 - self._level) / 2, (1 + self._level) / 2])
        measured = [d.test_accuracy for d in details if d.test_accuracy is not None]
        return {
            "accuracy": float(accuracies.mean()),
            "accuracy_interval": (float(low), float(high)),
            "test_accuracy": float(np.mean(measured)) if len(measured) == len(details) else None,
        }


@dataclass(frozen=True)
class _Recommendation:
    nodes: IntArray
    params: Params
    accuracies: FloatArray
    nearest_trial: int | None
    test_accuracy: float | None


def _plain(value: Any) -> Any:
    if isinstance(value, TemperatureEffect | TemperatureBand | AloneAnswer):
        return value.to_dict()
    if isinstance(value, SetupForecast):
        told = ("regret", "decided", "missing", "more_trials", "hours", "reason")
        return {name: _plain(getattr(value, name)) for name in told}
    if isinstance(value, dict):
        return {name: _plain(own) for name, own in value.items()}
    return list(map(_plain, value)) if isinstance(value, tuple) else value


def lost_by_defaults(profile: TemperatureProfile, level: float) -> dict[str, tuple[float, Interval]]:
    """Return what common temperatures lose against the recommended one.

    They are by name, with intervals.
    """
    lost = {f"{default:g}": profile.lost_at(default, level) for default in COMMON_DEFAULTS}
    return {name: found for name, found in lost.items() if found is not None}


def _flat_note(tolerance: float) -> str:
    return (
        f"Temperature hardly matters here: each one in the range costs at most {200 * tolerance:g} points, "
        "with a probability of 80% at least."
    )


_APART = (
    "Its trials contradict the other setups, by whom a quarter or more of them would be accidents: it is "
    "answered by its own trials alone."
)


def _borrowed(alone: AloneAnswer | None, interval: Interval) -> str | None:
    """Return a sentence where an answer leans on other setups.

    It is then surer than the setup's own trials are. None where it hardly is.
    """
    if alone is None:
        return None
    here, there = (math.log(high / low) for low, high in (interval, alone.interval))
    if there - here < _BORROWED:
        return None
    low, high = map(temperature_text, alone.interval)
    return f"It rests on the other setups too: its own trials alone say {low} to {high}."


def _exclusions(tally: Tally) -> Iterator[str]:
    if tally.other_length:
        yield (
            f"{tally.other_length} complete trials trained for another number of epochs than asked "
            "and do not compete."
        )
    if tally.outside:
        yield f"{tally.outside} complete trials lie outside the ranges and have no say."


def _apart(response: Response, setup: int, nodes: IntArray) -> FloatArray:
    """Return how far each complete trial of a setup is from some nodes, as the largest share of an axis."""
    trials, axes = response.tallies[setup].complete.nodes, response.space.axes
    places = zip(axes, trials.T, nodes, strict=True)
    apart: FloatArray = np.max([axis.distances()[own, node] for axis, own, node in places], axis=0)
    return apart


def _nearest_trial(complete: Competitors, apart: FloatArray) -> int | None:
    """Return the number of the nearest trial; of equally near ones, the best. None where none is near."""
    order = np.lexsort((-complete.val_accuracy, apart))
    return next((int(complete.number[at]) for at in order[:1] if apart[at] <= _NEAR), None)


def _test_accuracy_near(complete: Competitors, apart: FloatArray) -> float | None:
    near = np.flatnonzero((apart <= _NEAR) & ~np.isnan(complete.test_accuracy))
    measured = complete.test_accuracy[near]
    nearest = measured[np.lexsort((measured, apart[near]))][:_N_NEAREST]
    return float(nearest.mean()) if len(nearest) else None
