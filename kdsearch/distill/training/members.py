"""The members of a pack, and which of them can be trained side by side."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from kdsearch.errors import RequestError, SpecError
from kdsearch.spec import TrainingSpec
from kdsearch.spec.problems import problems_in_validation

_PER_MEMBER = (
    *("objective.temperature", "objective.temperature_ratio", "objective.alpha", "training.clip_norm"),
    *(f"optimizer.{name}" for name in ("lr", "momentum", "weight_decay", "beta1", "beta2")),
)


@dataclass(frozen=True)
class Member:
    """One student of a pack: a trial's number, its seed and its parameters by dotted path."""

    number: int
    seed: int
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ResolvedMember:
    """A member with the whole of what decides its training."""

    number: int
    seed: int
    spec: TrainingSpec


def members_of(members: Sequence[Member | Mapping[str, Any]]) -> list[Member]:
    """Return members of their plain form: a mapping of dotted paths, with `seed` and maybe `number`.

    Raises:
        RequestError: There is no member, or two share a number.
    """
    found = [m if isinstance(m, Member) else _from_mapping(m, place) for place, m in enumerate(members)]
    numbers = [member.number for member in found]
    if not found:
        raise RequestError("`members` must not be empty, got []. Give at least one member.")
    if len(set(numbers)) < len(numbers):
        raise RequestError(f"`members` must have distinct numbers, got {numbers}. Number them apart.")
    return found


def groups_of(spec: TrainingSpec, members: Sequence[Member]) -> list[list[ResolvedMember]]:
    """Return the members, resolved, in groups that differ in nothing that shapes the computation."""
    groups: dict[str, list[ResolvedMember]] = {}
    for member in members:
        resolved = ResolvedMember(member.number, member.seed, _resolve(spec, member.params))
        groups.setdefault(pack_key(resolved.spec), []).append(resolved)
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


def _from_mapping(values: Mapping[str, Any], place: int) -> Member:
    params = {path: value for path, value in values.items() if path not in ("number", "seed")}
    return Member(int(values.get("number", place)), int(values.get("seed", 0)), params)


def _resolve(spec: TrainingSpec, params: Mapping[str, Any]) -> TrainingSpec:
    try:
        return spec.with_values(params)
    except ValidationError as error:
        problems = [problem.text(line=None) for problem in problems_in_validation(error)]
        raise SpecError(problems, "a member of the pack") from error
