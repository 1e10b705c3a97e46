"""What the cells of a table of runs mean: numbers, levels, accuracies."""

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kdsearch.errors import RequestError
from kdsearch.runs.asked import Unit
from kdsearch.spec.bounds import LARGEST_WHOLE, shown
from kdsearch.spec.space import alike_pair

_MISSING = frozenset({"", "none", "null", "na", "n/a", "-", "–"})
LARGEST_TUNED = 1e100
"""By hand: what is larger is no setting of a training, and its range overflows."""

# A zero before or behind that a number loses; digits with another decimal mark than a point, or in groups; a
# number with a sign of percent or a dash of print; how a line of several runs is called; a name that tells
# percentages.
_PADDED = re.compile(r"^[+-]?0\d|\.\d*[1-9]0+$")
_GROUPED = re.compile(r"[+-]?\d+(?:[,\s'’]\d+)+(?:[.,]\d*)?(?:[eE][+-]?\d+)?|[+-]?\d*,\d+(?:[eE][+-]?\d+)?")
_QUANTITY = re.compile(r"[+\-−]?(?:\d+\.?\d*|\.\d+)(?:[eE][+\-−–]?\d+)?\s*%?")
_SUMMARY = re.compile(r"mean|avg|average|median|std|total")
_PERCENT = re.compile(r"%|(?:^|[^a-z])(?:percent|percentage|pct|perc|prozent)(?:[^a-z]|$)")


def is_missing(cell: Any) -> bool:
    """Return whether a cell holds nothing; `nan` is something: a run that diverged."""
    return cell is None or (isinstance(cell, str) and cell.strip().lower() in _MISSING)


def number_in(cell: Any) -> float | None:
    """Return a cell's number, which may be NaN or infinite. None where it is no number."""
    whole = _whole(cell)
    if whole is not None:
        return float(whole) if abs(whole) <= LARGEST_WHOLE else None
    if isinstance(cell, float):
        return cell
    try:
        return float(cell) if isinstance(cell, str) and "_" not in cell else None
    except ValueError:
        return None


def _whole(cell: Any) -> int | None:
    """Return a cell's digits as a whole number, to the last of them. None where it is no such number."""
    if isinstance(cell, int):
        return None if isinstance(cell, bool) else cell
    try:
        return int(cell) if isinstance(cell, str) and "_" not in cell else None
    except ValueError:
        return None


def levels_in(cells: Sequence[Any]) -> list[Any]:
    """Return a column's cells as levels: all numbers where all that are there are, else as they stand."""
    there = [cell for cell in cells if not is_missing(cell)]
    numbers = [number_in(cell) for cell in there]
    if there and all(number is not None and math.isfinite(number) for number in numbers):
        whole = all(number.is_integer() for number in numbers if number is not None)
        return [None if is_missing(cell) else _number(cell, whole=whole) for cell in cells]
    if all(isinstance(cell, bool) for cell in there):
        return [None if is_missing(cell) else cell for cell in cells]
    return [None if is_missing(cell) else unicodedata.normalize("NFC", str(cell)) for cell in cells]


def check_levels(column: str, cells: Sequence[Any], levels: Sequence[Any], places: Sequence[str]) -> None:
    """Refuse names that would be read as one number, and such as look the same.

    The versions 1.1 and 1.10 are one number, or the classes 7 and 07.

    Raises:
        RequestError: The message has both names and the place of the second.
    """
    spelled: dict[Any, str] = {}
    for level, cell, place in zip(levels, cells, places, strict=True):
        if not isinstance(cell, str) or isinstance(level, str) or level is None:
            continue
        first = spelled.setdefault(level, cell)
        if first != cell and (_PADDED.search(first) or _PADDED.search(cell)):
            raise RequestError(
                f"`{column}` must write each level one way, got {shown(first)} and {shown(cell)} in {place}: "
                "both are one number. Where they are names, begin each with a letter."
            )
    if pair := alike_pair(level for level in levels if isinstance(level, str)):
        raise RequestError(
            f"`{column}` must write each level one way, got {pair[0]!a} and {pair[1]!a}, which look the "
            "same. Mend the file."
        )


def check_numbers(column: str, cells: Sequence[Any], places: Sequence[str]) -> None:
    """Refuse numbers that would be read as texts, such as `10%` or `0.1 (warmup)`, or overflow.

    Raises:
        RequestError: The message has the cell and its place.
    """
    numbers = [number_in(cell) for cell in cells]
    are_some = any(number is not None for number in numbers)
    for cell, number, place in zip(cells, numbers, places, strict=True):
        if number is not None and math.isfinite(number) and abs(number) > LARGEST_TUNED:
            raise RequestError(
                f"`{column}` must be at most {LARGEST_TUNED:g} in size, got {number:g} in {place}. "
                "Mend the file."
            )
        if number is not None or not isinstance(cell, str):
            continue
        if _GROUPED.fullmatch(cell.strip()):
            raise RequestError(
                f"`{column}` must be a number with a decimal point, got {shown(cell)} in {place}. "
                "Write it so, or save the file with `;` between its cells."
            )
        if _QUANTITY.fullmatch(cell.strip()) or (are_some and re.match(r"\W*\d", cell)):
            raise RequestError(
                f"`{column}` must be a plain number, got {shown(cell)} in {place}, which would count as a "
                "name, and with it the whole column. Write the number alone, as 0.001 or 1e-3."
            )


