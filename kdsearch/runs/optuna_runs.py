"""The trials of a plain Optuna study as runs."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdsearch.errors import RequestError
from kdsearch.runs.asked import Asked
from kdsearch.runs.columns import TEMPERATURES, find_column, plain_name
from kdsearch.runs.files import RunTable
from kdsearch.runs.runs import Runs, runs_of, study_name
from kdsearch.runs.space import Dimensions, SimpleDimension
from kdsearch.spec import TEMPERATURE, Choices, Range, setup_key
from kdsearch.trial import DIVERGED

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial

METRIC = "value"
"""What stands for the objective where its column is named."""


def load_runs(url: str, name: str | None, asked: Asked, *, points: float | None = None) -> Runs:
    """Return the runs of a study in an Optuna storage.

    Args:
        url: The database of Optuna's storage.
        name: The study's name.
        asked: What a person said of its parameters.
        points: What one point of accuracy is in the objective's unit.

    Raises:
        RequestError: There is no such storage or study, or its trials can't be read as runs.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    address, shown = _address(url)
    try:
        known = optuna.get_all_study_names(address)
        if name is None and len(known) == 1:
            name = known[0]
        if name not in known:
            raise RequestError(
                f"`--study` must be a study of {shown}, got {name!r}. Known: {', '.join(known) or 'none'}."
            )
        study = optuna.load_study(study_name=name, storage=address)
    except RequestError:
        raise
    except Exception as error:  # SQLAlchemy's, the driver's, Optuna's own
        reason = str(error).partition("\n")[0]
        raise RequestError(
            f"`--optuna` must be the URL of an Optuna storage, got {shown!r}: {reason}"
        ) from error
    return runs_of_study(study, asked, points=points)


def _address(url: str) -> tuple[str, str]:
    """Return the URL of a storage that may be there, for Optuna and for people. To ask must make no file."""
    from kdsearch.storage import read_url, shown_url

    parsed = read_url(url, "`--optuna`")
    shown = shown_url(parsed)
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").exists():
        raise RequestError(
            f"`--optuna` must be the URL of a storage that is there, got {shown!r}: no such file."
        )
    return url, shown


def runs_of_study(study: "Study", asked: Asked, *, points: float | None = None) -> Runs:
    """Return the finished trials of an Optuna study as runs.

    Their ranges are those that they were sampled from.

    Args:
        study: The study, with one objective.
        asked: Which parameter is what. A parameter that is in no role is tuned.
        points: What one percentage point of accuracy is in the objective's unit. Without it the objective
            must be an accuracy that is maximised. What is minimised counts as 1 - value / (100 points).

    Raises:
        RequestError: A name is not of the study's parameters, or the objective is no accuracy.
    """
    trials = [t for t in study.get_trials(deepcopy=False) if t.state.is_finished()]
    if len(study.directions) > 1:
        raise RequestError(
            f"`study` must have one objective, got {len(study.directions)} in {study.study_name!r}."
        )
    if not trials:
        raise RequestError(f"`study` must have finished trials, got none in {study.study_name!r}.")
    table = _table_of(study, trials, points)
    in_full = _asked_in_full(table, trials, asked)
    if points is not None:
        in_full = replace(in_full, unit="fraction")
    runs = runs_of(table, in_full)
    return replace(
        runs, name=study_name(study.study_name), dimensions=_sampled_from(runs, trials, in_full.temperature)
    )


def _table_of(study: "Study", trials: Sequence["FrozenTrial"], points: float | None) -> RunTable:
    from optuna.study import StudyDirection

    maximised = study.direction == StudyDirection.MAXIMIZE
    if not maximised and points is None:
        raise RequestError(
            f"`study` must maximise an accuracy, got {study.study_name!r}, which minimises. Say with "
            "`points` what one percentage point is in its unit, such as 0.01 for an error between 0 and 1."
        )
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    columns: dict[str, list[Any]] = {name: [_cell(trial, name) for trial in trials] for name in names}
    taken = {plain_name(name) for name in names}
    for name in dict.fromkeys(name for trial in trials for name in trial.user_attrs):
        if plain_name(name) not in taken:
            columns[f"user_attrs.{name}"] = [_plain(trial.user_attrs.get(name)) for trial in trials]
    columns[METRIC] = [_measured(trial, maximised, points) for trial in trials]
    columns["state"] = [trial.state.name for trial in trials]
    return RunTable(f"the Optuna study {study.study_name!r}", columns, [f"trial {t.number}" for t in trials])


