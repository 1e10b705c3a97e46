"""Whether a claim is confirmed, reversed, without effect, or not resolved.

Without effect means without one that matters. The draws of the response say how probable each of these is.
That alone is too sure: a verdict also has to stand on each setup's own trials, and must not be one of the
learning rate.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import Any, Literal, TypeAlias

import numpy as np

from kdsearch.analysis.labels import setup_names
from kdsearch.analysis.questions.bracketing import untried
from kdsearch.analysis.questions.contrasts import (
    Contrast,
    alone_profiles,
    common_profiles,
    contrast_of,
    share_beyond,
    tuned_profiles,
)
from kdsearch.analysis.questions.decision import ENOUGH_TO_DECIDE
from kdsearch.analysis.questions.edges import parameter_edges
from kdsearch.analysis.questions.quantities import Effects, as_told, effects_of, least_effect
from kdsearch.analysis.response.fitted import Response
from kdsearch.analysis.response.profiles import Interval
from kdsearch.analysis.shown import Shown
from kdsearch.analysis.threads import one_blas_thread
from kdsearch.spec import Claim

Ruling: TypeAlias = Literal["confirmed", "reversed", "no effect that matters", "not resolved"]

_NORMAL = NormalDist()

_ALONE = 0.8
"""The setups' own trials must give the ruling at least this: they know less, but must not speak against."""

_POWER_AT = 2.0
"""The effect that power is told for, in least effects, by hand: at 1 more trials would add no power."""

_HOPELESS = 10.0
"""By hand: more than so many times the trials that were run is no forecast but a guess."""


@dataclass(frozen=True)
class Verdict:
    """What a study says of one claim.

    Effects are ratios of temperatures for `best_temperature`, else fractions of accuracy.

    Attributes:
        claim: The claim.
        verdict: Confirmed, reversed, no effect that matters, or not resolved.
        effect: The median effect, the other tuned parameters at their best for each temperature and setup.
        interval: Holds the effect with the claim's probability.
        probability: That the claim is true: the effect has its direction and is as large as matters, or, of
            a claim of none, that it is smaller than matters.
        probability_reversed: That the effect is as large the other way; of a claim of none, that it matters.
        probability_small: That it is smaller than matters.
        effect_at_common: The median effect with the other parameters the same for all; None where nothing
            else is tuned or no value is in all ranges.
        interval_at_common: Its interval.
        trials: Complete trials of the compared setups.
        power: The chance that these trials confirm an effect of twice the smallest that matters.
        power_of_budget: The same of the study's whole budget.
        more_trials: About how many more trials of these setups decide it; None where no number can be told.
        hours: For how long the study then runs for them; None where no time was measured.
        reasons: Why it is not resolved.
        notes: What to know of it.
    """

    claim: Claim
    verdict: Ruling
    effect: float | None = None
    interval: Interval | None = None
    probability: float | None = None
    probability_reversed: float | None = None
    probability_small: float | None = None
    effect_at_common: float | None = None
    interval_at_common: Interval | None = None
    trials: int = 0
    power: float | None = None
    power_of_budget: float | None = None
    more_trials: int | None = None
    hours: float | None = None
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict as a JSON document."""
        listed = {name: list(v) if isinstance(v, tuple) else v for name, v in self.__dict__.items()}
        return {**listed, "claim": self.claim.model_dump(mode="json")}


@dataclass(frozen=True, repr=False)
class VerdictAnswer(Shown):
    """The verdicts on a study's claims.

    `written` tells when the claims were written, `digest` is the SHA-256 of them: one that has changed is
    another claim.
    """

    study: str
    written: str
    digest: str
    verdicts: list[Verdict] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return the verdicts as the JSON document of `kdsearch verdict --format json`."""
        return {**self.__dict__, "verdicts": [verdict.to_dict() for verdict in self.verdicts]}


def claims_digest(claims: Sequence[Claim]) -> str:
    """Return the SHA-256 of claims."""
    document = [claim.model_dump(mode="json") for claim in claims]
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


@one_blas_thread
def verdicts_of(
    response: Response, *, claims: Sequence[Claim] | None = None, slots: float = 1.0
) -> VerdictAnswer:
    """Return the verdict on each claim.

    Args:
        response: What the study's trials tell.
        claims: Claims that were written afterwards; by default the study's own.
        slots: How many packs run at the same time.
    """
    asked = response.spec.claims if claims is None else claims
    n_complete = sum(len(tally.complete) for tally in response.tallies)
    own = "before any trial had finished" if claims is None else f"after {n_complete} complete trials"
    judged = [verdict_on(response, claim, slots=slots) for claim in asked]
    return VerdictAnswer(response.spec.name, own, claims_digest(asked), judged)


