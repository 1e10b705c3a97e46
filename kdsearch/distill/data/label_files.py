"""Files that map each class to its coarse one. Imports no torch.

Keys and values are texts as they stand in the file: `yes`, `001`, `1.10`, `12:30` and `null` may all be
names of folders.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from kdsearch.errors import RequestError

_EMPTY = ("", "~", "null", "Null", "NULL")  # what YAML 1.2 reads as nothing where it is not quoted
_FORM = "Write a line `class: its coarse class` for each class."
_Pairs: TypeAlias = Sequence[tuple[str, str | None]]
"""Each class and its coarse one; None where it is nothing, or no text."""


def read_label_file(path: str) -> Mapping[str, str]:
    """Return the mapping in a JSON or YAML file, as texts.

    Raises:
        RequestError: The file can't be read, names a class twice, or a value is not one name.
    """
    pairs = _pairs(path, _text(path))
    mapping: dict[str, str] = {}
    for name, coarse in pairs:
        if name in mapping:
            raise RequestError(
                f"`dataset.labels` must name each class once, got {path!r} with {name!r} twice."
            )
        if coarse is None:
            raise RequestError(
                f"`dataset.labels` must give each class the name of one coarse class, got {path!r}, where "
                f"that of {name!r} is none. {_FORM}"
            )
        mapping[name] = coarse
    return mapping


def _text(path: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text; save it as UTF-8"
        raise RequestError(
            f"`dataset.labels` must be fine, coarse or a JSON or YAML file, got {path!r} ({reason}). {_FORM}"
        ) from error


def _pairs(path: str, text: str) -> _Pairs:
    pairs = _json_pairs(text)
    if pairs is None:
        pairs = _yaml_pairs(text)
    if not pairs:
        raise RequestError(f"`dataset.labels` must name a file with a mapping, got {path!r}. {_FORM}")
    return pairs


def _json_pairs(text: str) -> _Pairs | None:
    """Return a JSON object's pairs, or None for any other text."""
    try:
        found = json.loads(
            text, object_pairs_hook=lambda pairs: pairs, parse_int=str, parse_float=str, parse_constant=str
        )
    except ValueError:
        return None
    is_object = text.lstrip().startswith("{")
    return [(name, _json_text(value)) for name, value in found] if is_object else None


def _json_text(value: Any) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) and value else None


def _yaml_pairs(text: str) -> _Pairs | None:
    try:
        node = yaml.compose(text, Loader=yaml.BaseLoader)  # which leaves every scalar a text
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    if not isinstance(node, yaml.MappingNode):
        return None
    if not all(isinstance(key, yaml.ScalarNode) for key, _ in node.value):
        return None
    return [(key.value, _yaml_text(value)) for key, value in node.value]


def _yaml_text(node: yaml.Node) -> str | None:
    if not isinstance(node, yaml.ScalarNode):
        return None
    nothing = node.value == "" or (node.style is None and node.value in _EMPTY)
    return None if nothing else str(node.value)
