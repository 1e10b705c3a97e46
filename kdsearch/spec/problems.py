"""What is wrong with a spec, in words."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from kdsearch.spec.bounds import shown
from kdsearch.spec.claims import idle_claims, problems_in_claims
from kdsearch.spec.idle import idle_settings
from kdsearch.spec.luck import SEED_PATHS
from kdsearch.spec.sections import CommandTrainer, Section
from kdsearch.spec.space import (
    LABELS,
    TEMPERATURE,
    ByFactor,
    Choices,
    Range,
    equal_pair,
    level_label,
    level_name,
)
from kdsearch.spec.study import TRAINING_LEAVES, StudySpec, TrainingSpec
from kdsearch.spec.values import ASKED

_TAGS = frozenset(
    {"Range", "Choices", "ByFactor", "ranges", "Pretraining", "CommandTrainer", "Preprocessing"}
)
_MEMBERS = {
    "bool": "true or false",
    "int": "a number",
    "float": "a number",
    "str": "a text",
    "tuple[str, ...]": "a list",
}
"""How pydantic marks the members of a union, of which a value fits none."""
_MISMATCHES = ("_type", "_parsing", "_from_float")


@dataclass(frozen=True)
class Problem:
    """One mistake; `keys` lead to it in the document."""

    keys: tuple[str, ...]
    message: str

    def text(self, line: int | None) -> str:
        """Return the problem in one line: `` `path` (line N) message``."""
        where = f" (line {line})" if line else ""
        return f"`{'.'.join(self.keys)}`{where} {self.message}" if self.keys else self.message


def problems_in_validation(error: ValidationError, prefix: tuple[str, ...] = ()) -> list[Problem]:
    """Return pydantic's findings as problems, one for each place in the document."""
    found: dict[tuple[str, ...], Problem] = {}
    kinds: dict[tuple[str, ...], dict[str, None]] = {}
    for details in error.errors(include_url=False):
        keys = prefix + tuple(str(key) for key in details["loc"] if not _is_internal(key))
        member = str(details["loc"][-1]) if details["loc"] else ""
        if len(details["loc"]) > 1 and member in _MEMBERS and details["type"].endswith(_MISMATCHES):
            keys = keys[:-1] if keys[-1] == member else keys
            kind = _MEMBERS[member]
            allowed = " or ".join(kinds.setdefault(keys, {}) | {kind: None})
            kinds[keys][kind] = None
            found[keys] = Problem(keys, f"must be {allowed}, got {shown(details['input'])}.")
        elif keys not in found or details["type"] == "value_error":  # ours say more than a union's complaint
            found[keys] = Problem(keys, _message(details))
    return _innermost(list(found.values()))


def _is_internal(key: str | int) -> bool:
    """Tell pydantic's own marks (union tags, `function-after[…]`) from keys of the document."""
    return isinstance(key, str) and (key in _TAGS or "[" in key)


def _innermost(problems: list[Problem]) -> list[Problem]:
    """Drop a union's outer complaint where an inner one is exact.

    The inner one names the very key.
    """
    return [p for p in problems if not any(_is_below(other.keys, p.keys) for other in problems)]


def _is_below(keys: tuple[str, ...], above: tuple[str, ...]) -> bool:
    return len(keys) > len(above) and keys[: len(above)] == above


def _message(details: ErrorDetails) -> str:
    found = details["input"]
    if details["type"] == "extra_forbidden":
        return _unknown_key(tuple(details["loc"]))
    if details["type"] == "missing":
        return "is missing. Add it."
    if details["type"] == "value_error":
        message = str(details["ctx"]["error"])
        return message if message.startswith(("must", "needs")) else f"does not hold: {message}"
    if details["type"] in (
        "too_short",
        "dict_type",
        "model_type",
        "tuple_type",
    ) and found in ([], (), None):
        return f"must not be empty, got {shown(found)}."
    quote = (
        " Quote it, as '010'."
        if details["type"] == "string_type" and isinstance(found, bool | int | float)
        else ""
    )
    return f"must be {_rule(details)}, got {shown(found)}.{quote}"