def verdict_on(response: Response, claim: Claim, *, slots: float = 1.0) -> Verdict:
    """Return the verdict on one claim.

    Args:
        response: The study's response.
        claim: A claim that its space has everything for.
        slots: How many packs run at the same time.
    """
    contrast = contrast_of(response, claim)
    trials = sum(len(response.tallies[s].complete) for s in contrast.members)
    if contrast.reason is not None:
        return Verdict(claim, "not resolved", trials=trials, reasons=(contrast.reason,))
    effects = effects_of(claim, tuned_profiles(response, contrast))
    shares = _shares(claim, effects)
    common = _common_effects(response, claim, contrast)
    doubts = tuple(_doubts(response, contrast, claim, shares, effects, common))
    leading = _leading(claim, shares)
    found = Verdict(
        claim,
        "not resolved" if doubts else leading,
        **_numbers(claim, effects, shares, common),
        trials=trials,
        power=_power(claim, effects, 1.0),
        power_of_budget=_power(claim, effects, _left_of_budget(response)),
        reasons=doubts,
        notes=tuple(_notes(contrast, claim, leading, common)),
    )
    return _with_forecast(found, response, contrast, effects, slots)


@dataclass(frozen=True)
class _Shares:
    """The probabilities of a large, a reversed and a small effect."""

    toward: float
    against: float
    small: float


def _shares(claim: Claim, effects: Effects) -> _Shares:
    least = least_effect(claim)
    up, down = float((effects.low > least).mean()), float((effects.high < -least).mean())
    small = float(((effects.low >= -least) & (effects.high <= least)).mean())
    toward, against = (down, up) if claim.direction == "lower" else (up, down)
    return _Shares(toward, against, small)


def _certainties(claim: Claim, shares: _Shares) -> dict[Ruling, float]:
    """Return the probability of each ruling."""
    if claim.direction == "none":
        return {"confirmed": shares.small, "reversed": max(shares.toward, shares.against)}
    return {
        "confirmed": shares.toward,
        "reversed": shares.against,
        "no effect that matters": shares.small,
    }


def _leading(claim: Claim, shares: _Shares) -> Ruling:
    """Return the ruling that has the claim's probability, if any."""
    certain = _certainties(claim, shares)
    ruling = max(certain, key=lambda ruling: certain[ruling])
    return ruling if certain[ruling] >= claim.probability else "not resolved"


def _common_effects(response: Response, claim: Claim, contrast: Contrast) -> Effects | None:
    profiles = common_profiles(response, contrast)
    return None if profiles is None else effects_of(claim, profiles)


def _doubts(
    response: Response,
    contrast: Contrast,
    claim: Claim,
    shares: _Shares,
    effects: Effects,
    common: Effects | None,
) -> Iterator[str]:
    """Yield what keeps a claim from being resolved."""
    leading = _leading(claim, shares)
    if leading == "not resolved":
        yield _undecided(claim, shares)
        return
    yield from _beyond(response, contrast, claim)
    yield from _few_trials(response, contrast)
    yield from _stalemates(response, contrast)
    yield from _other_sign(claim, effects, common)
    yield from _at_edges(response, contrast)
    alone = alone_profiles(response, contrast)
    if alone is None:
        if len(response.space.setups) > 1:
            yield "a setup has too few trials to be judged by its own"
        return
    agrees = _certainties(claim, _shares(claim, effects_of(claim, alone)))[leading]
    if agrees < _ALONE:
        yield (
            f"of all setups together it would be {leading!r}, but the setups' own trials, each without the "
            f"others, give that a probability of {agrees:.2f}, and {_ALONE:g} is asked for"
        )


def _undecided(claim: Claim, shares: _Shares) -> str:
    if claim.direction == "none":
        told = f"an effect that matters {shares.toward + shares.against:.2f}, none {shares.small:.2f}"
    else:
        told = (
            f"as claimed {shares.toward:.2f}, the other way {shares.against:.2f}, too small to matter "
            f"{shares.small:.2f}"
        )
    return f"probabilities are {told}, and {claim.probability:g} is asked for"


def _few_trials(response: Response, contrast: Contrast) -> Iterator[str]:
    fewest = min(len(response.tallies[s].complete) for s in contrast.members)
    if fewest < ENOUGH_TO_DECIDE:
        yield f"a compared setup has {fewest} complete trials, at least {ENOUGH_TO_DECIDE} are asked for"


def _stalemates(response: Response, contrast: Contrast) -> Iterator[str]:
    names = setup_names(response.space.setups)
    for s in contrast.members:
        if why := response.stalemate(s):
            yield f"{names[s]}: {why}"


def _beyond(response: Response, contrast: Contrast, claim: Claim) -> Iterator[str]:
    share = share_beyond(response, contrast, claim.quantity)
    if share > 1 - claim.probability:
        what = "best or worst" if claim.quantity == "spread" else "best"
        yield (
            f"with a probability of {share:.2f} a {what} temperature lies beyond the temperatures that all "
            "compared setups were searched in"
        )


