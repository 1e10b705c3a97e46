"""What the commands print for a person: tables and sentences."""

import re
import shutil
import sys
import textwrap
from collections.abc import Mapping
from typing import Any

import click

from kdsearch.analysis.labels import (
    duration_text,
    factor_label,
    level_text,
    number_text,
)
from kdsearch.analysis.questions.best import BestAnswer
from kdsearch.analysis.questions.comparison import Comparison
from kdsearch.analysis.questions.forecast import Forecast
from kdsearch.analysis.questions.importance import Importance
from kdsearch.analysis.questions.recommendation import Recommendation
from kdsearch.analysis.report.inks import text_of
from kdsearch.analysis.report.tables import (
    ALWAYS,
    Heading,
    Table,
    interval_terms,
    pruned_table,
    sources_table,
    target_terms,
)
from kdsearch.spec.luck import luck_text
from kdsearch.trial import audit_text

_NUMBER_WITH_UNIT = re.compile(r"(?<=\d) (?=(?:s|min|h|points|trials)\b)")


def terminal_width() -> int | None:
    """Return how wide the terminal is. None where the output is no terminal and may be of any width."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def print_table(table: Table) -> None:
    """Print a table, no wider than the terminal."""
    click.echo(f"{text_of(table, terminal_width())}\n")


def say(text: str = "") -> None:
    """Print a sentence; on a terminal, broken between its words."""
    width = terminal_width()
    lines = [text] if width is None else [line for own in text.split("\n") for line in _broken(own, width)]
    for line in lines:
        click.echo(line)


def _broken(text: str, width: int) -> list[str]:
    """Return text as lines that keep words and numbers with units whole."""
    held = _NUMBER_WITH_UNIT.sub("\N{NO-BREAK SPACE}", text)
    lines = textwrap.wrap(
        held, max(width, 1), subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines] or [""]


def print_answer(answer: BestAnswer) -> None:
    """Print the answer of `best`."""
    print_table(answer.table())
    _print_promises(answer)
    say(luck_text(answer.luck))
    if pruned := pruned_table(answer):
        say()
        print_table(pruned)
    _print_audit(answer)
    if answer.prior_from:
        say(f"prior from: {', '.join(answer.prior_from)}")
    print_notes(answer.table())
    for widening in answer.widened:
        say(f"widened after {widening.trials} trials: {widening}")
    if answer.state:
        say()
        say(f"The study is {answer.state}{f': {answer.state_reason}' if answer.state_reason else ''}.")


def print_notes(table: Table) -> None:
    """Print what to know of the rows of a table."""
    for name, note in table.notes:
        say(f"{name}: {note}")


def _print_promises(answer: BestAnswer) -> None:
    """Print what the intervals promise, and until when trials are to go."""
    if terms := interval_terms(answer):
        say(terms)
    if terms := target_terms(answer):
        hours = [own.forecast.hours or 0.0 for own in answer.setups if own.forecast and not own.stopped]
        taken = f"; in all {_with_slots(sum(hours), answer.slots)}" if sum(hours) else ""
        say(f"{terms}{taken}")


def _with_slots(hours: float, slots: float) -> str:
    time = duration_text(hours)
    about = time if time.startswith("under") else f"about {time}"
    return f"{about} with {number_text(slots, 2)} packs at once"


def _print_audit(answer: BestAnswer) -> None:
    """Print how often the pruner was wrong about audited trials."""
    bands = [band for found in answer.setups for band in found.outcomes]
    if text := audit_text(sum(band.audited for band in bands), sum(band.came_back for band in bands)):
        say(text)


def print_comparison(found: Comparison) -> None:
    """Print what `compare` found."""
    if found.pairs:
        print_table(found.table())
    say(found.statement or found.reason or "")


def print_recommendation(found: Recommendation) -> None:
    """Print what `recommend` found, and what it draws from."""
    table = found.table()
    if found.reason is None:
        print_table(table)
    if found.trials:
        say(f"This setup was run: {found.trials} complete trials of {found.like} are its own.")
    if found.sources:
        print_table(sources_table(found.sources))
    print_notes(table)


def print_forecast(found: Forecast) -> None:
    """Print what `forecast` found."""
    table = found.table()
    print_table(table)
    needed = [own.hours for own in found.setups if own.hours and not own.stopped]
    if needed:
        say(f"in all {_with_slots(sum(needed), found.slots)}, as many as ran so far")
    units = {"trials": "trials", "hours": "hours", "gpu_hours": "GPU-hours", "cpu_hours": "CPU-hours"}
    spent = [
        f"{number_text(budget.spent)} of {number_text(budget.limit)} {units[name]}"
        for name, budget in found.budgets.items()
    ]
    if spent:
        say(f"spent: {', '.join(spent)}")
    print_notes(table)


def print_importance(found: Importance) -> None:
    """Print what `importance` found: shares of variation, within setups and between them."""
    if found.reason:
        say(found.reason)
    else:
        print_table(found.table())


def print_plan(plan: Mapping[str, Any]) -> None:
    """Print what a launch would do."""
    factors = list(plan["setups"][0])
    if factors:
        headings = [Heading(factor_label(path), path, "word", ALWAYS) for path in factors]
        rows = [[level_text(path, setup[path]) for path in factors] for setup in plan["setups"]]
        print_table(Table(headings, rows, title=f"{plan['study']}: {len(plan['setups'])} setups"))
    say(f"tuned in each: {', '.join(plan['tuned'])}")
    say(
        f"{plan['trials']} trials ({number_text(plan['trials_per_setup'])} a setup) in {plan['packs']} packs "
        f"of up to {plan['pack']}, {plan['student_epochs']} student epochs in all"
    )
    units = {"hours": "hours", "gpu_hours": "GPU-hours", "cpu_hours": "CPU-hours"}
    if budgets := [f"{plan[name]:g} {unit}" for name, unit in units.items() if plan[name]]:
        say(f"no new pack once the study has taken {' or '.join(budgets)}, earlier runs included")
    splits = f", on {plan['splits']} splits" if plan["splits"] > 1 else ""
    if trained := sum(map(_is_trained, plan["teachers"])):
        say(f"{_teachers(trained)} trained first, each once{splits}")
    if kept := len(plan["teachers"]) - trained:
        say(f"{_teachers(kept)} used as {'its' if kept == 1 else 'their'} weights are{splits}")
    say(luck_text(plan["luck"]))
    anew = ", and as much for each draw of views" if "views" in plan["luck"] else ""
    for kind in plan["packs_take"]:
        say(
            f"{kind['student']}: {kind['n_parameters']:,} parameters, "
            f"{_bytes(kind['member_bytes'])} a member, "
            f"{_bytes(kind['soft_target_bytes'])} of soft targets a teacher{anew}; {_ways(kind)}"
        )
        if kind["epoch_s"] is not None:
            seconds, where = kind["epoch_s"], "GPU" if kind["device"] == "cuda" else "CPU"
            say(
                f"{kind['student']}: about {number_text(seconds, 2)} s for an epoch of a pack of "
                f"{plan['pack']}, by a few steps on this machine's {where}"
            )
    for n, error in sorted({(kind["n_validation"], kind["validation_error"]) for kind in plan["packs_take"]}):
        say(
            f"{n:,} validation examples: they leave an accuracy of 90% uncertain by {100 * error:.1f} "
            "points, alike in all trials"
        )
    if found := plan["estimate"]:
        say(
            f"about {duration_text(found['hours'])} with {found['slots']} packs at once on this machine's "
            f"CPUs, {duration_text(found['teacher_hours'])} of it for teachers, by a few steps; "
            f"{_bytes(found['data_bytes'])} of data in each pack's process"
        )
    for note in plan.get("notes", ()):
        say(f"note: {note}")
    for unknown in plan["unknown"]:
        say(f"not known before: {unknown}")


def _teachers(count: int) -> str:
    return "1 teacher is" if count == 1 else f"{count} teachers are"


def _is_trained(teacher: Mapping[str, Any]) -> bool:
    """Return whether a teacher is trained by the study, on whatever data."""
    source, finetune = teacher["pretraining"], teacher["finetune"]
    is_pretrained = isinstance(source, Mapping) and source.get("epochs")
    return bool(finetune["epochs"] or finetune["head_epochs"] or is_pretrained)


def _ways(kind: Mapping[str, Any]) -> str:
    """Return in which ways packs of a kind may be trained."""
    why = kind["why_looped"]
    if kind["device"] == "cuda":
        return f"on streams: {why}" if why else "on streams or fused, as measured"
    return f"looped: {why}" if why else "fused or looped, as measured"


def print_counts(document: Mapping[str, Any], *, most: int) -> None:
    """Print how many samples of each class each split has. Of many classes the first."""
    splits = list(document["samples"])
    headings = [Heading("class", kind="word", worth=ALWAYS), *map(Heading, splits)]
    rows = [[row["class"], *(f"{row[split]:,}" for split in splits)] for row in document["classes"][:most]]
    if (more := len(document["classes"]) - most) > 0:
        rows.append([f"… {more} more classes", *("" for _ in splits)])
    rows.append(["all", *(f"{document['samples'][split]:,}" for split in splits)])
    print_table(Table(headings, rows))


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{number_text(count)} {unit}"
        count /= 1000
    return f"{number_text(count)} GB"