_RULES = {
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "tuple_type": "a list",
    "string_type": "a text",
    "invalid_key": "a text",
    "int_type": "an integer",
    "int_parsing": "an integer",
    "int_parsing_size": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "union_tag_invalid": "a range or choices",
}


def _rule(details: ErrorDetails) -> str:
    kind = details["type"]
    if kind == "string_pattern_mismatch":
        return "letters, digits, `_`, `-` and `.`, beginning with a letter or digit"
    if kind == "string_too_long":
        return f"at most {details['ctx']['max_length']} characters"
    if kind == "literal_error" and len(details["loc"]) > 1 and isinstance(details["loc"][-1], str):
        expected = details["ctx"]["expected"]
        return f"{expected} or a mapping" if "literal[" in str(details["loc"][-1]) else expected
    return _RULES.get(kind) or details["msg"].removeprefix("Input should be ").removeprefix(
        "Value should "
    ).removeprefix("a valid ")


def _unknown_key(loc: tuple[str | int, ...]) -> str:
    known = _known_keys(loc[:-1])
    close = get_close_matches(str(loc[-1]), known, n=1)
    hint = f" Did you mean `{close[0]}`?" if close else ""
    return f"is not a known key.{hint} Known: {', '.join(known)}."


def _known_keys(loc: tuple[str | int, ...]) -> list[str]:
    model: type[BaseModel] = StudySpec
    by_name = {cls.__name__: cls for cls in (Range, Choices, ByFactor)}
    for key in loc:
        if key in by_name:
            model = by_name[str(key)]
        elif info := model.model_fields.get(str(key)):
            kinds = [k for k in (info.annotation, *get_args(info.annotation)) if _is_section(k)]
            model = kinds[0] if kinds else model
    return list(model.model_fields)


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def problems_in_space(spec: StudySpec, *, asked: bool = False) -> list[Problem]:
    """Return what no single field can know: factors against ranges, and levels against leaves.

    Args:
        spec: The spec.
        asked: Whether a user asks for it now: what was stored may have settings that do nothing.
    """
    found = list(_too_many_setups(spec))
    found += [*_unknown_paths(spec), *_doubled(spec), *_broken_levels(spec), *_not_tuned(spec)]
    found += _fixed_and_drawn(spec)
    found += _broken_command(spec)
    found += _labels_of_one_name(spec)
    found += [Problem(keys, message) for keys, message in problems_in_claims(spec)]
    found += _broken_ranges(spec) if not found else []
    if asked and not found:
        found += [Problem(keys, message) for keys, message in (*idle_settings(spec), *idle_claims(spec))]
    return found if found else list(_broken_combinations(spec))


MOST_SETUPS = 1_000
"""Of one study: each is owed an answer of at least 4 trials, and the model weighs each against all others."""


def _too_many_setups(spec: StudySpec) -> Iterator[Problem]:
    count = math.prod(map(len, spec.setup.values()))
    if count > MOST_SETUPS:
        message = f"must make at most {MOST_SETUPS:,} setups, got {count:,}. Leave out factors or levels."
        yield Problem(("setup",), message)


_OF_THE_STUDY = (StudySpec.model_fields.keys() - TrainingSpec.model_fields.keys()) | {"trainer"}
_OF_ALL_TRIALS = ("training.vary", "training.splits", "dataset.download", "dataset.skip_bad")


def _unknown_paths(spec: StudySpec) -> Iterator[Problem]:
    for section, paths in (("setup", spec.setup), ("tune", spec.tune)):
        for path in paths:
            if path.split(".")[0] in _OF_THE_STUDY or path in _OF_ALL_TRIALS:
                yield Problem((section, path), "holds for the whole study and can't vary within it.")
            elif not spec.is_leaf(path):
                close = get_close_matches(path, sorted(TRAINING_LEAVES), n=1, cutoff=0.5)
                hint = f" Did you mean `{close[0]}`?" if close else ""
                yield Problem((section, path), f"is not a value of the spec.{hint}")
    yield from problems_without_temperature(spec)


