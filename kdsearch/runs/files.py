"""Files of runs as tables, one run a row."""

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from kdsearch.errors import RequestError
from kdsearch.spec.bounds import shown

KINDS = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".json", ".parquet")

_MOST_BYTES = 268_435_456
"""A table of a million runs; what is larger is a log of steps."""

_MOST_COLUMNS = 5_000
"""Exports with every setting and metric have some hundreds."""

_COMMA_NUMBER = re.compile(r"[+-]?(?:\d+,\d*|,\d+)(?:[eE][+-]?\d+)?\s*%?")
_POINTED = re.compile(r"[+-]?(?:[1-9]\d{0,2}(?:\.\d{3})+|\d*\.\d+(?:[eE][+-]?\d+)?\s*%?)")

csv.field_size_limit(16_777_216)


@dataclass(frozen=True)
class RunTable:
    """Runs as a table: the cells of each column in the order of the runs.

    Attributes:
        source: What it was read from, for messages.
        columns: Cells by column. A cell is a text, a number, true or false, or None where there is none.
        places: Where each run is in its source, such as `line 3`.
    """

    source: str
    columns: Mapping[str, Sequence[Any]]
    places: Sequence[str]

    def __len__(self) -> int:
        return len(self.places)


def read_table(path: Path) -> RunTable:
    """Return the runs of a file. Its name's ending tells of which kind it is.

    Raises:
        RequestError: It can't be read, or it is no table of runs; the message has the line.
    """
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise RequestError(
            f"`file` must end with one of {', '.join(KINDS)}, got {path}. Rename or convert it."
        )
    table = _read_parquet(path) if kind == ".parquet" else _read_text(path, kind)
    if not len(table):
        raise RequestError(f"`file` must have at least one run, got {path}, which has none.")
    if len(table.columns) > _MOST_COLUMNS:
        raise RequestError(
            f"`file` must have at most {_MOST_COLUMNS:,} columns, got {len(table.columns):,} in {path}. "
            "Export a row for each run."
        )
    return table


def _read_text(path: Path, kind: str) -> RunTable:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise RequestError(
                f"`file` must have at most {_MOST_BYTES >> 20} MiB, got {path}. Leave steps out."
            )
        text = path.read_bytes().decode("utf-8-sig")
        if "\0" in text:
            raise ValueError  # UTF-16 without its mark
    except (OSError, ValueError) as error:
        if isinstance(error, RequestError):
            raise
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text; save it as UTF-8"
        raise RequestError(f"`file` {path} can't be read: {reason}.") from error
    if kind in (".jsonl", ".ndjson"):
        return _table_of_documents(str(path), _json_lines(path, text))
    if kind == ".json":
        return _table_of_documents(str(path), _json_list(path, text))
    return _read_rows(str(path), text, "\t" if kind == ".tsv" else _delimiter(text))


def _delimiter(text: str) -> str:
    """Return what separates the cells of the first line: where decimals have commas it is no comma."""
    header = text.partition("\n")[0]
    return max(",;\t", key=header.count)


def _read_rows(source: str, text: str, delimiter: str) -> RunTable:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    places: list[str] = []
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(source, header)
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(header):
                raise RequestError(
                    f"`file` must have {len(header)} cells in each line, got {len(row)} in line "
                    f"{reader.line_num} of {source}. Quote cells that hold {delimiter!r}, and begin the file "
                    "with the line of column names."
                )
            rows.append(row)
            places.append(f"line {reader.line_num}")
    except csv.Error as error:
        raise RequestError(f"`file` can't be read: {error} in line {reader.line_num} of {source}.") from error
    decimal = "," if delimiter == ";" else "."
    if decimal == ",":
        _refuse_two_marks(source, rows, places)
    columns = {name: [_cell(row[at], decimal) for row in rows] for at, name in enumerate(header) if name}
    return RunTable(source, columns, places)


def _check_header(source: str, header: Sequence[str]) -> None:
    doubled = [name for name in dict.fromkeys(header) if name and header.count(name) > 1]
    if doubled:
        raise RequestError(
            f"`file` must name each column once, got {doubled[0]!r} twice in line 1 of {source}. Rename one."
        )
    if not any(header):
        raise RequestError(f"`file` must begin with a line of column names, got an empty one in {source}.")


