"""One simulated study, scored, and a line of a file of it."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeAlias

from kdsearch.bench.search.baselines import BASELINES, proposer_of
from kdsearch.bench.search.scores import SetupScore, best_trial_scores, model_scores
from kdsearch.bench.search.simulation import Scenario, SimulatedStudy, simulated_study
from kdsearch.errors import RequestError
from kdsearch.search.balance import is_evidence
from kdsearch.spec import spec_document
from kdsearch.storage import TrialRow, load_trials, open_database

Answering: TypeAlias = Literal["model", "best trial"]
Through: TypeAlias = Literal["sampler", "launch"]


@dataclass(frozen=True)
class Case:
    """One simulated study to search and to answer.

    Attributes:
        scenario: What the truth is like.
        sampler: One of `baselines.SAMPLERS`.
        seed: Fixes truth, noise and search.
        checkpoints: The numbers of trials after which it is answered, in rising order.
        levels: Levels of the three factors; their product is the number of setups.
        lr_off: How many decades the best learning rate lies above the default.
        pack: Trials in a pack.
        through: Asks the sampler itself, or runs `kdsearch launch` with a trainer that computes.
    """

    scenario: Scenario
    sampler: str
    seed: int
    checkpoints: tuple[int, ...]
    levels: tuple[int, ...] = (2, 3, 2)
    lr_off: float = 0.0
    pack: int = 4
    through: Through = "sampler"

    @property
    def n_setups(self) -> int:
        """How many answers the study owes."""
        first, second, third = self.levels
        return first * second * third


@dataclass(frozen=True)
class Answered:
    """The scores of one study's answers after so many trials. None for a setup without one."""

    by: Answering
    trials: int
    scores: tuple[SetupScore | None, ...]


@dataclass(frozen=True)
class Result:
    """A study that was searched, with its answers at each checkpoint."""

    case: Case
    answers: tuple[Answered, ...]

    def to_line(self) -> str:
        """Return the result as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_line(cls, line: str) -> "Result":
        """Return the result that `to_line` wrote.

        Raises:
            ValueError: The line is not whole, or of another kind.
        """
        try:
            document: dict[str, Any] = json.loads(line)
            case: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value
                for name, value in document["case"].items()
            }
            answers = [
                Answered(one["by"], one["trials"], tuple(s and SetupScore(**s) for s in one["scores"]))
                for one in document["answers"]
            ]
            return cls(Case(**case), tuple(answers))
        except (KeyError, TypeError) as error:
            raise ValueError(f"no result of this benchmark: {line[:80]}") from error


def run_case(case: Case) -> Result:
    """Search one study and score its answers at each checkpoint."""
    study = simulated_study(
        case.scenario,
        case.seed,
        levels=case.levels,
        lr_off=case.lr_off,
        pack=case.pack,
        n_trials=case.checkpoints[-1],
        sampler=case.sampler if case.through == "launch" else "profile",
    )
    return Result(case, tuple(_answers(study, case)))


def _answers(study: SimulatedStudy, case: Case) -> Iterator[Answered]:
    for n_trials, rows in _searched(study, case):
        study.rows = rows
        yield Answered("model", n_trials, tuple(model_scores(study)))
        yield Answered("best trial", n_trials, tuple(best_trial_scores(study)))


def _searched(study: SimulatedStudy, case: Case) -> Iterator[tuple[int, list[TrialRow]]]:
    """Yield the trials that were there at each checkpoint."""
    if case.through == "launch":
        rows = launched(study)
        yield from ((n_trials, first_evidence(rows, n_trials)) for n_trials in case.checkpoints)
        return
    proposer = proposer_of(case.sampler, study.spec)
    for n_trials in case.checkpoints:
        study.search(proposer, n_trials)
        yield n_trials, study.rows


def launched(study: SimulatedStudy) -> list[TrialRow]:
    """Run a study by `kdsearch launch` and return its trials.

    Ray and a database are included; trials are by number.

    Raises:
        RequestError: The launch failed.
    """
    if study.spec.search.sampler in BASELINES:
        raise RequestError(
            f"`--through launch` must have a sampler that ships, got {study.spec.search.sampler!r}."
        )
    with TemporaryDirectory(prefix="kdsearch-bench-") as folder:
        document = {**spec_document(study.spec), "artifacts": f"{folder}/artifacts"}
        Path(folder, "study.yaml").write_text(json.dumps(document))
        storage = f"sqlite:///{folder}/study.db"
        command = [sys.executable, "-m", "kdsearch", "launch", "study.yaml", "--storage", storage]
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603 - ours
        if run.returncode:
            raise RequestError(f"`kdsearch launch` failed: {run.stderr[-2000:]}")
        with open_database(storage) as database:
            return load_trials(database, study.spec.name)


def first_evidence(rows: Sequence[TrialRow], n_trials: int) -> list[TrialRow]:
    """Return a study's first trials until `n_trials` of them count.

    Trials of lost workers do not.
    """
    counts = 0
    for index, row in enumerate(rows):
        counts += is_evidence(row)
        if counts == n_trials:
            return list(rows[: index + 1])
    return list(rows)
