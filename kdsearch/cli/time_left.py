"""When a study's first budget will be spent."""

import time
from collections.abc import Callable, Sequence


class TimeLeft:
    """Estimates when the first of several budgets is spent.

    It goes by the pace so far.

    Args:
        clock: Returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start: tuple[float, list[float]] | None = None

    def seconds(self, budgets: Sequence[tuple[float, float]]) -> float | None:
        """Return the seconds left. None while nothing was spent of the budget that is named first.

        Args:
            budgets: What is spent of each budget, and the budget; in the same order at every call.
        """
        now, spent = self._clock(), [used for used, _ in budgets]
        began, before = self._start = self._start or (now, spent)
        if spent[0] == before[0]:
            return None
        return min(
            (now - began) / (used - at_first) * max(0.0, budget - used)
            for (used, budget), at_first in zip(budgets, before, strict=True)
            if used > at_first
        )
