"""From a file, a mapping or a document to a checked spec."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kdsearch.errors import RequestError, SpecError
from kdsearch.spec.bounds import (
    MOST_BYTES,
    MOST_CHARACTERS,
    problem_in_document,
    problem_in_text,
    read_text_file,
    shown,
)
from kdsearch.spec.problems import (
    Problem,
    problems_in_space,
    problems_in_validation,
    problems_without_temperature,
)
from kdsearch.spec.space import with_value
from kdsearch.spec.study import StudySpec
from kdsearch.spec.values import ASKED
from kdsearch.spec.yaml_text import Lines, NotYamlError, read_scalar, read_yaml


def load_spec(source: str | Path | Mapping[str, Any], *, overrides: Sequence[str] = ()) -> StudySpec:
    """Return the checked study spec of a YAML file or a mapping.

    Args:
        source: A path to a YAML file, or the document itself.
        overrides: `PATH=VALUE` texts, VALUE in YAML, that replace values of the document.

    Raises:
        SpecError: The spec has mistakes; every one is named, with its path and line.
        RequestError: The file can't be read, or an override is no `PATH=VALUE` or is replaced by another.

    Example:
        >>> spec = load_spec("studies/quickstart.yaml", overrides=["search.trials=32"])
        >>> spec.name, spec.search.trials
        ('quickstart', 32)
    """
    name = "the study spec" if isinstance(source, Mapping) else str(source)
    lines: Lines = {}
    if isinstance(source, Mapping):
        document = dict(source)
    else:
        document, lines = _read_yaml(Path(source))
    _refuse_replaced(overrides)
    for override in overrides:
        document = _override(document, override)
    if problem := problem_in_document(document):
        raise SpecError([f"can't be read: {problem}."], name)
    spec = _check(document, lines, name, context=ASKED)
    for override in overrides:
        _refuse_void(spec, override)
    return spec


def load_stored_spec(document: Mapping[str, Any], *, changed: bool = False) -> StudySpec:
    """Return the spec of a stored document.

    It was checked when it was stored. What an earlier version took and this one would refuse stays readable.

    Args:
        document: The document.
        changed: Whether its factors and ranges were changed since: then they are checked again.

    Raises:
        SpecError: It is no document of a spec, or factors and ranges have mistakes.
    """
    return _check(document, {}, "the study spec", in_space=changed)


def _check(
    document: Mapping[str, Any],
    lines: Lines,
    name: str,
    *,
    context: Mapping[str, Any] | None = None,
    in_space: bool = True,
) -> StudySpec:
    try:
        spec = StudySpec.model_validate(document, context=context)
        is_asked = context == ASKED
        problems = (
            problems_in_space(spec, asked=is_asked) if in_space else [*problems_without_temperature(spec)]
        )
    except ValidationError as error:
        problems = problems_in_validation(error)
    if problems:
        raise SpecError([_with_line(problem, lines) for problem in problems], name)
    return spec


def _with_line(problem: Problem, lines: Lines) -> str:
    keys = problem.keys
    while keys and keys not in lines:
        keys = keys[:-1]
    return problem.text(line=lines.get(keys) if keys else None)


def _read_yaml(path: Path) -> tuple[dict[str, Any], Lines]:
    try:
        document, lines = read_yaml(read_text_file(path, "The spec"))
    except NotYamlError as error:
        where = f"line {error.line}: " if error.line else ""
        raise SpecError([f"{where}not valid YAML: {error.problem}."], str(path)) from error
    if not isinstance(document, dict):
        raise SpecError(
            [f"must be a mapping of sections, got {type(document).__name__}."],
            str(path),
        )
    return document, lines


def _refuse_void(spec: StudySpec, override: str) -> None:
    """Refuse a value for what the study varies: no trial would have it."""
    path = override.partition("=")[0]
    for section, names, what, values in (
        ("setup", spec.setup, "a factor", "levels"),
        ("tune", spec.tune, "tuned", "range"),
    ):
        for name in names:
            if f"{path}.".startswith(f"{name}."):
                raise RequestError(
                    f"`--set {path}` must name what all trials share, and `{name}` is {what} in this study. "
                    f"Replace its {values} with --set {section}.{name}=…, or edit the file."
                )


def _refuse_replaced(overrides: Sequence[str]) -> None:
    """Refuse a value that a later one replaces."""
    earlier: dict[tuple[str, ...], str] = {}
    for override in overrides:
        path = override.partition("=")[0]
        keys = _keys(path)
        for other, name in earlier.items():
            if other[: len(keys)] == keys:
                raise RequestError(
                    f"`--set {path}` must not replace another: `{name}` is set before it. Keep one of them."
                )
        earlier[keys] = path


def _keys(path: str) -> tuple[str, ...]:
    """Return the keys of the document that a path leads through. Factors and tuned parameters are one key."""
    section, _, rest = path.partition(".")
    return (section, rest) if section in ("setup", "tune") and rest else tuple(path.split("."))


def _override(document: dict[str, Any], override: str) -> dict[str, Any]:
    path, value = parse_assignment(override, "--set", example="optimizer.lr=0.05")
    section, _, rest = path.partition(".")
    if section in ("setup", "tune") and rest:
        return {**document, section: {**(document.get(section) or {}), rest: value}}
    return with_value(document, path, value)


def parse_assignment(text: str, option: str, *, example: str) -> tuple[str, Any]:
    """Return path and value of a `PATH=VALUE` text, VALUE in YAML.

    Args:
        text: The text.
        option: The name of what it was given to.
        example: A right one.

    Raises:
        RequestError: It is no `PATH=VALUE`, or VALUE is not YAML.
    """
    path, value = _split_assignment(text, option, MOST_BYTES, example)
    try:
        return path, read_yaml(value).value
    except NotYamlError as error:
        raise RequestError(
            f"`{option}` must have a YAML value for {path}, got {shown(value)}: {error.problem}."
        ) from error


def parse_level(text: str, option: str, *, example: str) -> tuple[str, Any]:
    """Return path and level of a `PATH=VALUE` text.

    VALUE is one scalar of YAML. A recipe is named by its label, as tables and messages show it.

    Args:
        text: The text.
        option: The name of what it was given to.
        example: A right one.

    Raises:
        RequestError: It is no `PATH=VALUE`, or too long.
    """
    path, value = _split_assignment(text, option, MOST_CHARACTERS, example)
    try:
        return path, read_scalar(value)
    except NotYamlError as error:
        raise RequestError(
            f"`{option}` must have one value in YAML for {path}, got {shown(value)}: {error.problem}."
        ) from error


def _split_assignment(text: str, option: str, most: int, example: str) -> tuple[str, str]:
    path, equals, value = text.partition("=")
    if not (path and equals):
        raise RequestError(f"`{option}` must be PATH=VALUE, got {shown(text)}. Example: {example}.")
    if len(text) > most:
        raise RequestError(f"`{option}` must have at most {most:,} characters, got {len(text):,}.")
    if problem := problem_in_text(text):
        raise RequestError(f"`{option}` can't be read: {problem}.")
    return path, value


def parse_levels(texts: Iterable[str], option: str, *, example: str) -> dict[str, Any]:
    """Return `PATH=VALUE` texts as a mapping; see `parse_level`.

    Raises:
        RequestError: A text is wrong, or a path is given twice.
    """
    found: dict[str, Any] = {}
    for text in texts:
        path, value = parse_level(text, option, example=example)
        if path in found:
            raise RequestError(f"`{option}` must name {path} once, got it twice. Keep one of them.")
        found[path] = value
    return found


def study_schema() -> dict[str, Any]:
    """Return the JSON schema of a study file.

    It knows keys, types and bounds; names that a library has, and what no single value can know, are found by
    `load_spec` alone.
    """
    schema = StudySpec.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "kdsearch study"}


def spec_document(spec: StudySpec) -> dict[str, Any]:
    """Return the spec as a JSON document.

    `load_spec` makes the same spec of it.
    """
    document: dict[str, Any] = json.loads(spec.model_dump_json())
    return document
