"""Small texts with huge values are refused.

They are refused before anything is made of them.
"""

import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.datastructures import QueryParams

from kdsearch.errors import RequestError
from kdsearch.service.questions import read_question
from kdsearch.spec import load_spec, parse_assignment, parse_level
from kdsearch.spec.bounds import MOST_BYTES

NAMES = "abcdefghijk"
BOMB = "x=[&a [1,1,1,1,1,1,1,1,1,1]" + "".join(
    f", &{new} [{','.join(10 * [f'*{old}'])}]" for old, new in pairwise(NAMES[:9])
)
STEPS_A_CHARACTER = 2_000
"""Lines of Python; what is usual takes 100 to 300. A quadratic reader takes 20,000 at 1 KB of brackets."""


def steps_of(text: str) -> int:
    """Count the lines of Python that reading a text takes.

    What comes of it does not matter.
    """
    count = 0

    def trace(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        for read in READERS:
            with suppress(RequestError):
                read(text)
    finally:
        sys.settrace(before)
    return count


def load_file(text: str) -> None:
    """Read a text as a study file.

    It is the value of one option among others.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", errors="replace") as file:
        file.write(f"name: odd\noptions: {{x: 1}}\nsetup: {text}\n")
        file.flush()
        load_spec(file.name)


READERS: tuple[Callable[[str], Any], ...] = (
    lambda text: parse_level(f"optimizer.lr={text}", "--where", example=""),
    lambda text: parse_assignment(f"optimizer.lr={text}", "--set", example=""),
    lambda text: read_question(QueryParams([("where", f"optimizer.lr={text}")]), ["where"]),
    lambda text: read_question(QueryParams([("set", text)]), ["set"]),
    load_file,
)


YAMLISH = st.lists(
    st.sampled_from(
        ["[", "]", "{", "}", "&a ", "*a", ",", ": ", "- ", "? ", "\n", " ", '"', "'", "1", "x", "<<"]
    ),
    max_size=200,
).map("".join)


@settings(max_examples=60)
@given(st.one_of(YAMLISH, st.text(max_size=200), YAMLISH.map(lambda text: (text * 200)[:900])))
def test_no_small_text_takes_many_steps(text: str) -> None:
    assert steps_of(text) <= STEPS_A_CHARACTER * (len(text) + 20)


@pytest.mark.parametrize("text", [900 * "[", 450 * "{a: ", 900 * "? ", 450 * "- ", 300 * "&a ", BOMB])
def test_no_tower_takes_many_steps(text: str) -> None:
    assert steps_of(text[:900]) <= STEPS_A_CHARACTER * 900


def test_aliases_are_refused_by_name_in_files_and_assignments(tmp_path: Path) -> None:
    spec = tmp_path / "bomb.yaml"
    spec.write_text(f"name: bomb\noptions:\n  {BOMB.replace('=', ': ')}]\n")
    with pytest.raises(RequestError, match="line 3: not valid YAML: anchors and aliases"):
        load_spec(spec)
    with pytest.raises(RequestError, match="anchors and aliases"):
        load_spec("studies/quickstart.yaml", overrides=[f"{BOMB}]"])
    with pytest.raises(RequestError, match="`where` must have one value in YAML for x"):
        parse_level(f"{BOMB}]", "where", example="")


def test_levels_are_scalars() -> None:
    read = {
        text: parse_level(f"a={text}", "where", example="")[1] for text in ("4", "1e-4", "sgd", "null", "'4'")
    }
    assert read == {"4": 4, "1e-4": 1e-4, "sgd": "sgd", "null": None, "'4'": "4"}
    assert parse_level('a={"weights":"DEFAULT"}', "where", example="") == ("a", '{"weights":"DEFAULT"}')


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("training.epochs=3000000000", "less than or equal to 2147483647"),
        ("search.trials=3000000000", "less than or equal to 2147483647"),
        ("options.x=99999999999999999999", "at most 9223372036854775807"),
        ('artifacts="a\\0b"', "NUL"),
        ('artifacts="\\ud800"', "surrogate"),
        (
            f"setup={{{', '.join(f'options.{n}: [{n}1, {n}2]' for n in NAMES)}}}",
            "must make at most 1,000 setups",
        ),
        (f"options.x={40 * '['}{40 * ']'}", "more than 20 deep"),
        (f"options.x=[{20_000 * '1,'}]", "more than 10,000 values"),
    ],
)
def test_what_no_database_or_model_holds_is_refused(override: str, told: str) -> None:
    with pytest.raises(RequestError, match=told):
        load_spec("studies/quickstart.yaml", overrides=[override])


def test_files_are_read_up_to_a_size() -> None:
    with pytest.raises(RequestError, match=f"larger than {MOST_BYTES // 1024} KiB"):
        load_spec("/dev/zero")
    nested: dict[str, Any] = {}
    nested["x"] = nested
    with pytest.raises(RequestError, match="more than 20 deep"):
        load_spec({"name": "endless", "options": nested})
