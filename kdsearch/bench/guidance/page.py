"""The guidance page: its tables are computed, and its words follow from the numbers."""

import math
from collections.abc import Iterator, Sequence
from statistics import median

from kdsearch.analysis import SetupAnswer
from kdsearch.analysis.labels import points_text, setup_names, temperature_text
from kdsearch.bench.guidance.evidence import Evidence, Ruled
from kdsearch.intervals import TOLERANCE
from kdsearch.spec import TEMPERATURE, Range

_AXES = {
    "Optimizer": ("optimizer.name",),
    "Length": ("training.epochs",),
    "Teacher": ("teacher.",),
    "Initialisation": ("student.init",),
    "Labels": ("dataset.labels",),
    "Batch": ("training.batch_size",),
    "Objective": ("objective.",),
}
"""A practitioner's words, and how the paths of the factors begin that they stand for."""

_SAID = {
    "confirmed": "confirmed",
    "reversed": "the opposite is so",
    "no effect that matters": "no difference that matters",
    "not resolved": "not decided",
}
_USUAL = "4"
_FEW_IMAGES = 1_000  # training images; CIFAR-100 has 50,000
_SAME = 1.01  # ends of intervals are nodes, which may miss the range's ends by rounding


def guidance_page(evidence: Sequence[Evidence]) -> str:
    """Return the page in Markdown.

    Args:
        evidence: What the studies say, one or more.
    """
    parts = [
        _opening(evidence),
        _in_short(evidence),
        _tables(evidence),
        _by_axis(evidence),
        _limits(evidence),
    ]
    return "\n\n".join(parts) + "\n"


def _opening(evidence: Sequence[Evidence]) -> str:
    trials = sum(own.trials for own in evidence)
    return (
        "# Guidance\n\n"
        "Where to start with the temperature, how wide to search, what T = 4 is expected to cost, and how "
        f"sure that is. Computed from {_count(len(evidence), 'study', 'studies')} of the "
        f"[results](results/README.md), {trials:,} trials, by `python -m kdsearch.bench guidance`; what is "
        "not in them is not said here. It holds within [its limits](#limits); a study of your own is one "
        "command."
    )


def _in_short(evidence: Sequence[Evidence]) -> str:
    pairs = [(own, found) for own in evidence for found in own.answers if found.interval is not None]
    lines = ["## In short", ""]
    if not pairs:
        return "\n".join([*lines, "No situation has enough trials for an answer."])
    answered = [found for _, found in pairs]
    said = (_of_decisions(answered), _of_intervals(pairs), *_of_costs(answered))
    return "\n".join([*lines, *(f"- {line}" for line in said)])


def _of_decisions(answered: Sequence[SetupAnswer]) -> str:
    decided = sum(_is_decided(found) for found in answered)
    flat = sum(bool(found.flat) for found in answered)
    return (
        f"Of {_count(len(answered), 'situation')}, {_are(decided)} decided; in {flat} the temperature hardly "
        "matters, once the rest is tuned."
    )


def _of_intervals(pairs: Sequence[tuple[Evidence, SetupAnswer]]) -> str:
    if not any(_leaves_out(own, found) for own, found in pairs):
        return "Every 90% interval is the whole range that was searched: no temperature is ruled out."
    intervals = [found.interval for _, found in pairs if found.interval is not None]
    low, high = max(own[0] for own in intervals), min(own[1] for own in intervals)
    if low >= high:
        return "No temperature lies in the 90% intervals of all situations: no one range suits all."
    return (
        f"Temperatures from {temperature_text(low)} to {temperature_text(high)} lie in the 90% interval of "
        "every situation: where nothing else is known, search there first."
    )


def _leaves_out(own: Evidence, found: SetupAnswer) -> bool:
    """Return whether an interval is narrower than the searched range."""
    dimension = own.spec.dimensions(found.setup).get(TEMPERATURE)
    if found.interval is None or not isinstance(dimension, Range):
        return found.interval is not None
    low, high = found.interval
    return low > dimension.low * _SAME or high < dimension.high / _SAME


def _of_costs(answered: Sequence[SetupAnswer]) -> Iterator[str]:
    costs = [found.regret_of[_USUAL] for found in answered if found.regret_of and _USUAL in found.regret_of]
    if not costs:
        return
    surely = sum(_interval_of_usual(found)[0] > TOLERANCE for found in answered)
    at_most = sum(_interval_of_usual(found)[1] < TOLERANCE for found in answered)
    yield (
        f"T = 4 is expected to cost {points_text(median(costs))} points in the middle situation and "
        f"{points_text(max(costs))} in the worst. With a probability of about 95% it costs less than half a "
        f"point in {at_most} of {len(costs)}, and more in {surely}; in the others that is open."
    )


def _interval_of_usual(found: SetupAnswer) -> tuple[float, float]:
    known = found.regret_interval_of or {}
    return known.get(_USUAL, (-math.inf, math.inf))


def _tables(evidence: Sequence[Evidence]) -> str:
    intro = (
        "## Where to start\n\n"
        "*Search* is the 90% interval: it holds, with that probability, a T that costs little against the "
        "best. *T = 4 costs* is expected, with its 90% interval (below 0 it gains), the other tuned "
        "parameters at their best. A row that is not decided is a place to begin, no answer."
    )
    return "\n\n".join([intro, *map(_table, evidence)])