def problems_without_temperature(spec: StudySpec) -> Iterator[Problem]:
    """Yield that nothing is searched, where that is so. No version of kdsearch took such a spec."""
    if TEMPERATURE not in spec.tune and TEMPERATURE not in spec.setup:
        yield Problem(
            ("tune", TEMPERATURE),
            "is missing: the temperature is what is searched. Add {low: 1, high: 40, log: true}.",
        )


def _not_tuned(spec: StudySpec) -> Iterator[Problem]:
    named = () if isinstance(spec.search.widen, bool) else spec.search.widen
    for path in named:
        if path not in spec.tune:
            tuned = ", ".join(spec.tune)
            yield Problem(("search", "widen"), f"must name tuned parameters, got {path!r}. Tuned: {tuned}.")


def _fixed_and_drawn(spec: StudySpec) -> Iterator[Problem]:
    """Yield seeds that are drawn and also a factor or tuned."""
    for luck in spec.training.vary:
        for section, paths in (("setup", spec.setup), ("tune", spec.tune)):
            if (path := SEED_PATHS[luck]) in paths:
                message = f"is drawn for each pack, as `training.vary` has {luck}. Keep one of the two."
                yield Problem((section, path), message)


_OWN_NAMES = ("seed", "number", "epochs", "trial")


def _broken_command(spec: StudySpec) -> Iterator[Problem]:
    """Yield what is wrong with a trainer's command.

    It asks for what no trial has, or does not ask for what varies.
    """
    if not isinstance(spec.trainer, CommandTrainer):
        return
    keys, names = ("trainer", "command"), spec.trainer.names
    for name in names:
        if name not in (*_OWN_NAMES, *spec.setup, *spec.tune) and not _is_value(spec, name):
            known = ", ".join((*_OWN_NAMES, *spec.setup, *spec.tune))
            yield Problem(
                keys, f"asks for {{{name}}}, which is no value of a trial. Known: {known}, and other paths."
            )
    for path in (*spec.setup, *spec.tune):
        if path not in names and "trial" not in names:
            yield Problem(
                keys,
                f"must ask for {{{path}}}, which varies from trial to trial. Add it, or {{trial}} for all.",
            )


def _is_value(spec: StudySpec, path: str) -> bool:
    try:
        spec.value_at(path)
    except KeyError:
        return False
    return path.partition(".")[0] in TrainingSpec.model_fields


def _doubled(spec: StudySpec) -> Iterator[Problem]:
    for path in spec.setup.keys() & spec.tune.keys():
        yield Problem(("tune", path), "is also a factor under `setup`. Keep it in one of the two.")
    for path, levels in spec.setup.items():
        seen: set[str] = set()
        read = [_as_read(spec, path, level) for level in levels]
        for level, meaning in zip(levels, map(level_label, read), strict=True):
            if meaning in seen:
                yield Problem(
                    ("setup", path), f"must not name a level twice, got {level_label(level)} again."
                )
            seen.add(meaning)
        if len(seen) == len(levels) and (pair := equal_pair(read)):
            yield Problem(("setup", path), f"must not name levels that are equal, got {pair}.")


def _labels_of_one_name(spec: StudySpec) -> Iterator[Problem]:
    """Files of labels are called by their names alone in tables."""
    files: dict[str, str] = {}
    for level in map(str, spec.setup.get(LABELS, ())):
        other = files.setdefault(level_name(LABELS, level), level)
        if other != level:
            yield Problem(("setup", LABELS), f"must not name files of one name, got {other} and {level}.")


def _as_read(spec: StudySpec, path: str, level: Any) -> Any:
    """Return a level as its leaf has it: `1` and `1.0` are the same number of epochs."""
    try:
        return spec.with_values({path: level}).value_at(path)
    except (ValidationError, KeyError):  # what is wrong with it is told elsewhere
        return level


