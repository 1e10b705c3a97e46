"""Runs in a study's terms: setup, parameters and accuracy."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kdsearch.errors import RequestError
from kdsearch.runs.asked import Asked
from kdsearch.runs.cells import (
    LARGEST_TUNED,
    Accuracies,
    accuracies_in,
    check_levels,
    check_numbers,
    check_rates,
    check_seeds,
    is_missing,
    levels_in,
    number_in,
)
from kdsearch.runs.columns import (
    Columns,
    choose_columns,
    learning_rates,
    plain_name,
    short_name,
)
from kdsearch.runs.files import RunTable
from kdsearch.runs.space import (
    Dimensions,
    dimension_of,
    merged_names,
    temperature_range,
    tune_section,
)
from kdsearch.seeds import named_seed
from kdsearch.spec import TEMPERATURE, Setup, StudySpec, level_label, setup_key
from kdsearch.spec.bounds import shown
from kdsearch.spec.roles import LEARNING_RATES, is_learning_rate, role_of
from kdsearch.spec.study import RUNS_OF_FILE
from kdsearch.storage.rows.read import HOPELESS, TrialRow, TrialState
from kdsearch.trial import DIVERGED

_COMPLETE = frozenset({"complete", "completed", "finished", "success", "succeeded", "done", "terminated"})
_FAILED = frozenset({"failed", "fail", "crashed", "killed", "error", "preempted"})
_ENOUGH_TO_DIFFER = 12
"""So many runs may be decided, and never have one accuracy, unless it was never measured."""

_ENOUGH_GROUPS = 6
"""By hand: by luck alone six groups of equal runs are all of even size once in sixty tables."""

_MOST_SETUPS = 1_000
"""By hand: more setups than most tables have rows, so a wrong column was named."""


@dataclass(frozen=True)
class Runs:
    """Runs as trials. Setups and parameters go by their columns, the temperature by its path.

    Attributes:
        name: A name for a study of them.
        source: What they were read from.
        factors: The names of the setup's columns.
        trials: The runs.
        dimensions: The ranges of each setup's parameters, by the setup's key.
        columns: Which column each setup's parameters have, by the setup's key, where that is not their name.
        read: What was read as what, for the reader.
        notes: What to know of all of them before an answer is believed.
    """

    name: str
    source: str
    factors: tuple[str, ...]
    trials: list[TrialRow]
    dimensions: Mapping[str, Dimensions]
    columns: Mapping[str, Mapping[str, str]]
    read: Mapping[str, Any]
    notes: tuple[str, ...]

    @property
    def setups(self) -> list[Setup]:
        """The setups that have runs, in the order of their first."""
        return list({setup_key(trial.setup): trial.setup for trial in self.trials}.values())

    def complete(self, setup: Setup) -> list[TrialRow]:
        """Return a setup's runs that have an accuracy."""
        key = setup_key(setup)
        return [t for t in self.trials if t.state == "complete" and setup_key(t.setup) == key]

    def of(self, setups: Sequence[Setup]) -> list[TrialRow]:
        """Return the runs of some setups."""
        keys = set(map(setup_key, setups))
        return [trial for trial in self.trials if setup_key(trial.setup) in keys]

    def spec(self, setups: Sequence[Setup]) -> StudySpec:
        """Return the spec of a study of some setups. Its paths are columns, so it can't be launched."""
        levels = levels_of(self.factors, setups)
        if math.prod(map(len, levels.values())) > _MOST_SETUPS:
            raise RequestError(f"`setup` must make at most {_MOST_SETUPS:,} setups. Name fewer columns.")
        return StudySpec.model_validate(
            {
                **{"name": self.name, "trainer": RUNS_OF_FILE, "setup": levels},
                "tune": tune_section(self.factors, setups, self.dimensions),
                "search": {"trials": max(1, len(self.trials))},
            }
        )


def levels_of(factors: Sequence[str], setups: Sequence[Setup]) -> dict[str, list[Any]]:
    """Return the levels of each factor among some setups."""
    return {
        factor: list({level_label(setup[factor]): setup[factor] for setup in setups}.values())
        for factor in factors
    }


def study_name(source: str) -> str:
    """Return a study's name, made of the name of its file."""
    stem = re.sub(r"[^\w.-]+", "-", Path(source).stem, flags=re.ASCII).strip("-._")
    return stem[:100] or "runs"


