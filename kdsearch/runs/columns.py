"""Which column of a table is what, as asked or by name."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from kdsearch.errors import RequestError
from kdsearch.runs.asked import Asked
from kdsearch.runs.cells import is_missing, levels_in
from kdsearch.runs.files import RunTable
from kdsearch.spec.bounds import shown
from kdsearch.spec.roles import LEARNING_RATES

_PREFIX = re.compile(r"^(config|params?|metrics?|summary|hparams|hyperparameters|data)[./_]", re.IGNORECASE)

TEMPERATURES = frozenset(
    {
        *("temperature", "temp", "t", "tau", "kd_t", "kd_temp", "kd_temperature", "kd_tau", "distill_t"),
        *("distill_temp", "distill_temperature", "distillation_temperature", "distill_tau", "soft_t"),
        *("objective_temperature", "softmax_temperature", "soft_temperature", "loss_temperature"),
    }
)
_OTHER_SCALE = re.compile(r"1/.*|(.*[\W_])?(log\d*|ln|inv|inverse|reciprocal)[ _(]?T[^./]*", re.IGNORECASE)
SEEDS = frozenset({"seed", "random_seed", "rng_seed", "manual_seed", "seed_id", "replicate"})
STATES = frozenset({"state", "status"})
_ACCURACY = r"(top_?1|top1_acc|acc_?1|acc|accuracy|top1_accuracy|acc_top1|miou|mean_iou)"
_VALIDATION = re.compile(
    rf"(best_|final_|last_|max_)?(val|valid|validation|eval|dev)_{_ACCURACY}|{_ACCURACY}_(val|valid|eval)"
)
_PLAIN = re.compile(rf"(best_|final_|last_|max_)?{_ACCURACY}")
_TEST = re.compile(rf"(best_|final_|last_|max_)?test_{_ACCURACY}|{_ACCURACY}_test")
_NUMBERED = re.compile(r"(.*[a-z])_?([0-46-9])")  # acc_1 is a top-1 accuracy beside acc_5, not beside acc_0
_MEASURED = re.compile(
    r".*(loss|acc|accuracy|top1|top5|error|f1|auc|precision|recall|entropy|agreement|time|seconds|duration|"
    r"runtime|memory|grad|norm|ece|nll|kl|score|miou|iou|bleu|rouge|perplexity)\d*(_.*)?"
)
_LOWER_IS_BETTER = re.compile(
    r"(.*_)?([a-z]*\d*(loss|losses|error|err)\d*|nll|perplexity|ppl|xent|mse|rmse|mae|ece|brier|wer|cer|"
    r"cross_entropy|ce|kl|regret)(_.*)?"
)
_BOOKKEEPING = frozenset(
    {
        *(
            "name",
            "id",
            "run_id",
            "run_uuid",
            "run_name",
            "uid",
            "uuid",
            "number",
            "trial",
            "trial_id",
            "index",
        ),
        *("user", "notes", "tags", "created", "updated", "group", "job_type", "sweep", "host", "hostname"),
        *(
            "device",
            "gpu",
            "pack",
            "pack_size",
            "executor",
            "draw",
            "reason",
            "state",
            "status",
            "sweep_name",
        ),
        *("path", "dir", "logdir", "log_dir", "output_dir", "checkpoint", "artifact_uri", "experiment_id"),
        *("start_time", "end_time", "date", "datetime", "datetime_start", "datetime_complete", "timestamp"),
        *("description", "comment", "step", "lifecycle_stage", "user_id", "git_commit", "commit", "url"),
    }
)
EPOCHS = ("epochs", "n_epochs", "num_epochs", "max_epochs")
"""Plain names of the epochs that a run was trained for."""

_LENGTHS = frozenset({*EPOCHS, "epoch", "training_epochs"})
"""How long a run was: a condition however many lengths there are."""

_MOST_LEVELS = 12
"""By hand: a column with more distinct values is a measurement or a tuned number."""


def plain_name(column: str) -> str:
    """Return a column's name in small letters, of any alphabet, joined by `_`.

    An export's prefix and words for percent at its end are left out.
    """
    name = _PREFIX.sub("", column.strip())
    name = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
    name = re.sub(r"[\W_]+", "_", name.lower().replace("%", "_percent")).strip("_")
    return re.sub(r"_(percent|pct|perc)$", "", name)


def short_name(column: str, all_columns: Iterable[str]) -> str:
    """Return a column's name without an export's prefix, where unambiguous.

    It stays whole where the rest is another column's name.
    """
    name = _PREFIX.sub("", column)
    others = [other for other in all_columns if other != column]
    return column if not name or any(name in (other, _PREFIX.sub("", other)) for other in others) else name


@dataclass(frozen=True)
class Columns:
    """Which column of a table is what.

    `guessed` are those that nobody named. `passed_over` are settings with too many values to be conditions.
    """

    setup: tuple[str, ...]
    tuned: tuple[str, ...]
    temperature: str
    metric: str
    seed: str | None
    test: str | None
    state: str | None
    guessed: dict[str, str]
    passed_over: tuple[str, ...] = ()

    @property
    def named(self) -> tuple[str, ...]:
        """All of them."""
        some = (self.temperature, self.metric, self.seed, self.test, self.state)
        return (*self.setup, *self.tuned, *(column for column in some if column is not None))


def choose_columns(table: RunTable, asked: Asked) -> Columns:
    """Return which column is what.

    Raises:
        RequestError: A name is unknown, a guess would be ambiguous, or runs differ in columns without a say.
    """
    guessed: dict[str, str] = {}
    every, ignored = table, {_named(table, name, "ignore") for name in asked.ignore}
    _refuse_ignored(table, asked, ignored)
    table = replace(table, columns={name: c for name, c in table.columns.items() if name not in ignored})
    setup = tuple(_named(table, name, "setup") for name in asked.setup)
    temperature = _temperature(table, asked.temperature, guessed)
    metric = _metric(table, asked.metric, guessed)
    seed = _seed(table, asked.seed, setup, guessed)
    tuned = _tuned(table, asked.tuned, setup, guessed)
    tests = [c for c in _filled(table) if _TEST.fullmatch(plain_name(c)) and c != metric]
    states = [c for c in _filled(table) if plain_name(c) in STATES and c not in setup]
    columns = Columns(
        setup,
        tuned,
        temperature,
        metric,
        seed,
        test=tests[0] if len(tests) == 1 else None,
        state=states[0] if len(states) == 1 else None,
        guessed=guessed,
    )
    _check_distinct(columns)
    _refuse_unnamed(every, columns, ignored)
    return replace(columns, passed_over=tuple(c for c in table.columns if _is_passed_over(table, c, columns)))


def find_column(columns: Iterable[str], name: str) -> str | None:
    """Return the column that a name means: the very one, else the only one of that plain name."""
    columns = list(columns)
    if name in columns:
        return name
    found = [column for column in columns if plain_name(column) == plain_name(name)]
    return found[0] if len(found) == 1 else None


def _named(table: RunTable, name: str, option: str) -> str:
    found = find_column(table.columns, name)
    if found is not None:
        return found
    same = [column for column in table.columns if plain_name(column) == plain_name(name)]
    if same:
        raise RequestError(
            f"`{option}` must name one column, got {name!r}, which may be {' or '.join(same)}."
        )
    close = get_close_matches(name, list(table.columns), n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    known = ", ".join(list(table.columns)[:30])
    raise RequestError(
        f"`{option}` must name a column of {table.source}, got {shown(name)}.{hint} Columns: {known}."
    )


def _filled(table: RunTable) -> list[str]:
    return [name for name, cells in table.columns.items() if not all(map(is_missing, cells))]


def _temperature(table: RunTable, asked: str | None, guessed: dict[str, str]) -> str:
    if asked is not None:
        column = _named(table, asked, "temperature")
        if _OTHER_SCALE.fullmatch(column):
            raise RequestError(
                f"`temperature` must name temperatures themselves, got {column!r}, by its name their "
                "logarithm or inverse. Write T as a column `temperature`."
            )
        return column
    found = [column for column in _filled(table) if plain_name(column) in TEMPERATURES]
    if len(found) != 1:
        why = f"may be {' or '.join(found)}" if found else f"is none of {', '.join(list(table.columns)[:30])}"
        raise RequestError(
            f"`temperature` must be named: by its usual names it {why}. Say --temperature COLUMN."
        )
    guessed["temperature"] = found[0]
    return found[0]


def _metric(table: RunTable, asked: str | None, guessed: dict[str, str]) -> str:
    if asked is not None:
        return _accuracy_named(table, asked)
    filled = _filled(table)
    validation = [c for c in filled if _VALIDATION.fullmatch(plain_name(c))]
    plain = [c for c in filled if _PLAIN.fullmatch(plain_name(c))]
    values = [c for c in filled if plain_name(c) == "value"]
    tests = [c for c in filled if _TEST.fullmatch(plain_name(c))]
    found = next((group for group in (validation + plain, values, tests) if group), [])
    found = [*found, *(c for c in filled if c not in found and any(_are_a_series(c, own) for own in found))]
    if len(found) != 1:
        why = f"may be {' or '.join(found)}" if found else f"is none of {', '.join(list(table.columns)[:30])}"
        raise RequestError(f"`metric` must be named: by its usual names it {why}. Say --metric COLUMN.")
    guessed["metric"] = found[0]
    return found[0]


def _are_a_series(column: str, other: str) -> bool:
    """Return whether two columns are numbered, as those of one run's seeds are."""
    first, second = (_NUMBERED.fullmatch(plain_name(name)) for name in (column, other))
    return first is not None and second is not None and first[1] == second[1]


