"""What the published results of studies say: all trials answered anew, and the verdicts that were given."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kdsearch.analysis import SetupAnswer, best
from kdsearch.errors import RequestError
from kdsearch.runs import Asked, read_table, runs_of
from kdsearch.spec import TEMPERATURE, StudySpec, level_label, load_spec
from kdsearch.spec.luck import luck_text
from kdsearch.storage import TrialRow

_TRIALS, _VERDICTS = "-trials.csv", "-verdicts.csv"


@dataclass(frozen=True)
class Ruled:
    """A claim of a study and the verdict on it.

    The effect and its interval are those of the verdict.
    """

    says: str
    quantity: str
    factor: str | None
    verdict: str
    effect: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Evidence:
    """One study's results.

    Attributes:
        spec: The study.
        answers: What is best in each setup that has trials.
        rulings: Its claims with their verdicts.
        luck: Where the answers hold, and which luck their doubt includes, in a sentence.
        trials: How many trials there are.
        unrun: How many of its setups have none.
        page: Its page of results, where there is one.
    """

    spec: StudySpec
    answers: list[SetupAnswer]
    rulings: list[Ruled]
    luck: str
    trials: int
    unrun: int
    page: str | None


def evidence_in(results: Path, studies: Path) -> list[Evidence]:
    """Return what the results in a folder say, by the studies' names.

    Args:
        results: The folder of `NAME-trials.csv`, `NAME-verdicts.csv` and `NAME.md`.
        studies: The folder of `NAME.yaml`.

    Raises:
        RequestError: There are no results, or some whose study is not there.
    """
    files = sorted(results.glob(f"*{_TRIALS}"))
    if not files:
        raise RequestError(f"`--results` must hold NAME{_TRIALS}, got none in {results}. Run a study first.")
    return [_evidence(file, studies / f"{file.name.removesuffix(_TRIALS)}.yaml") for file in files]


def _evidence(file: Path, study: Path) -> Evidence:
    spec = load_spec(study)
    tuned = tuple(path for path in spec.tune if path != TEMPERATURE)
    asked = Asked(setup=tuple(spec.setup), tuned=tuned, temperature=TEMPERATURE, metric="val_accuracy")
    trials = [_in_terms_of(spec, trial, file) for trial in runs_of(read_table(file), asked).trials]
    answer = best(spec, trials)
    answers = [
        found for found in answer.setups if any((found.trials, found.pruned, found.diverged, found.failed))
    ]
    page = file.with_name(f"{spec.name}.md")
    return Evidence(
        spec,
        answers,
        _rulings(file.with_name(f"{spec.name}{_VERDICTS}")),
        luck_text(answer.luck),
        len(trials),
        len(spec.setups()) - len(answers),
        page.name if page.exists() else None,
    )


def _in_terms_of(spec: StudySpec, trial: TrialRow, file: Path) -> TrialRow:
    """Return a trial with the levels of the study file.

    A table has only their texts.
    """
    setup = {}
    for path, levels in spec.setup.items():
        read = trial.setup[path]
        same = [level for level in levels if read == level or level_label(read) == level_label(level)]
        if not same:
            raise RequestError(
                f"`{path}` must be a level of the study {spec.name}, got {level_label(read)} in {file}. "
                f"Levels: {', '.join(map(level_label, levels))}."
            )
        setup[path] = same[0]
    return replace(trial, setup=setup)


def _rulings(file: Path) -> list[Ruled]:
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as lines:
        return [_ruled(row) for row in csv.DictReader(lines)]


def _ruled(row: dict[str, Any]) -> Ruled:
    ends: Sequence[str] = (row["interval_low"], row["interval_high"])
    return Ruled(
        row["says"],
        row["quantity"],
        row["factor"] or None,
        row["verdict"],
        float(row["effect"]) if row["effect"] else None,
        (float(ends[0]), float(ends[1])) if all(ends) else None,
    )
