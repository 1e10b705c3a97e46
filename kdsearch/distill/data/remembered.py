"""Answers about the world outside this process, remembered for a while.

The more time an answer took, the longer it is remembered.
"""

import time
from collections.abc import Callable, Hashable
from typing import TypeVar

Found = TypeVar("Found")

_WORTH_KEEPING_S = 1.0  # a shorter look is taken anew each time
_GOOD_FOR = 100  # times as long as it took: looks then take a hundredth of the time at most
_MOST = 16  # by hand: a study looks at a few data sets and modules, and answers may be large

_FOUND: dict[Hashable, tuple[float, object]] = {}


def remembered(key: Hashable, look: Callable[[], Found]) -> Found:
    """Return what a look gives, or a slow look's recent answer.

    Args:
        key: What is looked at.
        look: Gives what is there now.
    """
    kept = _FOUND.get(key)
    start = time.monotonic()
    if kept is not None and start < kept[0]:
        return kept[1]  # type: ignore[return-value]  # what an equal key's look gave
    found = look()
    took_s = time.monotonic() - start
    if took_s > _WORTH_KEEPING_S:
        _FOUND.pop(key, None)
        while len(_FOUND) >= _MOST:
            del _FOUND[next(iter(_FOUND))]
        _FOUND[key] = (start + (1 + _GOOD_FOR) * took_s, found)
    return found