def runs_of(table: RunTable, asked: Asked) -> Runs:
    """Return the runs of a table.

    Args:
        table: The table.
        asked: What a person said about its columns.

    Raises:
        RequestError: A column is not known or in doubt, or a cell is not what it must be.
    """
    columns = choose_columns(table, asked)
    accuracies = accuracies_in(columns.metric, table.columns[columns.metric], table.places, asked.unit)
    reading = _Reading(table, columns, accuracies)
    trials = reading.trials()
    _refuse_nothing(table, columns, trials, reading.left_out())
    trials, doubled = _once_each(table, columns, trials)
    trials, copied = _without_copies(trials)
    names = merge_parameters(reading.factors, trials)
    columns_of_setups = own_names(trials, names)
    trials = [replace(t, params={names.get(p, p): v for p, v in t.params.items()}) for t in trials]
    return Runs(
        name=study_name(table.source),
        source=table.source,
        factors=reading.factors,
        trials=trials,
        dimensions=dimensions_of(trials),
        columns=columns_of_setups,
        read=reading.read(),
        notes=(*reading.notes(trials), *doubled, *copied),
    )


class _Reading:
    """One reading of a table, its columns known."""

    def __init__(self, table: RunTable, columns: Columns, accuracies: Accuracies) -> None:
        self._table, self._columns, self._accuracies = table, columns, accuracies
        self._short = {
            column: short_name(column, table.columns) for column in (*columns.setup, *columns.tuned)
        }
        self.factors = tuple(self._short[column] for column in columns.setup)
        self._left_out: dict[str, int] = {}

    def trials(self) -> list[TrialRow]:
        table, columns = self._table, self._columns
        setup = {self._short[c]: levels_in(table.columns[c]) for c in columns.setup}
        tuned = {self._short[c]: levels_in(table.columns[c]) for c in columns.tuned}
        temperatures = [_temperature_in(cell) for cell in table.columns[columns.temperature]]
        self._check_cells(setup)
        seeds, tests = self._seeds(), self._tests()
        found = []
        for at, place in enumerate(table.places):
            state, reason = self._state(at)
            if state is None:
                continue
            if temperatures[at] is None:
                self._leave_out("no temperature")
                continue
            temperature = self._temperature(temperatures[at], place)
            levels = {name: self._level(name, cells[at], place) for name, cells in setup.items()}
            params = {name: cells[at] for name, cells in tuned.items() if cells[at] is not None}
            found.append(
                TrialRow(
                    number=at,
                    state=state,
                    reason=reason,
                    setup=levels,
                    params={TEMPERATURE: temperature, **params},
                    seed=seeds[at],
                    epochs=0,
                    val_accuracy=self._accuracies.values[at] if state == "complete" else None,
                    test_accuracy=tests[at],
                )
            )
        return found

    def _check_cells(self, setup: Mapping[str, Sequence[Any]]) -> None:
        """Refuse cells that would be read as something else than is written."""
        table, columns = self._table, self._columns
        for column in columns.setup:
            check_levels(column, table.columns[column], setup[self._short[column]], table.places)
        if columns.seed is not None:
            check_seeds(columns.seed, table.columns[columns.seed], table.places)
        for column in columns.tuned:
            check_numbers(column, table.columns[column], table.places)
        names = {level_label(level) for levels in setup.values() for level in levels}
        for column in (*columns.setup, *columns.tuned):
            if role_of(plain_name(column), names) in LEARNING_RATES:
                check_rates(column, table.columns[column], table.places)

    def _state(self, at: int) -> tuple[TrialState | None, str | None]:
        """Return how a run ended. None where it has not, or nothing of it is known."""
        accuracy, word = self._accuracies.values[at], ""
        if self._columns.state is not None:
            word = str(self._table.columns[self._columns.state][at] or "").lower().rpartition(".")[2]
        if accuracy is not None and math.isnan(accuracy):
            return "failed", DIVERGED
        if word in _FAILED:
            return "failed", self._reason(at)
        if word == "pruned":
            return "pruned", self._reason(at)
        if accuracy is None or (word and word not in _COMPLETE):
            self._leave_out("no accuracy" if accuracy is None else f"the state {word!r}")
            return None, None
        return "complete", None

    def _reason(self, at: int) -> str | None:
        """Return why a run has no result, as `kdsearch trials` writes it.

        None unless its point is to blame.
        """
        reasons = self._table.columns.get("reason")
        cell = "" if reasons is None else str(reasons[at])
        return cell if cell == DIVERGED or cell.startswith(HOPELESS) else None

    def _temperature(self, cell: Any, place: str) -> float:
        if isinstance(cell, bool | str) or not 0 < cell <= LARGEST_TUNED or cell < 1 / LARGEST_TUNED:
            raise RequestError(
                f"`{self._columns.temperature}` must be a number above 0, got {_written(cell)} in {place} of "
                f"{self._table.source}. Write the number alone; leave it empty where no temperature was used."
            )
        return float(cell)

    def _level(self, name: str, level: Any, place: str) -> Any:
        if level is None:
            raise RequestError(
                f"`{name}` must be given for each run, and {place} of {self._table.source} has no value, or "
                "a word such as `none` or `n/a`, which counts as none. Write a level, such as `without`."
            )
        return level

    def _seeds(self) -> list[int]:
        """Return a number for each run: its seed, or what a seed's name makes in every file."""
        if self._columns.seed is None:
            return list(range(len(self._table)))
        cells = [levels_in([cell])[0] for cell in self._table.columns[self._columns.seed]]
        return [
            cell if type(cell) is int else named_seed(0, f"no seed, run {at}" if cell is None else str(cell))
            for at, cell in enumerate(cells)
        ]

    def _tests(self) -> Sequence[float | None]:
        """Return the accuracies on the test set as fractions: their unit may be another than the metric's."""
        column = self._columns.test
        if column is None:
            return [None] * len(self._table)
        try:
            found = accuracies_in(column, self._table.columns[column], self._table.places, "auto")
        except RequestError as error:
            raise RequestError(f"{error} Or pass over it with --ignore {column!r}.") from error
        return [value if value is not None and math.isfinite(value) else None for value in found.values]

    def _leave_out(self, why: str) -> None:
        self._left_out[why] = self._left_out.get(why, 0) + 1

    def read(self) -> dict[str, Any]:
        columns = self._columns
        roles = {
            "temperature": columns.temperature,
            "metric": columns.metric,
            "setup": list(columns.setup),
            "tuned": list(columns.tuned),
            "seed": columns.seed,
            "test": columns.test,
        }
        return {
            "source": self._table.source,
            **roles,
            "guessed": list(columns.guessed),
            "unit": self._accuracies.unit,
        }

    def left_out(self) -> list[str]:
        return [f"{count} runs with {why} are left out." for why, count in self._left_out.items()]

    def notes(self, trials: Sequence[TrialRow]) -> list[str]:
        return [
            *self.left_out(),
            *self._about_rates(),
            *self._about_settings(),
            *self._about_tests(),
            *self._about_seeds(trials),
        ]

    def _about_rates(self) -> list[str]:
        columns, table = self._columns, self._table
        rates = {column: set(levels_in(table.columns[column])) - {None} for column in learning_rates(table)}
        tuned = [column for column in columns.tuned if is_learning_rate(plain_name(self._short[column]))]
        if any(len(rates.get(column, ())) != 1 for column in tuned):
            return []
        one = [f"{column} = {next(iter(found))}" for column, found in rates.items() if len(found) == 1]
        if one:
            return [
                f"The answers hold at this one learning rate ({one[0]}): another may have another best T."
            ]
        if rates:
            return ["The answers hold at the learning rates that the runs had: with others T may be another."]
        return [
            "No learning rate is among the columns: the answers hold at this one learning rate that the runs "
            "had; another may have another best T."
        ]

    def _about_settings(self) -> list[str]:
        over = self._columns.passed_over
        if not over:
            return []
        more = f" and {len(over) - 4} more" if len(over) > 4 else ""
        names = ", ".join(f"`{column}`" for column in over[:4])
        return [
            f"The runs differ in {names}{more} too, which has no say: where it is a setting, name "
            "it with --tuned; where it is none, with --ignore."
        ]

    def _about_tests(self) -> list[str]:
        if "test" not in plain_name(self._columns.metric).split("_"):
            return []
        return [f"`{self._columns.metric}` is of the test set: what is chosen by it is no unseen result."]

    def _about_seeds(self, trials: Sequence[TrialRow]) -> list[str]:
        column = self._columns.seed
        if column is None or len({t.seed for t in trials if t.state == "complete"}) > 1:
            return []
        return [f"All runs have one seed ({column} = {trials[0].seed})."]