def _refuse_two_marks(source: str, rows: Sequence[Sequence[str]], places: Sequence[str]) -> None:
    """Refuse `1.000` beside `0,9`, and `1,000` beside `0.9`: it may be one, or a thousand."""
    cells = [(cell.strip(), place) for row, place in zip(rows, places, strict=True) for cell in row]
    pointed = [(cell, place) for cell, place in cells if _POINTED.fullmatch(cell)]
    commas = [(cell, place) for cell, place in cells if _COMMA_NUMBER.fullmatch(cell)]
    if pointed and commas:
        (cell, place), (other, there) = pointed[0], commas[0]
        raise RequestError(
            f"`file` must have one decimal mark, got {cell} in {place} of {source} and {other} in {there}. "
            "Write a thousand as 1000, and all decimals with one mark."
        )


def _cell(text: str, decimal: str) -> str | None:
    text = text.strip()
    if decimal == "," and _COMMA_NUMBER.fullmatch(text):
        text = text.replace(",", ".")
    return text or None


def _json_lines(path: Path, text: str) -> Iterable[tuple[str, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"line {number}", _decoded(line, f"line {number} of {path}")


def _json_list(path: Path, text: str) -> Iterable[tuple[str, Any]]:
    found = _decoded(text, str(path))
    if isinstance(found, Mapping) and len(found) == 1:  # {"runs": […]}
        found = next(iter(found.values()))
    if not isinstance(found, list):
        raise RequestError(
            f"`file` must hold a list of runs, got a {type(found).__name__} in {path}. "
            "Of a pandas DataFrame write to_json(orient='records')."
        )
    return ((f"run {number}", run) for number, run in enumerate(found, start=1))


def _decoded(text: str, where: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        raise RequestError(
            f"`file` must be valid JSON, got {shown(text[:40])} in {where}: {error}."
        ) from error


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)!r} stands twice in one mapping")
    return found


def _table_of_documents(source: str, documents: Iterable[tuple[str, Any]]) -> RunTable:
    runs: list[dict[str, Any]] = []
    places: list[str] = []
    for place, document in documents:
        if not isinstance(document, Mapping):
            raise RequestError(
                f"`file` must have a mapping for each run, got {shown(document)} in {place} of {source}."
            )
        try:
            runs.append(flat(document))
        except ValueError as error:
            raise RequestError(
                f"`file` must name each value of a run once, and in {place} of {source} {error}. "
                "Keep one of them."
            ) from error
        places.append(place)
    names = dict.fromkeys(name for run in runs for name in run)
    return RunTable(source, {name: [run.get(name) for run in runs] for name in names}, places)


def flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested document's values by dotted path. Lists become texts, `{"value": v}` becomes v."""
    values: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, Mapping) and "value" in value and value.keys() <= {"value", "desc"}:
            value = value["value"]  # noqa: PLW2901 - so W&B writes a run's config
        below = (
            flat(value, f"{prefix}{key}.")
            if isinstance(value, Mapping)
            else {f"{prefix}{key}": _plain(value)}
        )
        if twice := values.keys() & below.keys():
            raise ValueError(f"{min(twice)!r} stands there twice: by its name, and inside another")
        values |= below
    return values


def _plain(value: Any) -> Any:
    """Return a value of a document as a cell, a text without the spaces around it, as in a CSV file."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, Decimal):
        return float(value)
    return json.dumps(value) if isinstance(value, list) else value


def _read_parquet(path: Path) -> RunTable:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise RequestError(
            "`file` needs pyarrow to be read as Parquet. Install it: pip install pyarrow"
        ) from error
    try:
        with path.open("rb") as file:
            documents = pq.read_table(file).to_pylist()
    except (OSError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise RequestError(f"`file` {path} can't be read: {reason}.") from error
    return _table_of_documents(str(path), ((f"row {n}", run) for n, run in enumerate(documents, start=1)))
