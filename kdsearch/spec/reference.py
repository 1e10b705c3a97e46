"""The reference part of `docs/study-file.md`, from the JSON schema.

`python -m kdsearch.spec.reference` writes it into the page, between two marks.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from kdsearch.spec.bounds import LARGEST_COLUMN
from kdsearch.spec.loading import study_schema

Schema: TypeAlias = Mapping[str, Any]

PAGE = Path("docs/study-file.md")
COMMAND = "python -m kdsearch.spec.reference"
BEGIN = f"<!-- Made of the models in kdsearch/spec by `{COMMAND}`: change their texts, not these. -->"
END = "<!-- The end of what is made. -->"

SEE = {
    "dataset.name": "[Own data](#own-data)",
    "dataset.kind": "[Texts](#texts)",
    "student.arch": "[Networks](#networks)",
    "teacher.arch": "[Networks](#networks)",
    "objective.name": (
        "[Objectives of your own](#objectives-of-your-own), "
        "[rules that need no search](#rules-that-need-no-search)"
    ),
    "objective.temperature_ratio": "[A temperature that moves](#a-temperature-that-moves)",
    "training.vary": "[Whose luck](answers.md#whose-luck)",
    "search.pruner": "[Pruning, measured](benchmarks.md#pruning)",
    "claims": "[Claims](claims.md)",
    "trainer": "[A training loop of your own](own-trainer.md)",
    "artifacts": "[Artifacts at a URL](cluster.md#artifacts-at-a-url)",
}
"""The chapter that says more of a path."""

_TYPES = {"integer": "whole number", "number": "number", "string": "text", "object": "mapping"}
_BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}
_WHERE_NO_TYPE = "any value"


def reference() -> str:
    """Return the tables of every section and every field, as Markdown."""
    schema = study_schema()
    sections = dict(_sections(schema, schema, ""))
    chapters = [_chapter(path or "At the top", found, path) for path, found in sections.items()]
    paths = {found["title"] for found in sections.values()}
    forms = [_chapter(name, found, None) for name, found in schema["$defs"].items() if name not in paths]
    return "\n\n".join([*chapters, *forms])


def with_reference(page: str) -> str:
    """Return the page with its reference part made anew."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{reference()}\n\n{END}{rest.partition(END)[2]}"


def _sections(schema: Schema, whole: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """Yield each section that has dotted paths, from the top."""
    yield path, schema
    for name, field in schema["properties"].items():
        if "$ref" in field:
            yield from _sections(_referred(field, whole), whole, f"{path}.{name}".lstrip("."))


def _referred(field: Schema, whole: Schema) -> Schema:
    found: Schema = whole["$defs"][_name(field)]
    return found


def _name(field: Schema) -> str:
    return str(field["$ref"]).rpartition("/")[2]


def _chapter(title: str, section: Schema, path: str | None) -> str:
    """Return one section's heading, text and table. A form without a path has bare names."""
    prefix = f"{path}." if path else ""
    required = section.get("required", [])
    fields = sorted(section["properties"].items(), key=lambda named: named[0] not in required)
    rows = [
        _row(prefix + name, field, is_required=name in required)
        for name, field in fields
        if "$ref" not in field
    ]
    if isinstance(levels := section.get("additionalProperties"), Mapping):
        rows.append(_row("LEVEL", levels, is_required=True))
    head = ["| name | value | default | meaning |", "| --- | --- | --- | --- |"]
    heading = f"### `{title}`" if path else f"### {title}"
    return "\n".join([heading, "", section["description"], "", *head, *rows])


def _row(path: str, field: Schema, *, is_required: bool) -> str:
    default = "required" if is_required else _default(field.get("default"))
    more = f" See {SEE[path]}." if path in SEE else ""
    cells = (f"`{path}`", _value(field), default, field["description"] + more)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _default(default: Any) -> str:
    if default is None or default in ({}, []):
        return "none"
    if isinstance(default, float):
        return f"`{default:g}`"
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def _value(field: Schema) -> str:
    """Return in plain words what a field takes."""
    if options := field.get("anyOf") or field.get("oneOf"):
        words = [_value(option) for option in options if option.get("type") != "null"]
        return ", or ".join(dict.fromkeys(words))
    if "$ref" in field:
        return f"[{_name(field)}](#{_name(field).lower()})"
    if names := field.get("enum") or field.get("examples"):
        more = "" if "enum" in field or names[-1].endswith(":name") else ", …"
        return ", ".join(f"`{name}`" for name in names) + more
    if "const" in field:
        return f"`{field['const']}`"
    return _typed(field)


def _typed(field: Schema) -> str:
    match field.get("type"):
        case "boolean":
            return "`true` or `false`"
        case "array":
            return f"list of: {_value(field['items'])}"
        case "object" if isinstance(below := field.get("additionalProperties"), Mapping):
            return f"mapping; each value: {_value(below)}"
        case None:
            return _WHERE_NO_TYPE
        case kind:
            unit = f" of {field['unit']}" if "unit" in field else ""
            return ", ".join([_TYPES[kind] + unit, *_bounds(field)])


def _bounds(field: Schema) -> Iterator[str]:
    """Yield a number's bounds in words.

    The largest that a database holds is left out.
    """
    for key, word in _BOUNDS.items():
        if key in field and field[key] < LARGEST_COLUMN:
            yield f"{word} {field[key]:g}"


if __name__ == "__main__":
    PAGE.write_text(with_reference(PAGE.read_text()))