def _table(own: Evidence) -> str:
    names = setup_names([found.setup for found in own.answers])
    where = f"[{own.spec.name}](results/{own.page})" if own.page else own.spec.name
    more = f" {_count(own.unrun, 'setup')} of its file had not been run." if own.unrun else ""
    lines = [
        f"### {own.spec.name}",
        "",
        f"{where}: {_what(own)}, {own.trials:,} trials.{more}",
        "",
        "| situation | start at T | search | T = 4 costs, points | accuracy % | how sure | trials |",
        "| --- | ---: | ---: | ---: | ---: | --- | ---: |",
        *(_row(name, found) for name, found in zip(names, own.answers, strict=True)),
    ]
    return "\n".join(lines)


def _what(own: Evidence) -> str:
    student, teacher, data = (_fixed(own, path) for path in ("student.arch", "teacher.arch", "dataset.name"))
    size = own.spec.dataset.train_size
    images = "" if size is None or "dataset.train_size" in own.spec.setup else f" ({size:g} training images)"
    return f"{student} under {teacher} on {data}{images}"


def _fixed(own: Evidence, path: str) -> str:
    return f"several of `{path}`" if path in own.spec.setup else str(own.spec.value_at(path))


def _row(name: str, found: SetupAnswer) -> str:
    if found.temperature is None or found.interval is None:
        return f"| {name} | – | – | – | – | no answer: {(found.reason or '').rstrip('.')} | {found.trials} |"
    low, high = map(temperature_text, found.interval)
    cost = (found.regret_of or {}).get(_USUAL)
    ends = [points_text(end) for end in _interval_of_usual(found)] if cost is not None else []
    cells = [
        name,
        temperature_text(found.temperature),
        f"{low} to {high}",
        f"{points_text(cost)} ({' to '.join(ends)})" if ends else "–",
        points_text(found.accuracy),
        _how_sure(found),
        str(found.trials),
    ]
    return f"| {' | '.join(cells)} |"


def _is_decided(found: SetupAnswer) -> bool:
    return found.forecast is not None and found.forecast.decided


def _how_sure(found: SetupAnswer) -> str:
    regret = found.forecast.regret if found.forecast else None
    loses = "" if regret is None else f", may lose {points_text(regret)} points"
    flat = "; T hardly matters" if found.flat else ""
    return f"{'decided' if _is_decided(found) else 'not decided'}{loses}{flat}"


def _by_axis(evidence: Sequence[Evidence]) -> str:
    lines = [
        "## What each part of training changes",
        "",
        "Claims that were written before the studies ran, and their [verdicts](claims.md).",
    ]
    for axis, starts in _AXES.items():
        found = [
            (own, r) for own in evidence for r in own.rulings if r.factor and r.factor.startswith(starts)
        ]
        varied = [
            own.spec.name for own in evidence if any(path.startswith(starts) for path in own.spec.setup)
        ]
        lines += ["", f"**{axis}.** {_sum_up(found, varied)}", *_bullets(found)]
    shared = [(own, r) for own in evidence for r in own.rulings if r.factor is None]
    if shared:
        lines += ["", f"**One temperature for all.** {_sum_up(shared, [])}", *_bullets(shared)]
    return "\n".join(lines)


def _sum_up(found: Sequence[tuple[Evidence, Ruled]], varied: Sequence[str]) -> str:
    if not found:
        return (
            f"Varied in {', '.join(varied)}, where no claim is about it."
            if varied
            else "No study of it has been run: nothing is known here."
        )
    resolved = sum(ruled.verdict != "not resolved" for _, ruled in found)
    return f"Of {_count(len(found), 'claim')}, {_are(resolved)} decided:"


def _bullets(found: Sequence[tuple[Evidence, Ruled]]) -> Iterator[str]:
    if found:
        yield ""
    for own, ruled in found:
        where = f"[{own.spec.name}](results/{own.page})" if own.page else own.spec.name
        yield f"- *{_SAID[ruled.verdict]}*: {ruled.says}{_effect(ruled)} ({where})."


def _effect(ruled: Ruled) -> str:
    if ruled.effect is None or ruled.interval is None:
        return ""
    is_ratio = ruled.quantity == "best_temperature"
    low, middle, high = (
        f"{value:.2g}" if is_ratio else f"{points_text(value)}"
        for value in (ruled.interval[0], ruled.effect, ruled.interval[1])
    )
    return f"; measured {f'a ratio of {middle}' if is_ratio else f'{middle} points'}, {low} to {high}"


def _limits(evidence: Sequence[Evidence]) -> str:
    kinds = sorted({_what(own) for own in evidence})
    sizes = [own.spec.dataset.train_size for own in evidence]
    is_small = all(isinstance(size, int) and size <= _FEW_IMAGES for size in sizes)
    small = " Such students are no CIFAR-100." if is_small else ""
    lucks = " ".join(sorted({own.luck for own in evidence}))
    return (
        f"## Limits\n\nAll of this is of {'; '.join(kinds)}.{small} For other data and networks take a "
        "direction from here, not a number, and run the study of the same question without `-small`, or your "
        f"own, where it matters. {lucks} The temperatures tried were those of each study's range."
    )


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def _are(number: int) -> str:
    return f"{number} {'is' if number == 1 else 'are'}"
