"""What workers warn of, passed on to the driver."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from textwrap import shorten

_MOST_CHARACTERS = 1000  # by hand, of one warning: all of them go through Ray to the driver
_MOST_WARNINGS = 20
"""Of one worker's pack: what warns in every epoch says nothing new."""

_log = logging.getLogger(__name__)


class HeldWarnings(logging.Handler):
    """Keeps this process's warnings until they are taken.

    Each text is kept once.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._seen: set[str] = set()
        self._new: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what a record says."""
        text = shorten(record.getMessage(), _MOST_CHARACTERS)
        if text not in self._seen and len(self._seen) < _MOST_WARNINGS:
            self._seen.add(text)
            self._new.append(text)

    def take(self) -> list[str]:
        """Return the texts since the last time."""
        new, self._new = self._new, []
        return new


@contextmanager
def held_warnings() -> Iterator[HeldWarnings]:
    """Hold what kdsearch warns of in this process while a block lasts."""
    held = HeldWarnings()
    logger = logging.getLogger("kdsearch")
    logger.addHandler(held)
    try:
        yield held
    finally:
        logger.removeHandler(held)


class WarningTeller:
    """Warns, in the driver, of what its workers warned of: each text once."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def tell(self, texts: Iterable[str]) -> None:
        """Warn of what is new."""
        for text in texts:
            if text not in self._told:
                self._told.add(text)
                _log.warning("%s", text)
