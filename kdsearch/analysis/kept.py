"""Answers kept on this machine, found by a digest of their evidence.

A name is the digest of the trials, the spec, the question and the code, so that no answer is ever stale:
where one of these differs it is another answer's. A file that was damaged is none.
"""

import hashlib
import json
import marshal
import platform
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import scipy
from pydantic import TypeAdapter

from kdsearch.analysis.response.warm_start import EarlierStudy
from kdsearch.artifacts.store import FolderStore, cache_folder
from kdsearch.spec import StudySpec
from kdsearch.storage import TrialColumns, columns_of

Answer = TypeVar("Answer")

FEWEST_TRIALS = 1000
"""Answers of fewer trials take a second or two: they are computed each time."""

_MOST_BYTES = 64 * 2**20
"""A page of 100,000 trials keeps some 10 MB, the answers of `best` 40 KB."""

_NOT_THERE = (OSError, ValueError, RuntimeError)
"""What a folder raises that can't be used, a text that is no answer, and a user without a home."""

_ROOMS = ("analysis/questions", "analysis/response", "spec", ".")
"""The folders whose code decides an answer; in the last one, kdsearch's own, are the seeds of its draws."""

_PACKAGE = Path(__file__).parent.parent


def _code_digest() -> str:
    """Return a digest of the code that computes answers.

    With another one the same trials may have other answers.
    """
    versions = platform.machine(), platform.python_version(), np.__version__, scipy.__version__
    digest = hashlib.sha256(repr(versions).encode())
    for path in sorted(path for room in _ROOMS for path in (_PACKAGE / room).glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


_CODE = _code_digest()  # read with the code itself: a service may outlive an upgrade


class KeptAnswers:
    """The answers about one state of a study's trials.

    Args:
        spec: The study's spec.
        columns: Its trials.
        earlier: The studies that it started from.
        slots: How many packs ran at the same time.
    """

    def __init__(
        self,
        spec: StudySpec,
        columns: TrialColumns,
        earlier: Sequence[EarlierStudy],
        slots: float,
    ) -> None:
        self._studies = [(spec, columns), *((study.spec, columns_of(study.trials)) for study in earlier)]
        self._slots = slots

    def answer(self, kind: type[Answer], question: Sequence[Any], compute: Callable[[], Answer]) -> Answer:
        """Return the kept answer to a question, or compute and keep it.

        Args:
            kind: The answer's type, all of whose parts can be told in JSON.
            question: What is asked, in lists, texts and numbers.
            compute: Returns the answer.
        """
        if len(self._studies[0][1]) < FEWEST_TRIALS:
            return compute()
        try:
            asked = json.dumps(question)
        except TypeError:  # a level that is no JSON: nobody asks by another way for the same
            return compute()
        name = hashlib.sha256(f"{self._content} {asked}".encode()).hexdigest()
        described: TypeAdapter[Answer] = TypeAdapter(kind)
        with suppress(*_NOT_THERE):
            if (found := _store().open(name)) is not None:
                return described.validate_json(found.getvalue())
        answer = compute()
        self._keep(name, described, answer)
        return answer

    @cached_property
    def _content(self) -> str:
        digest = hashlib.sha256(f"{_CODE} {self._slots!r}".encode())
        for spec, columns in self._studies:
            digest.update(spec.model_dump_json().encode())
            digest.update(_trials_digest(columns))
        return digest.hexdigest()

    def _keep(self, name: str, described: TypeAdapter[Answer], answer: Answer) -> None:
        """Keep an answer that is the same when it is read. A folder that can't be written keeps none."""
        text = described.dump_json(answer)
        with suppress(*_NOT_THERE):
            again = described.validate_json(text)
            if again == answer and described.dump_json(again) == text:
                _store().replace(name, text)
                _make_room(_store().root)


def _store() -> FolderStore:
    return FolderStore(cache_folder() / "answers")


def _trials_digest(columns: TrialColumns) -> bytes:
    """Return a digest of all that answers read of trials."""
    setups = {id(setup): setup for setup in columns.setup}
    numbers = {identity: number for number, identity in enumerate(setups)}
    values = [list(column) for name, column in columns.__dict__.items() if name != "setup"]
    told = (*values, [numbers[id(setup)] for setup in columns.setup], list(setups.values()))
    return hashlib.sha256(marshal.dumps(told, 2)).digest()  # of 2 on, it would tell shared objects apart


def _make_room(folder: Path) -> None:
    """Remove the oldest answers where they take too much room."""
    files = sorted((path.stat().st_mtime, path.stat().st_size, path) for path in folder.glob("[0-9a-f]*"))
    taken = sum(size for _, size, _ in files)
    for _, size, path in files:
        if taken <= _MOST_BYTES:
            return
        path.unlink(missing_ok=True)
        taken -= size
