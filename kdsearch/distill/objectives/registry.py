"""The objectives by name, and the public callable of one student."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor

from kdsearch.distill.objectives.decoupled import dkd, nkd
from kdsearch.distill.objectives.own import OwnTerm
from kdsearch.distill.objectives.relational import dist, mlkd
from kdsearch.distill.objectives.softened import Term, ctkd, kd, mse, standardized
from kdsearch.errors import RequestError
from kdsearch.spec.catalogue import STANDARDIZABLE

Option: TypeAlias = float | int | str | Tensor
DistillationTerm: TypeAlias = Callable[[Tensor, Tensor, Tensor, Any], Tensor]
"""`(student_logits [N, C], teacher_logits [N, C], targets [N], temperature) -> scalar`."""


@dataclass(frozen=True)
class PackTerm:
    """A term with its options' defaults, and those of them that are learned with the student.

    `varies` tells that it changes from epoch to epoch, or may; `standardizes` that its soft targets are
    those of standardised logits.
    """

    term: Term
    defaults: Mapping[str, float] = field(default_factory=dict)
    optional: tuple[str, ...] = ()
    learned: tuple[str, ...] = ()
    varies: bool = False
    standardizes: bool = False

    def option_names(self) -> tuple[str, ...]:
        """Return the names of the numeric options."""
        return (*self.defaults, *self.optional)


OBJECTIVES: dict[str, PackTerm] = {
    "kd": PackTerm(kd, optional=("student_temperature",)),
    "dkd": PackTerm(dkd, {"alpha": 1.0, "beta": 8.0, "warmup_epochs": 20.0}, varies=True),
    "dist": PackTerm(dist, {"beta": 1.0, "gamma": 1.0}),
    "nkd": PackTerm(nkd, {"gamma": 1.5}),
    "mlkd": PackTerm(mlkd),
    "ctkd": PackTerm(ctkd, {"theta": 1.0, "loops": 10.0}, learned=("theta",), varies=True),
    "mse": PackTerm(mse),
}


def objective(name: str, **options: Option) -> DistillationTerm:
    """Return a distillation term of one student, before `alpha` weighs it against cross-entropy.

    Args:
        name: One of kd, dkd, dist, logit_standardization, nkd, mlkd, ctkd, mse, or a user's
            `package.module:name`: such a callable, or a factory of one that takes the options.
        options: The term's own weights; `logit_standardization` also takes `base`.

    Returns:
        `(student_logits [N, C], teacher_logits [N, C], targets [N], temperature) -> scalar`, with
        gradients for the student's logits. A term that warms up over epochs has its full weight.

    Raises:
        RequestError: The name or an option is not known.
    """
    if ":" in name:
        return OwnTerm(name, options)
    numbers = {key: value for key, value in options.items() if not isinstance(value, str)}
    found = pack_term(name, numbers, base=options.get("base"))
    values = {key: torch.as_tensor(v)[None] for key, v in {**found.defaults, **numbers}.items()}

    def term(student_logits: Tensor, teacher_logits: Tensor, targets: Tensor, temperature: Any) -> Tensor:
        student, teacher = at_least_float32(student_logits)[None], at_least_float32(teacher_logits)[None]
        at = torch.as_tensor(temperature).to(student).reshape(1)
        own = {key: value.to(student) for key, value in values.items()}
        return found.term(student, teacher, targets, at, epoch=None, **own).mean()

    return term


def pack_term(name: str, options: Mapping[str, Any], base: Any = None) -> PackTerm:
    """Return the term of a name for a whole pack.

    Args:
        name: An objective's name.
        options: The numeric options that will be given.
        base: What `logit_standardization` wraps: kd, dkd or mlkd.

    Raises:
        RequestError: The name, the base or an option is not known.
    """
    found = _standardized(base or "kd") if name == "logit_standardization" else OBJECTIVES.get(name)
    if found is None:
        known = ", ".join((*OBJECTIVES, "logit_standardization"))
        raise RequestError(
            f"`objective.name` must be a known objective, got {name!r}. "
            f"Known: {known}, or package.module:factory."
        )
    if base is not None and name != "logit_standardization":
        raise RequestError(f"`objective.options.base` must be absent for {name!r}, got {base!r}. Remove it.")
    for option in set(options) - set(found.option_names()):
        known = ", ".join(found.option_names()) or "none"
        raise RequestError(f"`objective.options.{option}` is not an option of {name!r}. Known: {known}.")
    return found


def at_least_float32(logits: Tensor) -> Tensor:
    """Return logits in float32 where they come in half precision; a loss at a high T needs it."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def _standardized(base: str) -> PackTerm:
    if base not in STANDARDIZABLE:
        raise RequestError(
            f"`objective.options.base` must be one of {', '.join(STANDARDIZABLE)}, got {base!r}. Choose one."
        )
    wrapped = OBJECTIVES[base]
    on_raw_logits = base == "mlkd"  # its batch and class parts take them; only its kd is standardised
    term = (
        partial(mlkd, on_instances=_on_standardized(kd)) if on_raw_logits else _on_standardized(wrapped.term)
    )
    return replace(wrapped, term=term, standardizes=True)


def _on_standardized(term: Term) -> Term:
    def standardizing(
        student_logits: Tensor, teacher_logits: Tensor, targets: Tensor, temperature: Tensor, **options: Any
    ) -> Tensor:
        student, teacher = standardized(student_logits), standardized(teacher_logits)
        return term(student, teacher, targets, temperature, **options)

    return standardizing