def _broken_levels(spec: StudySpec) -> Iterator[Problem]:
    for path, levels in spec.setup.items():
        if not spec.is_leaf(path):
            continue
        for index, level in enumerate(levels):
            yield from _value_problems(spec, path, level, ("setup", path, str(index)))


def _broken_ranges(spec: StudySpec) -> Iterator[Problem]:
    for path, dimension in spec.tune.items():
        if not isinstance(dimension, ByFactor):
            yield from _range_problems(spec, path, dimension, ("tune", path))
            continue
        if dimension.by not in spec.setup:
            known = ", ".join(spec.setup) or "none"
            message = f"must name a factor under `setup`, got {dimension.by!r}. Factors: {known}."
            yield Problem(("tune", path, "by"), message)
            continue
        labels = [level_label(level) for level in spec.setup[dimension.by]]
        for label in labels:
            if label not in dimension.ranges:
                message = f"has no range for the level {label} of `{dimension.by}`. Add it."
                yield Problem(("tune", path), message)
        for label, simple in dimension.ranges.items():
            if label not in labels:
                message = f"is no level of `{dimension.by}`. Levels: {', '.join(labels)}."
                yield Problem(("tune", path, label), message)
            yield from _range_problems(spec, path, simple, ("tune", path, label))


def _range_problems(
    spec: StudySpec, path: str, dimension: Range | Choices, keys: tuple[str, ...]
) -> Iterator[Problem]:
    if isinstance(dimension, Choices):
        for index, choice in enumerate(dimension.choices):
            yield from _value_problems(spec, path, choice, (*keys, "choices", str(index)))
        return
    found: list[Problem] = []
    for end in ("low", "high"):
        value = getattr(dimension, end)
        found += _value_problems(spec, path, int(value) if dimension.integer else value, (*keys, end))
    if not found and not dimension.integer:
        inside = math.nextafter(dimension.low, dimension.high)  # the ends may be whole, what is drawn is not
        if any(_value_problems(spec, path, inside, keys)):
            found.append(Problem(keys, f"must have `integer: true`: `{path}` takes whole numbers alone."))
    yield from found


def _value_problems(spec: StudySpec, path: str, value: Any, keys: tuple[str, ...]) -> Iterator[Problem]:
    """Yield what is wrong with one value of a leaf by itself."""
    try:
        spec.with_values({path: value}, context=ASKED)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            if details["loc"] and ".".join(map(str, details["loc"])).startswith(path):
                yield Problem(keys, _message(details))
                return


def _broken_combinations(spec: StudySpec) -> Iterator[Problem]:
    """Yield setups whose levels and ranges' ends contradict one another.

    Each finding comes once.
    """
    seen: set[str] = set()
    for setup in spec.setups():
        labels = ", ".join(f"{path}={level_label(level)}" for path, level in setup.items())
        where = f" (in the setup {labels})" if setup else ""
        for params in _corners(spec.dimensions(setup)):
            try:
                spec.resolve(setup, params)
            except ValidationError as error:
                for problem in problems_in_validation(error):
                    if problem.text(None) not in seen:
                        seen.add(problem.text(None))
                        yield Problem(problem.keys, problem.message + where)


def _corners(dimensions: Mapping[str, Range | Choices]) -> Iterator[dict[str, Any]]:
    """Yield the corner points of the ranges that are tried.

    They are the point at all lower ends, and for each parameter the one with its upper end instead.
    """
    low = {path: _ends(dimension)[0] for path, dimension in dimensions.items()}
    yield low
    for path, dimension in dimensions.items():
        yield {**low, path: _ends(dimension)[1]}


def _ends(dimension: Range | Choices) -> tuple[Any, Any]:
    if isinstance(dimension, Choices):
        return dimension.choices[0], dimension.choices[-1]
    kind = int if dimension.integer else float
    return kind(dimension.low), kind(dimension.high)
