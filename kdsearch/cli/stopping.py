"""An answer to Ctrl-C at once. A study takes seconds to stop, and a person should know that it heard."""

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

_INTERRUPTS = bytes([signal.SIGINT, signal.SIGTERM])
_END = b"\0"
"""No signal has this number."""


class InterruptEcho:
    """Calls back once at the first SIGINT or SIGTERM.

    It works while a block lasts, whoever handles the signal. Ray and Tune put handlers of their own in place
    of ours while a study runs, and an interrupted call may not return for seconds. Python writes each
    signal's number to a pipe before any handler runs; a thread reads it. In other threads than the main one
    signals are their owner's.

    Args:
        told: Called in another thread.
    """

    def __init__(self, told: Callable[[], None]) -> None:
        self._told = told
        self._before: int | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._reading, self._writing = os.pipe()
            os.set_blocking(self._writing, False)
            self._before = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
            self._thread = threading.Thread(target=self._listen, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is None:
            return
        signal.set_wakeup_fd(self._before)
        os.write(self._writing, _END)
        self._thread.join()
        os.close(self._reading)
        os.close(self._writing)

    def _listen(self) -> None:
        has_told = False
        while (number := os.read(self._reading, 1)) != _END:
            if number in _INTERRUPTS and not has_told:
                has_told = True
                with suppress(OSError):  # stderr's reader may be gone
                    self._told()
