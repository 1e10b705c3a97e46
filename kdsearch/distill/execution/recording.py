"""Functions of tensors, recorded once for each form of arguments.

Later calls of that form replay the recording.
"""

from collections.abc import Callable, Iterator
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from kdsearch.distill.devices import is_out_of_memory
from kdsearch.distill.factories import first_words_of

Work: TypeAlias = Callable[..., Tensor]
"""From tensors, or None in the place of one, to a tensor; it may change tensors of its own in place.

Nothing else may differ from call to call: a recording repeats a number of Python's as it was.
"""

WARM_UP_CALLS = 3  # what torch asks for before a recording: libraries set themselves up in the first calls
_MOST_FORMS = 8  # of arguments: full batches and last ones, in training and evaluation
_OF_WHAT_ENDS = (
    "previous error during capture",
    "unjoined work",
)  # what a broken recording's end says itself
_Form: TypeAlias = tuple[tuple[torch.Size, torch.dtype] | None, ...]


class Recorder(Protocol):
    """Records what a call does on a device."""

    def warm_up(self, call: Callable[[], Tensor]) -> tuple[Tensor, str | None]:
        """Do a call as it is, where the recording will be made.

        Returns:
            Its result, and what about it can't be recorded, if anything was seen.
        """
        ...

    def record(self, call: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """Do a call and record it.

        Returns:
            What does it again on the same tensors, and its result, which that overwrites.
        """
        ...


class Replayed:
    """A function of tensors, replayed without Python where there is a recorder.

    The first calls of each form of arguments are done as they are. What can't be recorded is done so for
    ever, and `problem` says why.

    Args:
        work: The function.
        recorder: Makes recordings on the tensors' device; None where nothing is recorded.
    """

    def __init__(self, work: Work, recorder: Recorder | None) -> None:
        self._work = work
        self._recorder = recorder
        self._recordings: dict[_Form, _Recording] = {}
        self._calls: dict[_Form, int] = {}
        self.problem: str | None = None

    @property
    def is_recording(self) -> bool:
        """Whether calls are recorded, as far as is known."""
        return self._recorder is not None and self.problem is None

    def __call__(self, *arguments: Tensor | None) -> Tensor:
        """Return the function's result."""
        if self._recorder is None or self.problem is not None:
            return self._work(*arguments)
        form = tuple(None if value is None else (value.shape, value.dtype) for value in arguments)
        if form in self._recordings:
            return self._recordings[form](*arguments)
        calls = self._calls[form] = self._calls.get(form, 0) + 1
        if calls <= WARM_UP_CALLS or len(self._recordings) >= _MOST_FORMS:
            result, problem = self._recorder.warm_up(lambda: self._work(*arguments))
            self.problem = problem if calls == WARM_UP_CALLS else None  # the first may set things up
            return result
        return self._recorded(self._recorder, form, arguments)

    def forget(self) -> None:
        """Record anew: the tensors that the function changes are others."""
        self._recordings.clear()
        self._calls.clear()

    def _recorded(self, recorder: Recorder, form: _Form, arguments: tuple[Tensor | None, ...]) -> Tensor:
        static = [None if value is None else value.clone() for value in arguments]
        try:
            replay, result = recorder.record(lambda: self._work(*static))
        except Exception as error:  # whatever a foreign network does that no recording allows
            causes = list(_causes(error))
            for cause in filter(is_out_of_memory, causes):
                raise cause from None
            told = next((c for c in causes if not any(words in str(c) for words in _OF_WHAT_ENDS)), error)
            self.problem = first_words_of(told)
            self.forget()
            return self._work(*arguments)
        self._recordings[form] = _Recording(static, replay, result)
        return result.clone()


def _causes(error: BaseException | None) -> Iterator[Exception]:
    """Yield an error and those that it came of: a recording that is broken off raises more on the way out."""
    while isinstance(error, Exception):
        yield error
        error = error.__context__


class _Recording:
    def __init__(self, static: list[Tensor | None], replay: Callable[[], None], result: Tensor) -> None:
        self._static = static
        self._replay = replay
        self._result = result

    def __call__(self, *arguments: Tensor | None) -> Tensor:
        for place, value in zip(self._static, arguments, strict=True):
            if place is not None and value is not None:
                place.copy_(value, non_blocking=True)
        self._replay()
        return self._result.clone()
