"""Runs many studies and keeps each in a file.

A study is a line there once it is judged, so that an interrupted benchmark resumes.
"""

import os
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Protocol, TypeVar

import click

from kdsearch.bench.search.baselines import silence_optuna

AnyCase = TypeVar("AnyCase", bound=Hashable)


class Result(Protocol):
    """What a study gave."""

    @property
    def case(self) -> Hashable:
        """The study."""

    def to_line(self) -> str:
        """Return the result as one line of JSON."""


AnyResult = TypeVar("AnyResult", bound=Result)


def results_of(
    cases: Sequence[AnyCase],
    run_case: Callable[[AnyCase], AnyResult],
    from_line: Callable[[str], AnyResult],
    *,
    jobs: int,
    out: Path | None,
) -> list[AnyResult]:
    """Return the file's results and those of the cases it lacks.

    The missing ones are run and added to the file.

    Args:
        cases: The studies.
        run_case: Runs one; found by its name in a process of its own.
        from_line: Reads what `to_line` wrote, or raises ValueError.
        jobs: Studies at a time, a process each.
        out: The file; without one nothing is kept.

    Raises:
        click.UsageError: The file is not of this benchmark.
    """
    results = [] if out is None or not out.exists() else _read(out, from_line)
    known = {result.case for result in results}
    missing = [case for case in cases if case not in known]
    with click.progressbar(_run(missing, run_case, jobs), length=len(missing), label="studies") as found:
        for result in found:
            results.append(result)
            if out is not None:
                with out.open("a", encoding="utf-8") as file:
                    file.write(result.to_line() + "\n")
    return results


def _read(path: Path, from_line: Callable[[str], AnyResult]) -> list[AnyResult]:
    """Return what whole lines say. A last one that is not whole is cut off, and its study runs again."""
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, encoding="utf-8")
    try:
        return [from_line(line) for line in whole.splitlines()]
    except ValueError as error:
        raise click.UsageError(f"`--out` must be a file of this benchmark, got {path}: {error}.") from error


def _run(
    cases: Sequence[AnyCase], run_case: Callable[[AnyCase], AnyResult], jobs: int
) -> Iterator[AnyResult]:
    if jobs == 1:
        silence_optuna()
        yield from map(run_case, cases)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_prepare) as pool:
        for future in as_completed([pool.submit(run_case, case) for case in cases]):
            yield future.result()


def _prepare() -> None:
    """Let a worker use one core. Optuna's Gaussian process brings torch along later."""
    os.environ["OMP_NUM_THREADS"] = "1"
    silence_optuna()