def _temperature_in(cell: Any) -> Any:
    """Return a cell's number, or the cell where it is none. None where it is empty."""
    if is_missing(cell):
        return None
    number = number_in(cell)
    return cell if number is None else number


def _written(cell: Any) -> str:
    return f"{cell:g}" if isinstance(cell, float) else shown(cell)


def merge_parameters(factors: Sequence[str], trials: Sequence[TrialRow]) -> dict[str, str]:
    """Return common names of parameters that depend on a factor.

    Each exists under one level of the factor.

    Raises:
        RequestError: A parameter is there in some runs of a setup and missing in others.
    """
    setups = list({setup_key(t.setup): t.setup for t in trials}.values())
    names = dict.fromkeys(name for t in trials for name in t.params)
    exists: dict[str, list[bool]] = {name: [] for name in names}
    for setup in setups:
        own = [t for t in trials if t.setup == setup]
        for name in names:
            count = sum(name in t.params for t in own)
            if 0 < count < len(own):
                levels = ", ".join(f"{path}={level_label(level)}" for path, level in setup.items())
                raise RequestError(
                    f"`{name}` must be given for all runs of a setup or for none, and {len(own) - count} of "
                    f"{len(own)} of {levels or 'the runs'} have none. Name what it depends on with --setup."
                )
            exists[name].append(count > 0)
    return merged_names(factors, setups, exists)


