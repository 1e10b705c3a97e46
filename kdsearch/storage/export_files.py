"""The files of an exported study, read strictly."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, get_args

from sqlalchemy import BigInteger, Boolean, Column, Float, Integer, String, Table

from kdsearch.errors import KDSearchError, RequestError
from kdsearch.spec import StudySpec, load_stored_spec
from kdsearch.spec.bounds import LARGEST_COLUMN, LARGEST_WHOLE, problem_in_document, shown
from kdsearch.storage.rows.read import TrialState
from kdsearch.storage.sql.tables import (
    EpochTable,
    PackTable,
    SetupTable,
    StudyTable,
    TeacherTable,
    TrialTable,
    UtcDateTime,
    WideningTable,
    table_of,
)

FORMAT = 3
"""1 had no `seconds` of a study and no widenings, 2 no draws of luck; both can be read."""

MANIFEST = "study.json"
"""Written last: a folder with it is whole."""

PARTS = {
    "setups": SetupTable,
    "trials": TrialTable,
    "epochs": EpochTable,
    "packs": PackTable,
    "widenings": WideningTable,
}

_MOST_BYTES = 16_777_216
"""Of one line: a trial's takes some hundreds, a teacher's record some thousands."""

_OWN = ("id", "study_id")
"""Columns that a database gives itself."""

_ADDED_LATER = ("seconds",)
"""Columns without which a study of the first format is read."""


class ExportedStudy:
    """A folder that holds a whole study, every row checked.

    Args:
        directory: The folder.

    Raises:
        RequestError: It holds none; the message names the file and the line.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._manifest = self._read_manifest()
        self.study: Mapping[str, Any] = self._manifest["study"]
        self.spec = self._check_study()
        self._check_rows()

    @property
    def optuna(self) -> Mapping[str, Any]:
        """The Optuna study, without its trials."""
        found: Mapping[str, Any] = self._manifest["optuna"]
        return found

    @property
    def teachers(self) -> list[dict[str, Any]]:
        """The rows of its teachers."""
        return [row_of(table_of(TeacherTable), teacher) for teacher in self._manifest["teachers"]]

    def rows(self, part: str) -> Iterator[dict[str, Any]]:
        """Yield the rows of one of its tables, without the study's id."""
        if part in self._manifest["counts"]:  # else it was written before there was such a part
            table = table_of(PARTS[part])
            for _, document in self._lines(part):
                yield row_of(table, document)

    def optuna_trials(self) -> Iterator[dict[str, Any]]:
        """Yield the documents of its Optuna trials by number."""
        for _, document in self._lines("optuna"):
            yield document

    def _read_manifest(self) -> dict[str, Any]:
        path = self._directory / MANIFEST
        try:
            content = path.read_bytes()[: _MOST_BYTES + 1]
            manifest = _decoded(content)
        except (OSError, ValueError, RecursionError) as error:
            self._refuse(f"must be a folder that `kdsearch export` wrote to its end ({path}: {_why(error)})")
        if not isinstance(manifest, dict) or "format" not in manifest:
            self._refuse(f"must be a folder that `kdsearch export` wrote, and {path} is of something else")
        if manifest["format"] not in range(1, FORMAT + 1):
            raise RequestError(
                f"`directory` must be of the format {FORMAT} or an earlier one, got {manifest['format']!r}. "
                "Import it with the kdsearch that wrote it, or a newer one."
            )
        for name, kind in (("study", dict), ("optuna", dict), ("teachers", list), ("counts", dict)):
            if not isinstance(manifest.get(name), kind):
                self._refuse(f"must have `{name}` in {path}, a {kind.__name__}")
        for name in ("setups", "trials", "epochs", "packs", "optuna"):
            if name not in manifest["counts"]:
                self._refuse(f"must have `counts.{name}` in {path}")
        return manifest

    def _check_study(self) -> StudySpec:
        path = self._directory / MANIFEST
        about = self.optuna
        if not isinstance(about.get("name"), str) or not all(
            isinstance(about.get(name), dict) for name in ("user_attrs", "system_attrs")
        ):
            self._refuse(f"must have the Optuna study's `name`, `user_attrs` and `system_attrs` in {path}")
        self._check_row(table_of(StudyTable), self.study, f"{path}, `study`")
        for teacher in self._manifest["teachers"]:
            self._check_row(table_of(TeacherTable), teacher, f"{path}, `teachers`")
        try:
            spec = load_stored_spec(self.study["spec"])
        except KDSearchError as error:
            self._refuse(f"must hold a study whose spec this kdsearch can read: {error}")
        if spec.name != self.study["name"]:
            self._refuse(f"must hold one study, got {self.study['name']!r} with the spec of {spec.name!r}")
        return spec

    def _check_rows(self) -> None:
        setups = self._keys_of("setups", lambda row: row["number"])
        trials = self._keys_of("trials", lambda row: row["number"], within=setups, by="setup")
        self._keys_of("epochs", lambda row: (row["number"], row["epoch"]), within=trials, by="number")
        self._keys_of("packs", lambda row: row["name"])
        if "widenings" in self._manifest["counts"]:
            self._keys_of("widenings", lambda row: row["number"])
        self._check_optuna()

    def _keys_of(
        self,
        part: str,
        key: Callable[[Mapping[str, Any]], Any],
        *,
        within: set[Any] | None = None,
        by: str = "",
    ) -> set[Any]:
        """Check a part's rows and return their keys, each once.

        `by` names the column that has a row of another part, whose keys are `within`.
        """
        table, keys = table_of(PARTS[part]), set()
        for where, row in self._lines(part):
            self._check_row(table, row, where)
            if within is not None and row[by] not in within:
                self._refuse(f"must have a row for the {by} {row[by]} that {where} names")
            if key(row) in keys:
                self._refuse(f"must have each row once, and {where} has {key(row)} again")
            keys.add(key(row))
        self._check_count(part, len(keys))
        return keys

    def _check_optuna(self) -> None:
        from kdsearch.storage.mirror.frozen import frozen_of_document

        count = 0
        for where, document in self._lines("optuna"):
            try:
                trial = frozen_of_document(document)
                trial._validate()
            except Exception as error:
                self._refuse(f"must hold Optuna's trials, and {where} is none ({_why(error)})", error)
            if trial.number != count:
                self._refuse(f"must hold Optuna's trials in order, and {where} has {trial.number!r}")
            count += 1
        self._check_count("optuna", count)

    def _check_count(self, part: str, found: int) -> None:
        count = self._manifest["counts"][part]
        if found != count:
            path = self._directory / f"{part}.jsonl"
            raise RequestError(f"`{path}` must have {count} lines, got {found}. Export the study again.")

    def _check_row(self, table: Table, row: Any, where: str) -> None:
        if not isinstance(row, dict):
            self._refuse(f"must hold rows, and {where} is a {type(row).__name__}")
        columns = {column.name: column for column in table.columns if column.name not in _OWN}
        for name in row.keys() - columns.keys() - set(_OWN):
            self._refuse(f"must hold rows of kdsearch, and {where} has the unknown column {shown(name)}")
        for name, column in columns.items():
            if name not in row and not (column.nullable or name in _ADDED_LATER):
                self._refuse(f"must hold whole rows, and {where} has no `{name}`")
            if problem := _problem_in_cell(table, column, row.get(name)):
                self._refuse(f"must hold rows of kdsearch, and `{name}` in {where} {problem}")

    def _lines(self, part: str) -> Iterator[tuple[str, Any]]:
        """Yield where each line of a part is, and what it holds."""
        path = self._directory / f"{part}.jsonl"
        try:
            with path.open("rb") as file:
                number = 0
                while line := file.readline(_MOST_BYTES + 1):
                    number += 1
                    yield f"{path.name}, line {number},", _decoded(line)
        except (OSError, ValueError, RecursionError) as error:
            if isinstance(error, KDSearchError):
                raise
            self._refuse(f"must be a folder that `kdsearch export` wrote ({path}: {_why(error)})", error)

    def _refuse(self, rule: str, cause: BaseException | None = None) -> NoReturn:
        raise RequestError(
            f"`directory` {rule}, got {self._directory}. Nothing was imported. Export the study again."
        ) from cause


