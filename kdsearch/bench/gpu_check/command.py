"""One command that checks a GPU's results and its speed.

Each part prints as it goes, and what fails in it is one line among the others.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import torch

from kdsearch.bench.engine.command import HEADER as ENGINE_HEADER
from kdsearch.bench.engine.command import circumstances, device_of, failure_line, row_line
from kdsearch.bench.engine.turns import one_line
from kdsearch.bench.gpu_check.equality import Comparison, EqualityCheck
from kdsearch.bench.gpu_check.study import TARGET_S, StudyTimes, study_times
from kdsearch.bench.gpu_check.table import Goal, measured_cases
from kdsearch.bench.gpu_check.trainings import CASES
from kdsearch.cli.options import format_option

_PARTS = ("equality", "table", "study")
Say = Callable[[str], None]


@dataclass
class Found:
    """What was found on a device, part by part."""

    device: torch.device
    small: bool
    say: Say
    out: Path | None = None
    document: dict[str, Any] = field(default_factory=dict)
    is_equal: bool = True

    def save(self) -> None:
        """Write what is known so far: whoever ends the command early has that."""
        if self.out is not None:
            self.out.write_text(json.dumps(self.document, indent=1))


@click.command("gpu_check")
@click.option(
    "--part", "parts", multiple=True, type=click.Choice(_PARTS), default=_PARTS, help="By default all three."
)
@click.option("--device", default="cuda", show_default=True, help="cuda, cuda:N, or cpu with --small.")
@click.option("--small", is_flag=True, help="Tiny networks and few images, to try the command itself.")
@format_option
@click.option("--out", type=click.Path(path_type=Path), help="Write the JSON document to a file as well.")
def gpu_check_command(parts: Sequence[str], device: str, small: bool, output: str, out: Path | None) -> None:
    """Check a GPU's packs, its speed and a whole study.

    Packs are held against students alone, the speed against targets. The exit code is 1 where a pack and its
    students alone differ.
    """
    where = device_of(device)
    if where.type != "cuda" and not small:
        raise click.ClickException(
            f"`--device` must be a GPU, got {device!r}. Add --small to try it on a CPU."
        )
    found = Found(where, small, click.echo if output == "table" else lambda _: None, out)
    found.document = {**circumstances(torch.get_num_threads(), str(where)), "small": small}
    found.say(f"{found.document['device']}, torch {torch.__version__}, {found.document['cores']} cores")
    for part in _PARTS:
        if part in parts:
            found.say(f"\n{part}")
            _RUN[part](found)
            found.save()
    if output == "json":
        click.echo(json.dumps(found.document, indent=1))
    if not found.is_equal:
        raise SystemExit(1)


def _check_equality(found: Found) -> None:
    comparisons: list[Comparison] = []
    with TemporaryDirectory(prefix="kdsearch-check-") as folder:
        check = EqualityCheck(found.device, small=found.small, artifacts=Path(folder))
        for case in CASES:
            for comparison in check.compare(case):
                comparisons.append(comparison)
                found.say(comparison_line(comparison))
                for line in comparison.told:
                    found.say(f"    {line}")
            found.document["equality"] = [comparison_document(own) for own in comparisons]
            found.save()
    n_equal = sum(comparison.holds for comparison in comparisons)
    found.is_equal = n_equal == len(comparisons)
    found.say(f"{n_equal} of {len(comparisons)} comparisons hold")


def comparison_document(found: Comparison) -> dict[str, Any]:
    """Return a comparison as plain values; JSON has no infinite number."""
    is_number = found.difference is not None and math.isfinite(found.difference)
    return {**asdict(found), "difference": found.difference if is_number else None, "holds": found.holds}


def comparison_line(found: Comparison) -> str:
    """Return a comparison in one line; the difference is relative."""
    difference = "failed" if found.difference is None else f"{found.difference:.1e}"
    verdict = "ok " if found.holds else "NOT"
    allowed = "the same bits" if not found.allowed else f"at most {found.allowed:g}"
    why = f": {found.reason}" if found.reason else ""
    return (
        f"{verdict} {found.case:42} {found.way:16} beside {found.beside:28} {difference:>8} "
        f"({allowed}), {found.seconds:.1f} s{why}"
    )


def _check_table(found: Found) -> None:
    found.say(ENGINE_HEADER)
    rows, failures, goals = [], [], list[Goal]()
    for result in measured_cases(found.device, small=found.small):
        for row in result.rows:
            found.say(row_line(row))
        for failure in result.failures:
            found.say(failure_line(result.case, failure))
        for goal in result.goals:
            found.say(f"    {goal_line(goal)}")
        rows += [asdict(row) for row in result.rows]
        failures += [{"case": result.case.name, **asdict(failure)} for failure in result.failures]
        goals += result.goals
        targets = [{**asdict(goal), "is_met": goal.is_met} for goal in goals]
        found.document["table"] = {"rows": rows, "failed": failures, "targets": targets}
        found.save()
    found.say(f"{sum(goal.is_met for goal in goals)} of {len(goals)} targets met")


def goal_line(goal: Goal) -> str:
    """Return a target, the figure beside it, and whether it is met."""
    found = "not measured" if goal.found is None else f"{goal.found:.2f}"
    bound = "at most" if goal.at_most else "at least"
    verdict = "met" if goal.is_met else "NOT met"
    return f"{goal.case} K={goal.size}: {found} {goal.what}, target {bound} {goal.target:g}: {verdict}"


def _check_study(found: Found) -> None:
    try:
        times = study_times(found.device.type, small=found.small)
    except Exception as error:  # one part that fails leaves the others
        found.say(f"failed: {one_line(error)}")
        found.document["study"] = {"failed": one_line(error), "target_s": TARGET_S}
        return
    for line in study_lines(times):
        found.say(line)
    found.document["study"] = {**asdict(times), "target_s": TARGET_S, "is_met": times.is_met}


def study_lines(times: StudyTimes) -> Iterator[str]:
    """Yield the study's time beside its target, and where it went."""
    verdict = "met" if times.is_met else "NOT met"
    yield f"{times.trials} trials in {times.wall_s:.1f} s, target at most {TARGET_S:g} s: {verdict}"
    parts = {
        "start": times.start_s,
        "teachers": times.teachers_s,
        "until the first pack": times.first_pack_s,
        "trials": times.trials_s,
        "end": times.end_s,
    }
    yield "    " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in parts.items())
    ways = ", ".join(f"{count} {way}" for way, count in times.ways.items())
    yield f"    {ways}; on {', '.join(times.devices)}"


_RUN: dict[str, Callable[[Found], None]] = {
    "equality": _check_equality,
    "table": _check_table,
    "study": _check_study,
}
