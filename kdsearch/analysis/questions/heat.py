"""Best temperature and accuracy over two factors, as a table of cells."""

import math
from dataclasses import dataclass
from typing import Any

from kdsearch.analysis.labels import factor_label, level_text, temperature_text, varied_factors
from kdsearch.analysis.questions.best import BestAnswer, SetupAnswer
from kdsearch.spec import level_label

STEPS = 6
"""Shades; more of them can't be told apart."""


@dataclass(frozen=True)
class HeatCell:
    """One pair of levels: its answer, and a shade for each number."""

    temperature: str
    interval: str
    accuracy: str
    shade: int | None


@dataclass(frozen=True)
class HeatMap:
    """A table of two factors. `rows` are a level of the first and its cells; None where nothing was run."""

    factors: tuple[str, str]
    columns: list[str]
    rows: list[tuple[str, list[HeatCell | None]]]


def heat_map(answer: BestAnswer) -> HeatMap | None:
    """Return the answers over their two factors. None where not exactly two vary."""
    factors = varied_factors([found.setup for found in answer.setups])
    if len(factors) != 2 or all(found.temperature is None for found in answer.setups):
        return None
    first, second = factors
    cells = {(_key(found, first), _key(found, second)): found for found in answer.setups}
    levels = {path: {_key(found, path): found.setup.get(path) for found in answer.setups} for path in factors}
    logs = [math.log(found.temperature) for found in answer.setups if found.temperature]
    rows = [
        (level_text(first, level), [_cell(cells.get((row, column)), logs) for column in levels[second]])
        for row, level in levels[first].items()
    ]
    names = factor_label(first), factor_label(second)
    return HeatMap(names, [level_text(second, level) for level in levels[second].values()], rows)


def _key(found: SetupAnswer, path: str) -> Any:
    return level_label(found.setup.get(path))


def _cell(found: SetupAnswer | None, logs: list[float]) -> HeatCell | None:
    if found is None:
        return None
    if found.temperature is None:
        return HeatCell("–", "", "not known yet", None)
    low, high = min(logs), max(logs)
    fraction = (math.log(found.temperature) - low) / (high - low) if high > low else 0.0
    interval = " to ".join(map(temperature_text, found.interval)) if found.interval else ""
    accuracy = "" if found.accuracy is None else f"{found.accuracy:.1%}"
    return HeatCell(temperature_text(found.temperature), interval, accuracy, round(fraction * (STEPS - 1)))
