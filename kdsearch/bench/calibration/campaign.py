"""Many searched studies, each a line of a file once it is judged, so that an interrupted run goes on."""

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal, TypeAlias

from kdsearch.analysis import best
from kdsearch.bench.calibration.rivals import search_of
from kdsearch.bench.calibration.scores import TOLERANCE, Score, score
from kdsearch.bench.calibration.shapes import NOISES, ShapeWorld
from kdsearch.bench.calibration.table_world import TableWorld
from kdsearch.bench.calibration.trained_world import TrainedWorld
from kdsearch.bench.calibration.worlds import World
from kdsearch.bench.search.baselines import silence_optuna
from kdsearch.errors import RequestError

Part: TypeAlias = Literal["shapes", "tables", "quickstart", "trained quickstart"]


@dataclass(frozen=True)
class Case:
    """One study to search and to answer.

    Attributes:
        part: What it is a study of.
        kind: The family of shapes, or the table's name or path.
        search: One of `rivals.SEARCHES`.
        seed: Fixes the truth where it is drawn, the noise and the search.
        checkpoints: The numbers of trials after which it is answered, in rising order.
    """

    part: Part
    kind: str
    search: str
    seed: int
    checkpoints: tuple[int, ...]

    def world(self) -> World:
        """Return the study without trials; studies of shapes take the kinds of noise in turn."""
        if self.part == "shapes":
            return ShapeWorld(self.kind, NOISES[self.seed % len(NOISES)], self.seed, self.checkpoints[-1])
        if self.part == "trained quickstart":
            return TrainedWorld(self.kind, self.seed, self.checkpoints[-1])
        return TableWorld(self.kind, self.seed, self.checkpoints[-1])


@dataclass(frozen=True)
class Result:
    """The scores of a study's answers, one for each setup, by the number of trials."""

    case: Case
    answers: dict[int, tuple[Score, ...]]

    def to_line(self) -> str:
        """Return the result as one line of JSON."""
        answers = {n: [asdict(one) for one in scores] for n, scores in self.answers.items()}
        return json.dumps({"case": asdict(self.case), "answers": answers})

    @classmethod
    def from_line(cls, line: str) -> "Result":
        """Return the result that `to_line` wrote.

        Raises:
            ValueError: The line is of another kind.
        """
        try:
            document: dict[str, Any] = json.loads(line)
            case = {**document["case"], "checkpoints": tuple(document["case"]["checkpoints"])}
            answers = {
                int(n): tuple(Score(**one) for one in scores) for n, scores in document["answers"].items()
            }
            return cls(Case(**case), answers)
        except (KeyError, TypeError) as error:
            raise ValueError(f"no result of this benchmark: {line[:80]}") from error


class Results:
    """Results in a file, or in memory alone where there is none."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.all: list[Result] = []
        if path is not None and path.exists():
            self._load(path)

    def missing(self, cases: Sequence[Case]) -> list[Case]:
        """Return the cases without a result."""
        known = {result.case for result in self.all}
        return [case for case in cases if case not in known]

    def add(self, result: Result) -> None:
        """Keep a result; once this returns it is in the file."""
        self.all.append(result)
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(result.to_line() + "\n")

    def _load(self, path: Path) -> None:
        """Take whole lines; a last one that is not whole is cut off, and its study runs again."""
        text = path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            path.write_text(whole, encoding="utf-8")
        try:
            self.all = [Result.from_line(line) for line in whole.splitlines()]
        except ValueError as error:
            raise RequestError(f"`--out` must be a file of this benchmark, got {path}: {error}.") from error


def run_cases(cases: Sequence[Case], jobs: int) -> Iterator[Result]:
    """Yield the results of cases as they come, of `jobs` processes at a time."""
    if jobs == 1:
        silence_optuna()
        yield from map(run_case, cases)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_prepare) as pool:
        for future in as_completed([pool.submit(run_case, case) for case in cases]):
            yield future.result()


def _prepare() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    silence_optuna()


def run_case(case: Case) -> Result:
    """Search one study and judge its answers at each checkpoint."""
    world = case.world()
    proposer = search_of(case.search, world)
    answers = {}
    for n_trials in case.checkpoints:
        world.search(proposer, n_trials)
        answers[n_trials] = judged(world)
    return Result(case, answers)


def judged(world: World) -> tuple[Score, ...]:
    """Return the scores of the answers to a study as it is now."""
    default = world.spec.objective.temperature
    found = best(world.spec, world.rows, tolerance=TOLERANCE / 100)
    return tuple(score(answer, world.truth(answer.setup), default) for answer in found.setups)