def row_of(table: Table, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a document, without what a database gives itself."""
    return {
        name: datetime.fromisoformat(value)
        if value and isinstance(table.c[name].type, UtcDateTime)
        else value
        for name, value in document.items()
        if name not in _OWN
    }


def _decoded(content: bytes) -> Any:
    if len(content) > _MOST_BYTES:
        raise ValueError(f"a line has more than {_MOST_BYTES:,} bytes")
    return json.loads(content)


def _problem_in_cell(table: Table, column: Column[Any], value: Any) -> str | None:
    """Return why a value is none of a column's. None where it is one."""
    if value is None:
        return None if column.nullable or column.name in _ADDED_LATER else "must not be null"
    rule = _rule_of(column, value)
    if rule is None and table.name == "kd_trial":
        rule = _rule_of_trial(column.name, value)
    return rule and f"must be {rule}, got {shown(value)}"


def _rule_of(column: Column[Any], value: Any) -> str | None:
    kind = column.type
    if isinstance(kind, UtcDateTime):
        return None if _is_moment(value) else "a moment with its zone"
    if isinstance(kind, Boolean):
        return None if isinstance(value, bool) else "true or false"
    if isinstance(kind, Integer):
        most = LARGEST_WHOLE if isinstance(kind, BigInteger) else LARGEST_COLUMN
        fits = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= most
        return None if fits else f"a whole number of at most {most}"
    if isinstance(kind, Float):
        fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return None if fits else "a finite number"
    if isinstance(kind, String):
        fits = isinstance(value, str) and len(value) <= (kind.length or _MOST_BYTES)
        return None if fits and not problem_in_document(value) else "a text that fits the column"
    expected = list if column.name == "versions" else dict
    fits = isinstance(value, expected) and not problem_in_document(value)
    return None if fits else "a list" if expected is list else "a mapping"


def _rule_of_trial(name: str, value: Any) -> str | None:
    states = get_args(TrialState)
    if name == "state" and value not in states:
        return f"one of {', '.join(states)}"
    if name == "temperature" and value <= 0:
        return "above 0"
    if name in ("number", "setup", "epochs") and value < 0:
        return "at least 0"
    if name.endswith("_accuracy") and not 0 <= value <= 1:
        return "a fraction from 0 to 1"
    return None


def _is_moment(value: Any) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except (TypeError, ValueError):
        return False


def _why(error: BaseException) -> str:
    reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
    return str(reason).splitlines()[0].rstrip(".")
