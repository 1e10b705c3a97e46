"""Runs as a study that is kept: a spec, and trials."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from kdsearch.errors import RequestError
from kdsearch.runs.columns import EPOCHS, plain_name
from kdsearch.runs.runs import Runs, levels_of
from kdsearch.runs.space import Dimensions, tune_section
from kdsearch.spec import (
    TEMPERATURE,
    Choices,
    Setup,
    StudySpec,
    TrainingSpec,
    level_label,
    load_spec,
    setup_key,
    spec_document,
)
from kdsearch.spec.roles import LEARNING_RATES
from kdsearch.spec.study import NO_TRAINER, TRAINING_LEAVES
from kdsearch.spec.values import ASKED
from kdsearch.storage.rows.distributions import within_range
from kdsearch.storage.rows.read import TrialRow

_PATHS = {
    **dict.fromkeys(LEARNING_RATES, "optimizer.lr"),
    **dict.fromkeys(("optimizer", "optim", "opt"), "optimizer.name"),
    **dict.fromkeys(("weight_decay", "wd"), "optimizer.weight_decay"),
    **dict.fromkeys(EPOCHS, "training.epochs"),
    **dict.fromkeys(("batch_size", "bs"), "training.batch_size"),
    **dict.fromkeys(("alpha", "kd_alpha"), "objective.alpha"),
    **{"momentum": "optimizer.momentum", "label_smoothing": "teacher.finetune.label_smoothing"},
}
"""Where a study file has what columns of these plain names mean, if their values fit there."""


@dataclass(frozen=True)
class ImportedStudy:
    """A study of runs.

    Attributes:
        spec: Its spec.
        trials: Its trials under the spec's paths.
        paths: The path of each column.
        has_seeds: Whether a column tells replicates apart, in this file and in others.
    """

    spec: StudySpec
    trials: list[TrialRow]
    paths: Mapping[str, str]
    has_seeds: bool

    @property
    def document(self) -> dict[str, Any]:
        """What of the spec is not a default: a minimal study file."""
        stored = spec_document(self.spec)
        return {key: stored[key] for key in ("name", "trainer", "setup", "tune")} | {
            "search": {"trials": self.spec.search.trials},
            "tune": {path: _written(own) for path, own in stored["tune"].items()},
        }


def _written(dimension: Mapping[str, Any]) -> dict[str, Any]:
    """Return a range as people write it: the levels beside `by`, nothing that is a default."""
    if "by" in dimension:
        return {"by": dimension["by"], **{level: _written(own) for level, own in dimension["ranges"].items()}}
    return {key: value for key, value in dimension.items() if value is not False}


def study_of(runs: Runs, *, name: str | None = None, trainer: str | None = None) -> ImportedStudy:
    """Return runs as a study that can be kept.

    Args:
        runs: The runs.
        name: The study's name; by default the file's.
        trainer: `package.module:function`, which trains more of them.

    Raises:
        SpecError: No study file can have such a name, trainer, level or range.
    """
    paths = _paths_of(runs)
    trials = [_under(paths, trial) for trial in runs.trials]
    setups = [{paths[name]: level for name, level in setup.items()} for setup in runs.setups]
    dimensions: dict[str, Dimensions] = {
        setup_key(new): {paths.get(p, p): own for p, own in runs.dimensions[setup_key(old)].items()}
        for new, old in zip(setups, runs.setups, strict=True)
    }
    factors = [paths[name] for name in runs.factors]
    spec = load_spec(
        {
            **{"name": name or runs.name, "trainer": trainer or NO_TRAINER},
            **{"setup": levels_of(factors, setups), "tune": tune_section(factors, setups, dimensions)},
            "search": {"trials": len(trials)},
        }
    )
    return ImportedStudy(spec, [_whole(spec, trial) for trial in trials], paths, bool(runs.read["seed"]))


def joined_study(found: ImportedStudy, stored: StudySpec, known: Sequence[TrialRow]) -> ImportedStudy:
    """Return an imported study as part of a stored one.

    Of its trials it has those that are new. Factors may get levels; ranges stay as they are, but for those of
    new levels.

    Args:
        found: The imported study.
        stored: The spec of the one that is there.
        known: Its trials.

    Raises:
        RequestError: The two do not agree; the message has the path.
    """
    spec = found.spec
    for section in ("setup", "tune"):
        own, other = getattr(spec, section), getattr(stored, section)
        if own.keys() != other.keys():
            raise RequestError(
                f"`{section}` must be that of the study {stored.name!r} to be joined with it, got "
                f"{', '.join(own) or 'none'} for {', '.join(other) or 'none'}. Choose another --name."
            )
    document = spec_document(stored)
    document["setup"] = {path: _grown(levels, spec.setup[path]) for path, levels in stored.setup.items()}
    for path, dimension in document["tune"].items():
        new = spec_document(spec)["tune"][path]
        if "by" in dimension and new.get("by") == dimension["by"]:
            dimension["ranges"] = {**new["ranges"], **dimension["ranges"]}
    if spec.trainer != NO_TRAINER:
        document["trainer"] = spec_document(spec)["trainer"]
    trials = _new(found, known)
    document["search"]["trials"] = max(stored.search.trials, len(known) + len(trials))
    together = load_spec(document)
    return replace(found, spec=together, trials=[_inside(together, trial) for trial in trials])


def _grown(levels: Sequence[Any], others: Sequence[Any]) -> list[Any]:
    known = set(map(level_label, levels))
    return [*levels, *(level for level in others if level_label(level) not in known)]


def _new(found: ImportedStudy, known: Sequence[TrialRow]) -> list[TrialRow]:
    """Return an imported study's trials that are not among the known ones.

    Without seeds it is known by its accuracy, as often as that is there: lines come in any order.
    """
    if found.has_seeds:
        points = {(_point(trial), trial.seed) for trial in known}
        return [trial for trial in found.trials if (_point(trial), trial.seed) not in points]
    left = Counter(map(_point, known))
    new = []
    for trial in found.trials:
        point = _point(trial)
        if left[point]:
            left[point] -= 1
        else:
            new.append(trial)
    return new


def _point(trial: TrialRow) -> tuple[str, str, float | None]:
    return setup_key(trial.setup), setup_key(trial.params), trial.val_accuracy


def _inside(spec: StudySpec, trial: TrialRow) -> TrialRow:
    try:
        for path, dimension in spec.dimensions(trial.setup).items():
            value = trial.params.get(path)
            if isinstance(dimension, Choices) and value not in dimension.choices:
                raise ValueError(f"`{path}` must be one of {list(dimension.choices)}, got {value}.")
        return replace(trial, params=within_range(spec, trial.setup, trial.params))
    except ValueError as error:
        raise RequestError(
            f"The runs must lie in the ranges of the study {spec.name!r} to be joined with it: {error} "
            "Choose another --name, or import all files as one."
        ) from error


def _paths_of(runs: Runs) -> dict[str, str]:
    """Return the dotted path of each factor and parameter, no path twice."""
    values: dict[str, list[Any]] = {name: [] for name in runs.factors}
    for trial in runs.trials:
        for name, value in (*trial.setup.items(), *trial.params.items()):
            values.setdefault(name, []).append(value)
    for own in values.values():
        if len(own) < len(runs.trials):
            own.append(None)  # in other setups it stands for the parameter
    paths: dict[str, str] = {TEMPERATURE: TEMPERATURE}
    for name, own in values.items():
        if name != TEMPERATURE:
            plain = re.sub(r"[^a-z0-9]+", "_", plain_name(name)).strip("_") or "column"
            wanted = (name if name in TRAINING_LEAVES else "", _PATHS.get(plain, ""), f"options.{plain}")
            numbered = (f"options.{plain}_{n}" for n in range(2, len(values) + 2))
            taken = set(paths.values())
            paths[name] = next(p for p in (*wanted, *numbered) if p and p not in taken and _fits(p, own))
    return paths


def _fits(path: str, values: Sequence[Any]) -> bool:
    """Return whether a study file may have all values at a path."""
    try:
        for value in {level_label(value): value for value in values}.values():
            TrainingSpec().with_values({path: value}, context=ASKED)
    except ValidationError:
        return False
    return True


def _under(paths: Mapping[str, str], trial: TrialRow) -> TrialRow:
    setup: Setup = {paths[name]: level for name, level in trial.setup.items()}
    return replace(trial, setup=setup, params={paths.get(p, p): v for p, v in trial.params.items()})


def _whole(spec: StudySpec, trial: TrialRow) -> TrialRow:
    """Return a trial with a value for every tuned parameter.

    It is None where its setup has none.
    """
    absent = {path: None for path in spec.dimensions(trial.setup) if path not in trial.params}
    return replace(trial, params={**trial.params, **absent})
