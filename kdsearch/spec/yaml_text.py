"""YAML as its version 1.2 reads it, and no key twice."""

import json
import re
from typing import Any, NamedTuple, TypeAlias

import yaml

from kdsearch.spec.bounds import BoundedYaml, problem_in_document

Lines: TypeAlias = dict[tuple[str, ...], int]
"""The line of each key and item, by the keys that lead to it."""

_TAG = "tag:yaml.org,2002:"
_MERGE = _TAG + "merge"
_NUMBERS = list("-+0123456789.")
_IMPLICIT = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", _NUMBERS),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        _NUMBERS,
    ),
    ("merge", r"<<", ["<"]),  # of 1.1, but it means nothing else in 1.2
)
"""The core schema: `no`, `on`, `1:30`, `1_000` and dates are texts, `010` is ten, `1e-4` a number."""

_NO_SCALAR = tuple("[{&*!|>%@`")
"""How a text begins that can't be a scalar of one line."""


class NotYamlError(ValueError):
    """A text is no YAML, or says something twice.

    Args:
        problem: What is wrong, in a few words.
        line: Where, counted from 1; None where that is unknown.
    """

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = line


class Document(NamedTuple):
    """What a YAML text holds, and the lines of its keys."""

    value: Any
    lines: Lines


class _Loader(BoundedYaml):
    """Knows the core schema alone, within bounds."""

    def whole(self, node: yaml.Node) -> int:
        """Return a whole number; zeros before it mean nothing."""
        text = self._matching(node, "int")
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)

    def real(self, node: yaml.Node) -> float:
        """Return a number."""
        text = self._matching(node, "float").lower()
        return float(text.replace(".inf", "inf").replace(".nan", "nan"))

    def truth(self, node: yaml.Node) -> bool:
        """Return true or false."""
        return self._matching(node, "bool").lower() == "true"

    def _matching(self, node: yaml.Node, kind: str) -> str:
        text = str(self.construct_scalar(node))  # type: ignore[arg-type]  # raises where it is none
        if not _RULES[kind].fullmatch(text):
            raise yaml.MarkedYAMLError(problem=f"{text!r} is no {kind}", problem_mark=node.start_mark)
        return text


_RULES = {kind: re.compile(rule) for kind, rule, _ in _IMPLICIT}
_Loader.yaml_implicit_resolvers = {}
for _kind, _rule, _first in _IMPLICIT:
    _Loader.add_implicit_resolver(_TAG + _kind, re.compile(rf"(?:{_rule})\Z"), _first)
_Loader.yaml_constructors = {
    tag: found
    for tag, found in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.removeprefix(_TAG) in ("null", "str", "seq", "map")
}
_Loader.add_constructor(_TAG + "int", _Loader.whole)
_Loader.add_constructor(_TAG + "float", _Loader.real)
_Loader.add_constructor(_TAG + "bool", _Loader.truth)


def read_yaml(text: str) -> Document:
    """Return what a YAML text holds, and the lines of its keys.

    Raises:
        NotYamlError: It is not valid, or a key stands twice.
    """
    try:
        node = _compose(text)
        lines: Lines = {}
        if node is not None:
            _note_lines(node, (), lines)
        loader = _Loader("")
        value = None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise NotYamlError(_in_words(error), line) from error
    except (yaml.YAMLError, ValueError) as error:
        raise NotYamlError(str(error).splitlines()[0]) from error
    if problem := problem_in_document(value):
        raise NotYamlError(problem)
    return Document(value, lines)


def read_scalar(text: str) -> Any:
    """Return the one value that a YAML text is.

    The label of a recipe, which is JSON, is a text as it stands; nothing is made of it.

    Raises:
        NotYamlError: It is a list, a mapping or an alias.
    """
    if text.lstrip()[:1] in _NO_SCALAR:
        try:
            json.loads(text)
        except (ValueError, RecursionError) as error:
            raise NotYamlError("it is neither a scalar nor the label of a recipe") from error
        return text
    try:
        value = read_yaml(text).value
    except NotYamlError:
        return text
    return text if isinstance(value, list | dict) else value


def read_text_mapping(text: str) -> dict[str, str]:
    """Return a YAML or JSON mapping of texts to texts.

    They are as they stand: `no`, `007` and `1.10` too.

    Raises:
        NotYamlError: It is no such mapping, a key stands twice, or a value is missing.
    """
    try:
        node = _compose(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise NotYamlError(_in_words(error), line) from error
    except yaml.YAMLError as error:
        raise NotYamlError(str(error).splitlines()[0]) from error
    if not isinstance(node, yaml.MappingNode):
        raise NotYamlError("it must be a mapping, a line `name: value` for each")
    found: dict[str, str] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode) or not isinstance(value, yaml.ScalarNode):
            raise NotYamlError("a key and its value must be texts, not lists or mappings", line)
        if key.value in found:
            raise NotYamlError(f"the key `{key.value}` stands twice", line)
        if not value.value:
            raise NotYamlError(f"the key `{key.value}` has no value", line)
        found[key.value] = value.value
    return found


def _in_words(error: yaml.MarkedYAMLError) -> str:
    """Return what is wrong. PyYAML takes no tab between tokens, which YAML itself may allow."""
    problem = str(error.problem)
    return "a tab, where YAML wants spaces" if r"'\t'" in problem else problem


def _compose(text: str) -> yaml.Node | None:
    return yaml.compose(text, Loader=_Loader)


def _note_lines(node: yaml.Node, keys: tuple[str, ...], lines: Lines) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[Any] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be a text", problem_mark=key.start_mark)
            meanings = {key.value, _read_key(key)}  # 1, 1.0 and true are one key to Python
            if meanings & seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key `{key.value}` stands twice", problem_mark=key.start_mark
                )
            seen |= meanings
            below = (*keys, str(key.value))
            lines[below] = key.start_mark.line + 1
            _note_lines(value, below, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*keys, str(index))] = item.start_mark.line + 1
            _note_lines(item, (*keys, str(index)), lines)


def _read_key(key: yaml.ScalarNode) -> Any:
    loader = _Loader("")
    return key.value if key.tag == _MERGE else loader.construct_object(key)
