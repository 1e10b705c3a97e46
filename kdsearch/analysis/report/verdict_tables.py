"""Verdicts as text, for the terminal, files and the report."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kdsearch.analysis.labels import NOTHING, duration_text
from kdsearch.analysis.questions.verdicts import VerdictAnswer
from kdsearch.analysis.report.tables import ALWAYS, Heading, Table

HEADINGS = (
    Heading("claim", kind="prose", worth=ALWAYS),
    Heading("verdict", kind="word", worth=ALWAYS),
    Heading("effect", "the other tuned parameters at their best for each temperature and setup"),
    Heading("interval", "holds the effect with the probability that the claim asks for"),
    Heading("at common", "the effect with the other tuned parameters the same for all"),
    Heading("P(true)", "that the claim is true: its direction, and as large as matters"),
    Heading("P(opposite)", "that the effect is as large the other way; of a claim of none, that it matters"),
    Heading("power", "the chance that these trials confirm an effect of twice the smallest that matters"),
    Heading("trials"),
    Heading("to go", "about so many more trials of the compared setups decide it"),
)

_CLAIMED = {
    "higher": "Claimed: higher by {} or more",
    "lower": "Claimed: lower by {} or more",
    "none": "Claimed: no effect of {} or more",
}


def verdict_table(answer: VerdictAnswer) -> Table:
    """Return the verdicts as a table, with notes on each."""
    document = answer.to_dict()
    rows = [verdict_cells(n, found) for n, found in enumerate(document["verdicts"], start=1)]
    notes = [("claims", _written(document)), *_numbered(document)]
    return Table(list(HEADINGS), rows, emphasis=1, notes=notes, title=f"Verdicts of {answer.study}")


def verdict_cells(number: int, found: Mapping[str, Any]) -> list[str]:
    """Return the cells of one verdict, in the order of `HEADINGS`."""
    quantity = found["claim"]["quantity"]
    return [
        f"{number}. {found['claim']['says']}",
        found["verdict"],
        _effect(quantity, found["effect"]),
        _span(quantity, found["interval"]),
        _effect(quantity, found["effect_at_common"]),
        _share(found["probability"]),
        _share(found["probability_reversed"]),
        _share(found["power"]),
        str(found["trials"]),
        _to_go(found),
    ]


def _written(document: Mapping[str, Any]) -> str:
    """Return when the claims were written, and how many were weighed."""
    if not document["verdicts"]:
        return (
            f"The study {document['study']} has no claims. Write `claims:` into the study file before it "
            "runs, or judge some that are written now: kdsearch verdict STUDY --claims FILE."
        )
    written = f"They were written {document['written']} (SHA-256 {document['digest'][:12]})."
    return f"{written}{_how_many(document['verdicts'])}"


def _how_many(verdicts: Sequence[Mapping[str, Any]]) -> str:
    """Return a warning that each claim is weighed by itself.

    It says what that means for all of them together.
    """
    wrong = sum(1 - found["claim"]["probability"] for found in verdicts)
    if len(verdicts) == 1:
        return ""
    return (
        f" {len(verdicts)} are weighed, each by itself: the chance that a verdict among them is wrong adds "
        f"up, to {min(wrong, 1):.0%} at most."
    )


def _numbered(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (str(number), note)
        for number, found in enumerate(document["verdicts"], start=1)
        for note in _notes_of(found)
    ]


def _notes_of(found: Mapping[str, Any]) -> Iterable[str]:
    claim = found["claim"]
    least = (
        f"a factor of {claim['at_least']:g}"
        if claim["quantity"] == "best_temperature"
        else f"{100 * claim['at_least']:g} points"
    )
    why = f" Not resolved: {'; '.join(found['reasons']).removesuffix('.')}." if found["reasons"] else ""
    yield f"{_CLAIMED[claim['direction']].format(least)}, with probability {claim['probability']:g}.{why}"
    yield from found["notes"]


def _effect(quantity: str, effect: float | None) -> str:
    if effect is None:
        return NOTHING
    return f"{effect:.2g}×" if quantity == "best_temperature" else f"{100 * effect:+.2f} points"


def _span(quantity: str, interval: Iterable[float] | None) -> str:
    if interval is None:
        return NOTHING
    times = quantity == "best_temperature"
    return " to ".join(f"{end:.2g}" if times else f"{100 * end:.2f}" for end in interval)


def _share(probability: float | None) -> str:
    return NOTHING if probability is None else f"{probability:.2f}"


def _to_go(found: Mapping[str, Any]) -> str:
    if found["verdict"] != "not resolved":
        return "decided"
    if found["more_trials"] is None:
        return NOTHING
    time = f", {duration_text(found['hours'])}" if found["hours"] else ""
    return f"about {found['more_trials']}{time}"
