"""How wide intervals are and how near is near enough: by default, and at most."""

from kdsearch.errors import RequestError

LEVEL = 0.9
"""The probability of an interval: 95% would take nearly half as many trials again for the same width."""

LEVELS = (0.5, 0.999)
"""The draws of an answer say little of what lies beyond."""

TOLERANCE = 0.005
"""Half a point of accuracy: what a temperature may lose and be called near-optimal."""

LARGEST_LOSS = 0.1
"""The largest accuracy that may not matter, by hand: 0.5 is half a point that was not divided by 100."""

SMALLEST_REGRET = 1e-6
"""Nothing is ever decided by less: a ten-thousandth of a point."""


def check_level(level: float) -> None:
    """Raise RequestError for a probability that no interval may have."""
    low, high = LEVELS
    if not low <= level <= high:
        raise RequestError(f"`level` must be a number from {low:g} to {high:g}, got {level:g}.")


def check_loss(name: str, loss: float, *, least: float = 0.0) -> None:
    """Raise RequestError for an accuracy that is too much to lose and call near the best.

    Args:
        name: What gave it.
        loss: A fraction of accuracy.
        least: The smallest that is allowed.
    """
    if not least <= loss <= LARGEST_LOSS:
        raise RequestError(
            f"`{name}` must be an accuracy from {least:g} to {LARGEST_LOSS:g}, ten points, got {loss:g}. "
            "Divide points by 100."
        )
