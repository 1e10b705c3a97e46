"""The answer of a study in words."""

from collections.abc import Sequence

from kdsearch.analysis.labels import setup_names, temperature_text
from kdsearch.analysis.questions.best import BestAnswer, SetupAnswer
from kdsearch.analysis.questions.replication import USUAL_TEMPERATURE
from kdsearch.analysis.response.profiles import Interval

_USUAL = f"{USUAL_TEMPERATURE:g}"
_MOST_NAMES = 3
"""A headline with more names is no headline."""


def headline(answer: BestAnswer) -> str:
    """Return the answers of a study in two or three sentences.

    Args:
        answer: The answer of every setup.
    """
    known = [found for found in answer.setups if found.temperature is not None]
    if not known:
        return "No setup has enough trials for an answer yet."
    return " ".join([_best(known, len(answer.setups)), _decided(known, len(answer.setups)), *_usual(known)])


def _best(known: Sequence[SetupAnswer], n_setups: int) -> str:
    """Return what is recommended, in words that no one takes for an interval of one temperature."""
    texts = [temperature_text(t) for t in sorted(found.temperature or 0.0 for found in known)]
    is_one = texts[0] == texts[-1]
    span = f"temperature is {texts[0]}" if is_one else f"temperatures go from {texts[0]} to {texts[-1]}"
    where = f", as far as {len(known)} of {n_setups} setups can be answered" if len(known) < n_setups else ""
    over = f" over {n_setups} setups" if n_setups > 1 and not where else ""
    return f"The recommended {span}{over}{where}."


def _decided(known: Sequence[SetupAnswer], n_setups: int) -> str:
    count = sum(found.forecast is not None and found.forecast.decided for found in known)
    if n_setups == 1:
        return "The answer is decided." if count else "It is not decided."
    if count == n_setups:
        return "All answers are decided."
    return f"Of {n_setups} answers {count or 'none'} {'are' if count > 1 else 'is'} decided."


def _usual(known: Sequence[SetupAnswer]) -> list[str]:
    """Return what T = 4 loses where it surely loses. Nothing where it can't be chosen."""
    lost = {id(found): value for found in known if (value := _lost_at_usual(found)) is not None}
    if not lost:
        return []
    surely = [found for found in known if id(found) in lost and _is_sure(lost[id(found)][1])]
    if not surely:
        return [f"The usual T = {_USUAL} is not known to lose anything."]
    names = dict(zip(map(id, known), setup_names([found.setup for found in known]), strict=True))
    points = [f"{100 * value:.1f}" for value in sorted(lost[id(found)][0] for found in surely)]
    span = points[0] if points[0] == points[-1] else f"{points[0]} to {points[-1]}"
    if len(known) == 1:
        return [f"The usual T = {_USUAL} is expected to lose {span} points."]
    told = ", ".join(names[id(found)] for found in surely)
    where = told if len(surely) <= _MOST_NAMES else f"{len(surely)} of {len(known)} setups"
    rest = "; elsewhere it is not known to lose anything" if len(surely) < len(lost) else ""
    return [f"The usual T = {_USUAL} is expected to lose {span} points in {where}{rest}."]


def _lost_at_usual(found: SetupAnswer) -> tuple[float, Interval] | None:
    lost = (found.regret_of or {}).get(_USUAL)
    interval = (found.regret_interval_of or {}).get(_USUAL)
    return None if lost is None or interval is None else (lost, interval)


def _is_sure(interval: Interval) -> bool:
    return interval[0] > 0