def check_rates(column: str, cells: Sequence[Any], places: Sequence[str]) -> None:
    """Refuse a learning rate that trains nothing: it could come out as the best one.

    Raises:
        RequestError: The message has the cell and its place.
    """
    for cell, place in zip(cells, places, strict=True):
        number = number_in(cell)
        if number is not None and number <= 0:
            raise RequestError(
                f"`{column}` must be a learning rate above 0, got {number:g} in {place}: such a run trains "
                "nothing. Leave it out; where the column is no learning rate, give it another name."
            )


def check_seeds(column: str, cells: Sequence[Any], places: Sequence[str]) -> None:
    """Refuse a word among numbered seeds: such a line is of several runs, their mean or their spread.

    Raises:
        RequestError: The message has the cell and its place.
    """
    there = [(cell, place) for cell, place in zip(cells, places, strict=True) if not is_missing(cell)]
    words = [
        (cell, place)
        for cell, place in there
        if not any(map(str.isdigit, str(cell))) or _SUMMARY.search(str(cell).lower())
    ]
    if words and len(words) < len(there):
        cell, place = words[0]
        raise RequestError(
            f"`{column}` must be of one kind, got {shown(cell)} in {place} beside numbered ones. Leave out "
            "lines that are made of other runs, such as means."
        )


def _number(cell: Any, *, whole: bool) -> int | float:
    number, digits = number_in(cell), _whole(cell)
    assert number is not None  # noqa: S101 - the caller has looked
    if not whole:
        return number
    return int(number) if digits is None else digits  # a float would round what has 16 digits


@dataclass(frozen=True)
class Accuracies:
    """Accuracies of runs as fractions: NaN where a run diverged, None where it has none.

    `unit` says how they were read, in words.
    """

    values: list[float | None]
    unit: str


def accuracies_in(column: str, cells: Sequence[Any], places: Sequence[str], unit: Unit) -> Accuracies:
    """Return a column's accuracies as fractions. Percentages are recognised by what is above 1.

    Args:
        column: The column's name, for messages.
        cells: Its cells.
        places: Where they are, for messages.
        unit: What they are, where it is known.

    Raises:
        RequestError: A cell is no accuracy, or the unit is in doubt.
    """
    marked = [isinstance(cell, str) and cell.rstrip().endswith("%") for cell in cells]
    values = [
        None if is_missing(cell) else _accuracy(column, cell, place)
        for cell, place in zip(cells, places, strict=True)
    ]
    measured = [value for value in values if value is not None and math.isfinite(value)]
    if any(marked):
        _refuse_some_marked(column, marked, values, places)
        unit = "percent" if unit == "auto" else unit
    if unit == "auto":
        unit = _unit_of(column, measured)
    most = 100.0 if unit == "percent" else 1.0
    for value, place in zip(values, places, strict=True):
        if value is not None and math.isfinite(value) and not 0 <= value <= most:
            raise RequestError(
                f"`{column}` must be an accuracy from 0 to {most:g}, got {value:g} in {place}. "
                "Name a column of accuracies with --metric; of losses there is no answer."
            )
    fractions = [
        None if value is None else (value / most if math.isfinite(value) else math.nan) for value in values
    ]
    return Accuracies(fractions, "percentages" if unit == "percent" else "fractions from 0 to 1")


def _refuse_some_marked(
    column: str, marked: Sequence[bool], values: Sequence[float | None], places: Sequence[str]
) -> None:
    """Refuse fractions beside numbers with a `%`."""
    for has_sign, value, place in zip(marked, values, places, strict=True):
        if not has_sign and value is not None and 0 < value <= 1:
            raise RequestError(
                f"`{column}` must be in one unit, got {value:g} in {place} beside {sum(marked)} with a %. "
                "Write all as percentages."
            )


def _accuracy(column: str, cell: Any, place: str) -> float:
    number = number_in(cell.rstrip().removesuffix("%") if isinstance(cell, str) else cell)
    if number is None:
        raise RequestError(
            f"`{column}` must be a number, got {shown(cell)} in {place}. Write one number, `nan` where it "
            "diverged, or nothing."
        )
    return number


def _unit_of(column: str, measured: Sequence[float]) -> Unit:
    above = sum(value > 1 for value in measured)
    if above and any(0 < value <= 1 for value in measured):
        raise RequestError(
            f"`{column}` must be in one unit, got {len(measured) - above} values up to 1 and {above} above. "
            "Say --unit percent or --unit fraction, or mend the file."
        )
    if measured and not above and any(measured) and _PERCENT.search(column.strip().lower()):
        raise RequestError(
            f"`{column}` must be in the unit that its name tells, and no value is above 1. Say --unit "
            "fraction or --unit percent."
        )
    return "percent" if above else "fraction"