def _other_sign(claim: Claim, effects: Effects, common: Effects | None) -> Iterator[str]:
    """Yield a reason where the effect turns around without retuned rates.

    It must be an effect that matters.
    """
    if common is None:
        return
    tuned, kept = effects.median, common.median
    if abs(tuned) > least_effect(claim) and tuned * kept < 0:
        yield (
            "the effect has the other sign where the other parameters are the same for all: "
            f"{_effect_text(claim, kept)} instead of {_effect_text(claim, tuned)}"
        )


def _at_edges(response: Response, contrast: Contrast) -> Iterator[str]:
    names = setup_names(response.space.setups)
    for s in contrast.members:
        profile = response.profile([s])
        nodes = response.recommended_nodes(s, profile.temperature)
        for note in (*parameter_edges(response, s, int(nodes[0])), *untried(response, s, nodes)):
            yield f"{names[s]}: {note}"


def _notes(contrast: Contrast, claim: Claim, leading: Ruling, common: Effects | None) -> Iterator[str]:
    if contrast.left_out:
        yield (
            f"{contrast.left_out} setups are left out: they have too few trials, or no partner that differs "
            "in this factor alone."
        )
    is_small = leading == "no effect that matters" or (leading == "confirmed" and claim.direction == "none")
    if common is not None and is_small and _shares(claim, common).small < 1 - claim.probability:
        yield (
            "With the other parameters the same for all there is an effect that matters: it is one of "
            "tuning, not of temperature."
        )


def _effect_text(claim: Claim, effect: float) -> str:
    if claim.quantity == "best_temperature":
        return f"{math.exp(effect):.2g} times"
    return f"{100 * effect:+.1f} points"


def _numbers(claim: Claim, effects: Effects, shares: _Shares, common: Effects | None) -> dict[str, Any]:
    is_none = claim.direction == "none"
    found: dict[str, Any] = {
        "effect": as_told(claim, effects.median),
        "interval": _interval(claim, effects),
        "probability": shares.small if is_none else shares.toward,
        "probability_reversed": shares.toward + shares.against if is_none else shares.against,
        "probability_small": shares.small,
    }
    if common is not None:
        found["effect_at_common"] = as_told(claim, common.median)
        found["interval_at_common"] = _interval(claim, common)
    return found


def _interval(claim: Claim, effects: Effects) -> Interval:
    low, high = effects.interval(claim.probability)
    return as_told(claim, low), as_told(claim, high)


def _power(claim: Claim, effects: Effects, times: float) -> float | None:
    """Return the chance to confirm twice the least effect.

    `times` multiplies the trials. The doubt is taken to fall with the root of the trials, and an estimate to
    be off by as much as is doubted. Of a claim of none it is the chance to confirm it where there is truly no
    effect.
    """
    low, high = effects.interval(2 * claim.probability - 1)
    least, needed = least_effect(claim), float(_NORMAL.inv_cdf(claim.probability))
    doubt = (high - low) / (2 * needed) / math.sqrt(times)
    if doubt == 0:
        return 1.0
    if claim.direction == "none":
        return float(max(0.0, 2 * _NORMAL.cdf(least / doubt - needed) - 1))
    return float(_NORMAL.cdf((_POWER_AT - 1) * least / doubt - needed))


def _left_of_budget(response: Response) -> float:
    """Return the study's budget over the trials that ran, at least 1."""
    run = sum(len(tally.complete) + tally.pruned for tally in response.tallies)
    return max(1.0, response.spec.search.trials / max(run, 1))


def _with_forecast(
    found: Verdict, response: Response, contrast: Contrast, effects: Effects, slots: float
) -> Verdict:
    """Return the verdict with about how many more trials decide it."""
    if found.verdict != "not resolved":
        return replace(found, more_trials=0, hours=0.0)
    tallies = [response.tallies[s] for s in contrast.members]
    few = sum(max(0, ENOUGH_TO_DECIDE - len(tally.complete)) for tally in tallies)
    times = _times_the_trials(found.claim, effects)
    only_few = few and times <= 1
    if times > _HOPELESS or (times <= 1 and not only_few):
        return found
    more = max(few, math.ceil(found.trials * (times - 1)))
    seconds = np.concatenate([tally.complete.seconds for tally in tallies])
    known = seconds[np.nan_to_num(seconds) > 0]
    hours = more * float(known.mean()) / 3600 / slots if len(known) else None
    return replace(found, more_trials=more, hours=hours)


def _times_the_trials(claim: Claim, effects: Effects) -> float:
    """Return how many times the trials would make the effect certain.

    The doubt is then so small that the effect, as it looks, is certain.
    """
    middle, least = effects.median, least_effect(claim)
    low, high = effects.interval(2 * claim.probability - 1)
    below, above = middle - low, high - middle
    if abs(middle) > least:
        shrinks = [(below if middle > 0 else above, abs(middle) - least)]
    else:
        shrinks = [(above, least - middle), (below, least + middle)]
    return max((doubt / apart) ** 2 if apart else math.inf for doubt, apart in shrinks)