def _accuracy_named(table: RunTable, asked: str) -> str:
    """Return the metric's column that was asked for.

    Raises:
        RequestError: By its name its lowest value is the best.
    """
    column = _named(table, asked, "metric")
    name = plain_name(column)
    if "acc" not in name and _LOWER_IS_BETTER.fullmatch(name):
        raise RequestError(
            f"`metric` must name accuracies, of which the highest is best, got {column!r}, by its name a "
            "loss or an error, which is no accuracy when it is negated either. Name a column of accuracies; "
            "of error rates, negated or not, write 1 - error as a column `accuracy`."
        )
    return column


def _seed(table: RunTable, asked: str | None, setup: Sequence[str], guessed: dict[str, str]) -> str | None:
    if asked is not None:
        return _named(table, asked, "seed")
    found = [c for c in _filled(table) if plain_name(c) in SEEDS and c not in setup]
    if len(found) > 1:
        raise RequestError(f"`seed` must be named: it may be {' or '.join(found)}. Say --seed COLUMN.")
    if found:
        guessed["seed"] = found[0]
    return found[0] if found else None


def _tuned(
    table: RunTable, asked: tuple[str, ...] | None, setup: Sequence[str], guessed: dict[str, str]
) -> tuple[str, ...]:
    if asked is not None:
        return tuple(_named(table, name, "tuned") for name in asked)
    rates = [c for c in learning_rates(table) if c not in setup]
    varied = [c for c in rates if len(set(levels_in(table.columns[c]))) > 1]
    if len(varied) > 1:
        raise RequestError(
            f"`tuned` must be named: the learning rate may be {' or '.join(varied)}. Say --tuned."
        )
    if varied:
        guessed["tuned"] = varied[0]
    return tuple(varied)


