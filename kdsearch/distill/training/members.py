"""A pack's members, and which of them can train side by side."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from kdsearch.errors import RequestError, SpecError
from kdsearch.spec import TrainingSpec
from kdsearch.spec.problems import problems_in_validation
from kdsearch.trial import Trial

_PER_MEMBER = (
    *("objective.temperature", "objective.temperature_ratio", "objective.alpha", "training.clip_norm"),
    *(f"optimizer.{name}" for name in ("lr", "momentum", "weight_decay", "beta1", "beta2")),
)


def trials_of(spec: TrainingSpec, members: Sequence[Mapping[str, Any]]) -> list[Trial]:
    """Return the trials that a caller asks for: mappings of dotted paths, with `seed` and maybe `number`.

    Raises:
        SpecError: A value does not fit its path.
    """
    return [_trial_of(spec, values, place) for place, values in enumerate(members)]


def groups_of(trials: Sequence[Trial]) -> list[list[Trial]]:
    """Return the trials in groups that can be computed together.

    Trials of a group differ in nothing that shapes the computation.

    Raises:
        RequestError: There is no trial, or two share a number.
    """
    numbers = [trial.number for trial in trials]
    if not trials:
        raise RequestError("`members` must not be empty, got []. Give at least one member.")
    if len(set(numbers)) < len(numbers):
        raise RequestError(f"`members` must have distinct numbers, got {numbers}. Number them apart.")
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(pack_key(trial.spec), []).append(trial)
    return list(groups.values())


def pack_key(spec: TrainingSpec) -> str:
    """Return what all members of a pack share, as canonical JSON.

    Temperature, its ratio, alpha, the objective's numeric options, the optimizer's numbers and the clip norm
    may differ within a pack; everything else shapes the computation.
    """
    document = spec.model_dump(mode="json")
    for path in _PER_MEMBER:
        section, _, name = path.partition(".")
        document[section][name] = document[section][name] is None
    options = document["objective"]["options"]
    document["objective"]["options"] = {k: v if isinstance(v, str) else None for k, v in options.items()}
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


def _trial_of(spec: TrainingSpec, values: Mapping[str, Any], place: int) -> Trial:
    params = {path: value for path, value in values.items() if path not in ("number", "seed")}
    number, seed = int(values.get("number", place)), int(values.get("seed", 0))
    return Trial(number, seed, setup={}, params=params, spec=_resolve(spec, params))


def _resolve(spec: TrainingSpec, params: Mapping[str, Any]) -> TrainingSpec:
    try:
        return spec.with_values(params)
    except ValidationError as error:
        problems = [problem.text(line=None) for problem in problems_in_validation(error)]
        raise SpecError(problems, "a member of the pack") from error