def dimensions_of(trials: Sequence[TrialRow]) -> dict[str, Dimensions]:
    """Return the ranges of each setup's runs, by the setup's key.

    A setup with one temperature alone has the range of all runs.
    """
    everywhere = temperature_range(t.params[TEMPERATURE] for t in trials)
    found: dict[str, Dimensions] = {}
    for key in dict.fromkeys(setup_key(t.setup) for t in trials):
        own = [t.params for t in trials if setup_key(t.setup) == key]
        temperatures = {params[TEMPERATURE] for params in own}
        found[key] = {
            TEMPERATURE: temperature_range(temperatures) if len(temperatures) > 1 else everywhere,
            **{
                name: dimension_of([params[name] for params in own]) for name in own[0] if name != TEMPERATURE
            },
        }
    return found


def own_names(trials: Sequence[TrialRow], names: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return each setup's own names of parameters, by common name.

    `names` gives the common names; other parameters are left out.
    """
    return {
        setup_key(trial.setup): {names[name]: name for name in trial.params if name in names}
        for trial in trials
    }


def _refuse_nothing(
    table: RunTable, columns: Columns, trials: Sequence[TrialRow], left_out: Sequence[str]
) -> None:
    measured = [trial.val_accuracy for trial in trials if trial.state == "complete"]
    if not measured:
        why = f": {' '.join(left_out)}" if left_out else "."
        raise RequestError(
            f"`file` must have runs with `{columns.temperature}` and `{columns.metric}`, got none in "
            f"{table.source}{why}"
        )
    if len(measured) >= _ENOUGH_TO_DIFFER and len(set(measured)) == 1 and measured[0] != 1:
        raise RequestError(
            f"`{columns.metric}` must differ from run to run, got {measured[0]:g} alone in all "
            f"{len(measured)} of {table.source}. Name the column of what was measured with --metric."
        )
    if len({trial.params[TEMPERATURE] for trial in trials}) < 2:
        raise RequestError(
            f"`{columns.temperature}` must have at least two values, got "
            f"{trials[0].params[TEMPERATURE]:g} alone in {table.source}."
        )


def _once_each(
    table: RunTable, columns: Columns, trials: Sequence[TrialRow]
) -> tuple[list[TrialRow], list[str]]:
    """Return the runs without those that are there twice.

    Raises:
        RequestError: The same run, its seed included, is there with another accuracy.
    """
    cells = list(table.columns.values())
    rows: set[tuple[str, ...]] = set()
    known: dict[tuple[str, str, int], TrialRow] = {}
    kept, doubled = [], 0
    for trial in trials:
        row = tuple(repr(column[trial.number]) for column in cells)
        point = setup_key(trial.setup), setup_key(trial.params), trial.seed
        before = known.get(point) if columns.seed is not None else None
        if row in rows or (before is not None and before.val_accuracy == trial.val_accuracy):
            doubled += 1
            continue
        if columns.seed is not None and before is not None and trial.state == before.state == "complete":
            seed = table.columns[columns.seed][trial.number]
            raise RequestError(
                f"`file` must have each run once, and {table.places[before.number]} and "
                f"{table.places[trial.number]} of {table.source} are the same run (seed {seed}) "
                "with other accuracies. Keep its last epoch, or name what they differ in with --setup."
            )
        rows.add(row)
        known[point] = trial
        kept.append(trial)
    return kept, [f"{doubled} runs are there twice and count once."] if doubled else []


def _without_copies(trials: Sequence[TrialRow]) -> tuple[list[TrialRow], list[str]]:
    """Return the runs without copies of them under other names or seeds.

    Such a table has each accuracy of each point equally often: copies would pass for replicates that agree
    to the last digit, and so for certainty.
    """
    groups: dict[tuple[str, str, float | None], list[TrialRow]] = {}
    for trial in trials:
        if trial.state == "complete":
            point = setup_key(trial.setup), setup_key(trial.params), trial.val_accuracy
            groups.setdefault(point, []).append(trial)
    times = math.gcd(*map(len, groups.values()))
    if times < 2 or len(groups) < _ENOUGH_GROUPS:
        return list(trials), []
    copies = {t.number for own in groups.values() for t in own[len(own) // times :]}
    return [trial for trial in trials if trial.number not in copies], [
        f"Each accuracy of each point is there {times} times, as where runs were copied or a seed changes "
        "nothing: they count once."
    ]