def _cell(trial: "FrozenTrial", name: str) -> Any:
    return _plain(trial.params.get(name))


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else json.dumps(value, default=str)


def _measured(trial: "FrozenTrial", maximised: bool, points: float | None) -> float | None:
    """Return a trial's accuracy. NaN where it diverged, None where it has none."""
    if trial.state.name == "FAIL":
        reported = trial.intermediate_values.values()
        diverged = trial.user_attrs.get("reason") == DIVERGED or not all(map(math.isfinite, reported))
        return math.nan if diverged else None
    if trial.state.name != "COMPLETE" or trial.value is None:
        return None
    if points is None or not math.isfinite(trial.value):
        return trial.value
    share = trial.value / (100 * points)
    return share if maximised else 1 - share


def _asked_in_full(table: RunTable, trials: Sequence["FrozenTrial"], asked: Asked) -> Asked:
    """Return what is asked with every other parameter as tuned. A name that is no parameter is refused."""
    params = list(dict.fromkeys(name for trial in trials for name in trial.params))
    for option, names in (("setup", asked.setup), ("tuned", asked.tuned or ())):
        for name in names:
            if find_column(table.columns, name) is None:
                raise RequestError(
                    f"`{option}` must name parameters of {table.source}, got {name!r}. "
                    f"Parameters: {', '.join(params)}."
                )
    temperature = asked.temperature or _usual_temperature(params)
    if temperature is None:
        raise RequestError(
            f"`temperature` must be named: by its usual names it is none of {', '.join(params)}, or several. "
            "Say which."
        )
    if temperature not in params:
        raise RequestError(
            f"`temperature` must be a parameter of {table.source}, got {temperature!r}. "
            f"Parameters: {', '.join(params)}."
        )
    setup = tuple(str(find_column(table.columns, name)) for name in asked.setup)
    rest = tuple(name for name in params if name not in (*setup, temperature, *asked.ignore))
    metric = asked.metric or METRIC
    seed = asked.seed or next((name for name in rest if plain_name(name) == "seed"), None)
    tuned = tuple(name for name in rest if name != seed) if asked.tuned is None else asked.tuned
    return replace(asked, setup=setup, temperature=temperature, tuned=tuned, metric=metric, seed=seed)


def _usual_temperature(params: Sequence[str]) -> str | None:
    found = [name for name in params if plain_name(name) in TEMPERATURES]
    return found[0] if len(found) == 1 else None


def _sampled_from(
    runs: Runs, trials: Sequence["FrozenTrial"], temperature: str | None
) -> dict[str, Dimensions]:
    """Return the setups' ranges as the trials were sampled from. What lies outside widens them."""
    found: dict[str, Dimensions] = {}
    by_at = dict(enumerate(trials))
    for key, tried in runs.dimensions.items():
        own = [by_at[row.number] for row in runs.trials if setup_key(row.setup) == key]
        names = {**runs.columns.get(key, {}), TEMPERATURE: temperature or ""}
        found[key] = {
            path: _range_of(names.get(path, path), own, dimension, above_0=path == TEMPERATURE)
            for path, dimension in tried.items()
        }
    return found


def _range_of(
    name: str, trials: Sequence["FrozenTrial"], tried: SimpleDimension, *, above_0: bool
) -> SimpleDimension:
    distributions = [trial.distributions[name] for trial in trials if name in trial.distributions]
    ranges = [own for d in distributions if (own := _dimension(d)) is not None]
    if isinstance(tried, Choices) or not ranges:
        return tried
    low = min([tried.low, *(r.low for r in ranges if r.low > 0 or not above_0)])
    high = max(tried.high, *(r.high for r in ranges))
    log = low > 0 and (tried.log or any(r.log for r in ranges))
    return Range(low=low, high=high, log=log, integer=tried.integer and all(r.integer for r in ranges))


def _dimension(distribution: "BaseDistribution") -> Range | None:
    from optuna.distributions import CategoricalDistribution

    if isinstance(distribution, CategoricalDistribution) or distribution.single():
        return None
    about: Mapping[str, Any] = distribution._asdict()
    return Range(
        low=about["low"],
        high=about["high"],
        log=about["log"],
        integer=type(distribution).__name__.startswith("Int"),
    )
