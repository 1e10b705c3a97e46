"""What batch systems, service managers and closed terminals send, taken for Ctrl-C."""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self

_ENDING = (signal.SIGTERM, signal.SIGHUP)


class EndingSignals:
    """Lets SIGTERM and SIGHUP stop a study cleanly while a block lasts, as SIGINT does.

    Only the first one counts: `timeout` and Slurm send it to the process and to its group. SIGHUP stays
    ignored under `nohup`. In other threads than the main one signals are their owner's.
    """

    def __init__(self) -> None:
        self._before: dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None] = {}
        self._taken = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            handlers = {number: signal.getsignal(number) for number in _ENDING}
            self._before = {n: before for n, before in handlers.items() if before is not signal.SIG_IGN}
            self.take_again()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def take_again(self) -> None:
        """Take the signals back from Ray, whose libraries have their own handlers once it has started."""
        for number in self._before:
            signal.signal(number, self._interrupt)

    def _interrupt(self, _number: int, frame: FrameType | None) -> None:
        if self._taken:
            return
        self._taken = True
        interrupt = signal.getsignal(signal.SIGINT)
        if not callable(interrupt):  # a shell's background job ignores it
            raise KeyboardInterrupt
        interrupt(signal.SIGINT, frame)
