"""Which setups an asked level means."""

from typing import Any

import pytest

from kdsearch.analysis.response.selection import select_setups
from kdsearch.errors import RequestError

SETUPS = [{"a": level} for level in (0, 1.0, 0.5, "none", {"checkpoint": "/a b/ü.pt", "n": 1})]


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        (0.0, [0]),
        (1, [1]),
        ("none", [3]),
        ('{"checkpoint":"/a b/\\u00fc.pt","n":1}', [4]),
        ('{"n": 1, "checkpoint": "/a b/ü.pt"}', [4]),
    ],
)
def test_a_level_is_found_however_it_is_written(asked: Any, chosen: list[int]) -> None:
    assert select_setups(SETUPS, {"a": asked}) == chosen


@pytest.mark.parametrize("asked", [False, True, 2, "{", "[" * 2000, '{"n": 1}'])
def test_another_level_is_refused(asked: Any) -> None:
    with pytest.raises(RequestError, match="`where` must name a level of a"):
        select_setups(SETUPS, {"a": asked})
