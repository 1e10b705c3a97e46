"""The objectives by name, and the public callable of one student."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor

from kdsearch.distill.objectives.by_sample import (
    Rule,
    entropy_rule,
    entropy_temperatures,
    max_logit_rule,
    max_logit_temperatures,
)
from kdsearch.distill.objectives.decoupled import dkd, nkd
from kdsearch.distill.objectives.own import OwnTerm
from kdsearch.distill.objectives.relational import dist, mlkd
from kdsearch.distill.objectives.softened import Term, ctkd, kd, mse, standardized
from kdsearch.errors import RequestError
from kdsearch.spec.catalogue import WORDS, options_of, problem_with_option

Option: TypeAlias = float | int | str | Tensor
DistillationTerm: TypeAlias = Callable[[Tensor, Tensor, Tensor, Any], Tensor]
"""`(student_logits [N, C], teacher_logits [N, C], targets [N], temperature) -> scalar`."""


@dataclass(frozen=True)
class PackTerm:
    """A term with its options' defaults and the options it learns.

    `standardizes` tells that its soft targets are those of standardised logits; `rule` gives each example's
    temperature, where it is no student's alone.
    """

    term: Term
    defaults: Mapping[str, float] = field(default_factory=dict)
    optional: tuple[str, ...] = ()
    learned: tuple[str, ...] = ()
    standardizes: bool = False
    rule: Rule | None = None

    def option_names(self) -> tuple[str, ...]:
        """Return the names of the numeric options."""
        return (*self.defaults, *self.optional)


OBJECTIVES: dict[str, PackTerm] = {
    "kd": PackTerm(kd, optional=("student_temperature",)),
    "dkd": PackTerm(dkd, {"alpha": 1.0, "beta": 8.0, "warmup_epochs": 20.0}),
    "dist": PackTerm(dist, {"beta": 1.0, "gamma": 1.0}),
    "nkd": PackTerm(nkd, {"gamma": 1.5}),
    "mlkd": PackTerm(mlkd),
    "ctkd": PackTerm(ctkd, {"theta": 1.0, "loops": 10.0}, learned=("theta",)),
    "mse": PackTerm(mse),
    "entropy_rule": PackTerm(entropy_rule, {"target": 0.5}, rule=entropy_temperatures),
    "max_logit_rule": PackTerm(max_logit_rule, {"ratio": 1.0}, rule=max_logit_temperatures),
}


def objective(name: str, **options: Option) -> DistillationTerm:
    """Return one student's distillation term.

    It is not yet weighed by `alpha` against cross-entropy.

    Args:
        name: One of kd, dkd, dist, logit_standardization, nkd, mlkd, ctkd, mse, entropy_rule,
            max_logit_rule, or a user's `package.module:name`: such a callable, or a factory of one that takes
            the options.
        options: The term's own weights; `logit_standardization` also takes `base`, `kd` also
            `divergence`.

    Returns:
        `(student_logits [N, C], teacher_logits [N, C], targets [N], temperature) -> scalar`, with
        gradients for the student's logits. A term that warms up over epochs has its full weight.

    Raises:
        RequestError: The name or an option is not known.

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 0.0]])
        >>> float(objective("kd")(student, teacher, torch.tensor([0]), 4.0))
        0.1196...
    """
    if ":" in name:
        return OwnTerm(name, options)
    numbers = {key: value for key, value in options.items() if not isinstance(value, str)}
    found = pack_term(name, numbers, words_in(options))
    values = {key: torch.as_tensor(v)[None] for key, v in {**found.defaults, **numbers}.items()}

    def term(student_logits: Tensor, teacher_logits: Tensor, targets: Tensor, temperature: Any) -> Tensor:
        student, teacher = at_least_float32(student_logits)[None], at_least_float32(teacher_logits)[None]
        at = torch.as_tensor(temperature).to(student).reshape(1)
        own = {key: value.to(student) for key, value in values.items()}
        return found.term(student, teacher, targets, at, epoch=None, **own).mean()

    return term


def words_in(options: Mapping[str, Any]) -> dict[str, str]:
    """Return the options that are no numbers."""
    return {name: value for name, value in options.items() if isinstance(value, str)}


def pack_term(name: str, options: Mapping[str, Any], words: Mapping[str, str] | None = None) -> PackTerm:
    """Return the term of a name for a whole pack.

    Args:
        name: An objective's name.
        options: The numeric options that will be given.
        words: The others: `base`, what `logit_standardization` wraps, and `divergence`, that of `kd`.

    Raises:
        RequestError: The name, the base or an option is not known.
    """
    words = words or {}
    is_standardized = name == "logit_standardization"
    found = OBJECTIVES.get("kd" if is_standardized else name)
    if found is None:
        known = ", ".join((*OBJECTIVES, "logit_standardization"))
        raise RequestError(
            f"`objective.name` must be a known objective, got {name!r}. "
            f"Known: {known}, or package.module:factory."
        )
    _check_words(name, words)
    if is_standardized:
        found = OBJECTIVES[words.get("base", "kd")]
    for option in set(options) - set(found.option_names()):
        known = ", ".join(found.option_names()) or "none"
        raise RequestError(f"`objective.options.{option}` is not an option of {name!r}. Known: {known}.")
    for option, value in options.items():
        if problem := problem_with_option(option, float(value)):
            raise RequestError(f"`objective.options.{option}` {problem}")
    if "divergence" in words:
        found = replace(found, term=partial(kd, divergence=words["divergence"]))
    return _standardized(found) if is_standardized else found


def _check_words(name: str, words: Mapping[str, str]) -> None:
    for option, value in words.items():
        known = WORDS.get(option, ())
        if known and value not in known:
            raise RequestError(
                f"`objective.options.{option}` must be one of {', '.join(known)}, got {value!r}. Choose one."
            )
        if not known or option not in (options_of(name, words.get("base", "kd")) or ()):
            raise RequestError(
                f"`objective.options.{option}` must be absent for {name!r}, got {value!r}. Remove it."
            )


def at_least_float32(logits: Tensor) -> Tensor:
    """Return logits, in float32 where they come in half precision. A loss at a high T needs it."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def _standardized(wrapped: PackTerm) -> PackTerm:
    on_raw_logits = wrapped.term is mlkd  # its batch and class parts take them; only its kd is standardised
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
