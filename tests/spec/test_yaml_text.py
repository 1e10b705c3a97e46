"""YAML's core schema: every text is what it looks like."""

import math
from typing import Any

import pytest

from kdsearch.spec.yaml_text import NotYamlError, read_text_mapping, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 10), ("-007", -7), ("0o17", 15), ("0x1F", 31), ("+3", 3),
        ("1e-4", 1e-4), ("1.", 1.0), (".5", 0.5), ("-.inf", -math.inf),
        ("true", True), ("FALSE", False), ("null", None), ("~", None), ("", None),
        ("1:30", "1:30"), ("1_000", "1_000"), ("0b11", "0b11"), ("2026-01-31", "2026-01-31"),
        ("yes", "yes"), ("No", "No"), ("on", "on"), ("off", "off"), ("y", "y"), ("=", "="), ("1.2.3", "1.2.3"),
        ("'true'", "true"), ("!!str 12", "12"), ("!!float 1", 1.0),
        ("{<<: {a: 1, b: 2}, b: 3}", {"a": 1, "b": 3}),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    found = read_yaml(text).value
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    "text",
    [
        "{a: 1, a: 2}",
        "{1: a, 1.0: b}",
        "{1: a, true: b}",
        "{1: a, '1': b}",
        "{a: {b: 1, b: 1}}",
        "{~: a, null: b}",
    ],
)
def test_a_key_that_stands_twice_is_refused(text: str) -> None:
    with pytest.raises(NotYamlError, match="stands twice"):
        read_yaml(text)


@pytest.mark.parametrize(
    "text", ["!!int 1.5", "!!bool maybe", "!!bool yes", "!!timestamp x", "!!set {a}", "!!python/name:os.system ''", "a: [", "a: 1\n---\nb: 2", "\x00"]
)  # fmt: skip
def test_what_is_no_plain_document_is_refused(text: str) -> None:
    with pytest.raises(NotYamlError):
        read_yaml(text)


def test_the_texts_of_a_mapping_stand_as_written() -> None:
    text = "yes: ill\nno: 007\n001: a\n1.10: b\n12:30: on\nnull: c\ntrue: ~\n'x y': \"z\"\n"
    assert read_text_mapping(text) == {
        "yes": "ill", "no": "007", "001": "a", "1.10": "b", "12:30": "on", "null": "c", "true": "~", "x y": "z"
    }  # fmt: skip
    assert read_text_mapping('{"1": 1.0, "2": true}') == {"1": "1.0", "2": "true"}


@pytest.mark.parametrize(
    ("text", "told", "line"),
    [
        ("a: x\nb: y\na: z\n", "`a` stands twice", 3),
        ("a: x\nb:\n", "`b` has no value", 2),
        ("a: x\nb: [y]\n", "must be texts", 2),
        ("- a\n", "must be a mapping", None),
        ("", "must be a mapping", None),
        ("cat,pet\ndog,pet\n", "must be a mapping", None),
        ("a: {\n", "expected", 2),
    ],
)
def test_what_is_no_mapping_of_texts_is_refused(text: str, told: str, line: int | None) -> None:
    with pytest.raises(NotYamlError, match=told) as caught:
        read_text_mapping(text)
    assert caught.value.line == line
