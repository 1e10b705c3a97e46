"""A user's own distillation term, from `package.module:name`: what it may be, and what it is given.

The name is a plain function `(student_logits, teacher_logits, targets, temperature) -> loss`, or a factory
that is called once for each student with the objective's options and returns such a callable: a function,
an object, an `nn.Module`. Logits are [N, C] and the teacher's true ones, targets [N] class numbers, the
temperature a float; the loss is a scalar, or [N] whose mean is taken. They come in this order, but where
parameters bear these names, by their names. A parameter called `epoch` gets the epoch, from 1. Parameters
of an `nn.Module` are learned with the student, by its optimizer; state in one, or in an object with
`state_dict` and `load_state_dict`, outlives an interruption.
"""

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from kdsearch.distill.factories import load_factory
from kdsearch.errors import RequestError

_ARGUMENTS = ("student_logits", "teacher_logits", "targets", "temperature")
_MORE_THAN_ANY = 100
"""Arguments: who takes so many says nothing of which."""
_SIDES = ("student", "teacher")  # in the order of their logits
_CONTRACT = (
    "a function (student_logits, teacher_logits, targets, temperature) -> loss, or a factory of one that "
    "takes `objective.options`"
)
_IMMUTABLE = (int, float, complex, bool, str, bytes, type(None), ModuleType, type)


class OwnTerm:
    """A user's term of one student.

    Args:
        name: `package.module:name`.
        options: The objective's options.
        device: Where the term's own parameters are put.

    Raises:
        RequestError: The name can't be imported, or gives no such term.
    """

    def __init__(
        self, name: str, options: Mapping[str, Any], device: torch.device | str | None = None
    ) -> None:
        self._name = name
        found: Any = load_factory(name, "objective.name")
        is_made = _makes_terms(found, options)
        if is_made:
            found = found(**options)
            options = {}
            if not callable(found) or isinstance(found, Tensor):
                raise RequestError(
                    f"`objective.name` must be {_CONTRACT}, got {name!r}, which returns a "
                    f"{type(found).__name__}. Let it return the function."
                )
        called = found.forward if isinstance(found, nn.Module) else found  # its own call takes anything
        self._wants_epoch = "epoch" in _parameters(called)
        epoch = {"epoch": 1} if self._wants_epoch else {}
        if not _takes(called, *_ARGUMENTS, **epoch, **options):
            raise RequestError(
                f"`objective.name` must be {_CONTRACT}, got {name!r} with the arguments "
                f"({', '.join(_parameters(called))}). Change its signature."
            )
        self._order = _order(_parameters(called))
        self._refuse_swapped(_parameters(called))
        if isinstance(found, nn.Module) or not is_made:
            found = copy.deepcopy(found)  # what a module's one object keeps or learns is each student's own
        self._term: Callable[..., Any] = found.to(device) if isinstance(found, nn.Module) else found
        self._options = dict(options)

    def _refuse_swapped(self, names: Sequence[str]) -> None:
        """Refuse names that say the opposite of what comes in their places."""
        for name, given in zip(names, self._order, strict=False):
            if (
                given < len(_SIDES)
                and _SIDES[1 - given] in name.lower()
                and _SIDES[given] not in name.lower()
            ):
                raise RequestError(
                    f"`objective.name` must take the student's logits first, got {self._name!r}, which takes "
                    f"{'the teacher' if given else 'them'} as `{name}`. Call its parameters "
                    f"{', '.join(_ARGUMENTS)}, in any order."
                )

    def __call__(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        targets: Tensor,
        temperature: Any,
        epoch: int = 1,
    ) -> Tensor:
        """Return the loss as a scalar.

        Raises:
            RequestError: It is no scalar, or does not depend on the student.
        """
        at_epoch = {"epoch": epoch} if self._wants_epoch else {}
        given = (student_logits, teacher_logits, targets, temperature)
        loss = self._term(*(given[i] for i in self._order), **at_epoch, **self._options)
        fits = isinstance(loss, Tensor) and loss.shape in ((), (1,), (len(student_logits),))
        if not fits or (student_logits.requires_grad and not loss.requires_grad):
            got = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
            got = f"a constant of shape {got}" if fits else got
            raise RequestError(
                f"`objective.name` {self._name!r} must return a loss that depends on the student's logits, a "
                f"scalar or one value for each example, got {got}. Return a tensor with a gradient."
            )
        mean: Tensor = loss.mean()
        return mean

    def parameters(self) -> list[Tensor]:
        """Return what the term learns beside the student."""
        if not isinstance(self._term, nn.Module):
            return []
        return [parameter for parameter in self._term.parameters() if parameter.requires_grad]

    def state(self) -> Any:
        """Return the state to keep over an interruption, or None."""
        return self._term.state_dict() if hasattr(self._term, "state_dict") else None

    def load_state(self, state: Any) -> None:
        """Take over what `state` returned."""
        if state is not None:
            self._term.load_state_dict(state)  # type: ignore[attr-defined]  # it has one where it has the other

    @property
    def is_resumable(self) -> bool:
        """Whether all its state, if it has any, is what `state` returns."""
        has_both = hasattr(self._term, "state_dict") and hasattr(self._term, "load_state_dict")
        return has_both or _is_stateless(self._term)


def _makes_terms(found: Any, options: Mapping[str, Any]) -> bool:
    """Return whether a callable is a factory.

    A function that takes any arguments, as decorators leave it, is none.
    """
    if isinstance(found, nn.Module) or not _takes(found, **options):
        return False
    return inspect.isclass(found) or not _takes(found, *range(_MORE_THAN_ANY), **options)


def _takes(function: Callable[..., Any], *positional: Any, **named: Any) -> bool:
    try:
        inspect.signature(function).bind(*positional, **named)
    except TypeError:
        return False
    except ValueError:  # a builtin that tells no signature
        return True
    return True


def _order(names: Sequence[str]) -> list[int]:
    """Return which argument comes at each place: those that are named go by their names."""
    first = names[: len(_ARGUMENTS)]
    rest = iter([i for i, name in enumerate(_ARGUMENTS) if name not in first])
    return [_ARGUMENTS.index(name) if name in _ARGUMENTS else next(rest) for name in first] + [*rest]


def _parameters(function: Callable[..., Any]) -> list[str]:
    try:
        return list(inspect.signature(function).parameters)
    except ValueError:
        return []


def _is_stateless(term: Any) -> bool:
    """Return whether a term is a function without anything that could change."""
    if not isinstance(term, FunctionType):
        return False
    cells = [cell.cell_contents for cell in term.__closure__ or ()]
    return all(isinstance(held, _IMMUTABLE) or _is_stateless(held) for held in cells)
