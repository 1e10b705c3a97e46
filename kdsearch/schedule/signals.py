"""What batch systems, service managers and closed terminals send, taken for Ctrl-C."""

import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from sys import UnraisableHookArgs  # typeshed's name

_ENDING = (signal.SIGTERM, signal.SIGHUP)

_AGAIN_S = 0.05
"""Enough to leave the callback that swallowed an interrupt; where it was not, the next try follows."""


class EndingSignals:
    """Lets SIGTERM and SIGHUP stop a study as cleanly as SIGINT.

    It does so while a block lasts. Only the first one counts: `timeout` and Slurm send it to the process and
    to its group. SIGHUP stays ignored under `nohup`. In other threads than the main one signals are their
    owner's.

    A handler runs wherever the main thread is. In a destructor or in a callback of the garbage collector
    Python drops what it raises, with a note to `sys.unraisablehook`: it is raised once more then.
    """

    def __init__(self) -> None:
        self._before: dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None] = {}
        self._taken = False
        self._hook: Callable[[UnraisableHookArgs], object] | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            handlers = {number: signal.getsignal(number) for number in _ENDING}
            self._before = {n: before for n, before in handlers.items() if before is not signal.SIG_IGN}
            self.take_again()
            self._hook = sys.unraisablehook
            sys.unraisablehook = self._unraised
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._hook is not None:
            sys.unraisablehook, self._hook = self._hook, None
        for number, before in self._before.items():
            signal.signal(number, before)

    def take_again(self) -> None:
        """Take the signals back from Ray.

        Its libraries have their own handlers once it has started.
        """
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

    def _unraised(self, lost: "UnraisableHookArgs") -> None:
        if issubclass(lost.exc_type, (KeyboardInterrupt, SystemExit)):
            again = threading.Timer(_AGAIN_S, self._send_again)
            again.daemon = True
            again.start()
        elif self._hook is not None:
            self._hook(lost)

    def _send_again(self) -> None:
        main = threading.main_thread().ident
        if self._hook is None or main is None:  # the block has ended
            return
        self._taken = False
        heard = callable(signal.getsignal(signal.SIGINT))  # a shell's background job ignores it
        signal.pthread_kill(main, signal.SIGINT if heard else signal.SIGTERM)
