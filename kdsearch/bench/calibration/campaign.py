"""One searched study, judged, and a line of a file of it."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from kdsearch.analysis import best
from kdsearch.bench.calibration.rivals import search_of
from kdsearch.bench.calibration.scores import TOLERANCE, Score, score
from kdsearch.bench.calibration.shapes import NOISES, ShapeWorld
from kdsearch.bench.calibration.table_world import TableWorld
from kdsearch.bench.calibration.trained_world import TrainedWorld
from kdsearch.bench.calibration.worlds import World

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
        """Return the study without trials. Studies of shapes take the kinds of noise in turn."""
        if self.part == "shapes":
            return ShapeWorld(self.kind, NOISES[self.seed % len(NOISES)], self.seed, self.checkpoints[-1])
        if self.part == "trained quickstart":
            return TrainedWorld(self.kind, self.seed, self.checkpoints[-1])
        return TableWorld(self.kind, self.seed, self.checkpoints[-1])


@dataclass(frozen=True)
class Result:
    """The scores of a study's answers by the number of trials.

    Each number of trials has one score for each setup.
    """

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
    """Return the scores of a study's answers at this moment."""
    default = world.spec.objective.temperature
    found = best(world.spec, world.rows, tolerance=TOLERANCE / 100)
    return tuple(score(answer, world.truth(answer.setup), default) for answer in found.setups)
