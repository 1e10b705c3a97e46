"""The commands that a person may want after an answer."""

import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import click

from kdsearch.analysis import BestAnswer
from kdsearch.analysis.labels import setup_names
from kdsearch.cli.tables import terminal_width
from kdsearch.spec import StudySpec
from kdsearch.spec.study import NO_TRAINER
from kdsearch.storage import StudySummary

Hint: TypeAlias = tuple[str, str]
"""A command without the program's name, and what it is for."""


def print_next(hints: Sequence[Hint]) -> None:
    """Print commands with what they are for. Without any, nothing."""
    if not hints:
        return
    program, longest = _program(), max(len(command) for command, _ in hints)
    lines = [f"  {program} {command:<{longest}}   {purpose}" for command, purpose in hints]
    width = terminal_width()
    if width is not None and max(map(len, lines)) > width:
        lines = [line for hint in hints for line in _narrow(program, *hint, width)]
    click.echo("\n".join(["\nNext:", *lines]))


def _narrow(program: str, command: str, purpose: str, width: int) -> list[str]:
    """Return a hint in lines of its own. A command that is too long is broken so that a shell takes it."""
    line = f"    {program} {command}"
    return [f"  {purpose}:", line if len(line) <= width else line.replace(" --", " \\\n      --")]


def to_resume(study: StudySummary, storage: str, launched: str | None = None) -> list[Hint]:
    """Return the command that resumes a study. None where it is finished, or runs.

    Args:
        study: The study.
        storage: The option that names its database.
        launched: How it was launched; None where its file is not known, as a database has none.
    """
    if not study.is_unfinished:
        return []
    done = study.progress
    command = launched or f"launch FILE --trials {done.target}"
    what = "the study" if launched else "the study, FILE is its study file"
    return [(f"{command}{storage}", f"resume {what}: {done.finished} of {done.target} trials are finished")]


def to_reproduce(answer: BestAnswer, spec: StudySpec, storage: str) -> list[Hint]:
    """Return the command that trains one trial near an answer again: of several setups, the first's."""
    names = setup_names([found.setup for found in answer.setups])
    for name, found in zip(names, answer.setups, strict=True):
        if found.nearest_trial is not None and spec.trainer != NO_TRAINER:
            command = f"reproduce {answer.study} {found.nearest_trial}{storage}"
            which = f"the answer of {name}" if len(names) > 1 else "the answer"
            return [(command, f"train the trial nearest to {which} again")]
    return []


def _program() -> str:
    """Return the command that calls this program from here.

    It works whether the environment is active or not.
    """
    called = Path(sys.argv[0])
    if shutil.which("kdsearch") or called.name != "kdsearch":
        return "kdsearch"
    with suppress(FileNotFoundError):  # the working directory may be gone by now
        called = called.absolute()
        return str(called.relative_to(Path.cwd()) if called.is_relative_to(Path.cwd()) else called)
    return str(called)