def learning_rates(table: RunTable) -> list[str]:
    """Return the columns that are a learning rate by their name."""
    return [column for column in _filled(table) if plain_name(column) in LEARNING_RATES]


def _refuse_ignored(table: RunTable, asked: Asked, ignored: Collection[str]) -> None:
    """Refuse a column that is to be ignored and to have a part. What is guessed is none that is ignored."""
    named = (*asked.setup, *(asked.tuned or ()), asked.temperature, asked.metric, asked.seed)
    for name in filter(None, named):
        if find_column(table.columns, name) in ignored:
            raise RequestError(f"`ignore` must name columns without a part, got {name!r}. Name it once.")


def _check_distinct(columns: Columns) -> None:
    named = columns.named
    for column in dict.fromkeys(named):
        if named.count(column) > 1:
            raise RequestError(
                f"`{column}` must be one of setup, tuned, temperature, metric and seed, got it twice. "
                "Name it once."
            )


def _refuse_unnamed(table: RunTable, columns: Columns, ignored: set[str]) -> None:
    """Refuse runs that differ in a condition that has no role.

    Their mean would answer nothing.
    """
    unnamed = [
        column
        for column in table.columns
        if column not in columns.named
        and column not in ignored
        and not _is_measured(column)
        and _is_condition(table, column, columns)
    ]
    if unnamed:
        each = "; ".join(f"{column} ({_levels_text(table.columns[column])})" for column in unnamed[:4])
        more = f" and {len(unnamed) - 4} more" if len(unnamed) > 4 else ""
        raise RequestError(
            f"`setup` must say what the runs differ in, which they do in {each}{more}. Name each with "
            "--setup or --tuned, or pass over it with --ignore."
        )


def _is_passed_over(table: RunTable, column: str, columns: Columns) -> bool:
    """Return whether a column without a role may be a setting that was drawn anew for each run."""
    if column in columns.named or _is_measured(column) or plain_name(column) in LEARNING_RATES:
        return False
    levels = levels_in(table.columns[column])
    return len(set(levels)) > _MOST_LEVELS and any(
        isinstance(level, float) and not level.is_integer() for level in levels
    )


def _is_measured(column: str) -> bool:
    name = plain_name(column)
    if column.startswith(("_", "tags.", "system/", "system_attrs", "user_attrs")) or name in _BOOKKEEPING:
        return True
    return bool(_MEASURED.fullmatch(name))


def _is_condition(table: RunTable, column: str, columns: Columns) -> bool:
    levels = levels_in(table.columns[column])
    distinct = set(levels)
    most = len(levels) if plain_name(column) in _LENGTHS else _MOST_LEVELS
    if not 2 <= len(distinct) <= min(most, max(2, len(levels) // 2)):
        return False
    named = (*columns.setup, *columns.tuned, columns.temperature)
    return not any(_follows(levels, table.columns[other]) for other in named)


def _follows(levels: Sequence[Any], other: Sequence[Any]) -> bool:
    """Return whether a column says nothing that another does not. Each of its levels has one level.

    A column that differs from run to run, as a seed does, tells nothing of that.
    """
    keys, known = levels_in(other), dict[Any, Any]()
    if 2 * len(set(keys)) > len(keys):
        return False
    return all(known.setdefault(key, level) == level for key, level in zip(keys, levels, strict=True))


def _levels_text(cells: Sequence[Any]) -> str:
    levels = list(dict.fromkeys(str(level) for level in levels_in(cells)))
    return ", ".join(levels[:4]) + (", …" if len(levels) > 4 else "")
