"""Ctrl-C is answered at once, while what handles it still works on it."""

import os
import signal
import threading

from kdsearch.cli.stopping import InterruptEcho

LONG_S = 60


def test_the_first_interrupt_is_told_while_its_handler_runs() -> None:
    told = threading.Event()
    was_told_within = []
    counts = []

    def handler(*_: object) -> None:
        was_told_within.append(told.wait(LONG_S))

    def count() -> None:
        counts.append(threading.current_thread() is threading.main_thread())
        told.set()

    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    fd = signal.set_wakeup_fd(-1)
    try:
        with InterruptEcho(count):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
        assert (was_told_within, counts) == ([True, True], [False])
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        signal.set_wakeup_fd(fd)
        for number, own in before.items():
            signal.signal(number, own)


def test_a_block_that_nobody_interrupts_ends_in_silence() -> None:
    told = []
    with InterruptEcho(lambda: told.append(1)):
        pass
    assert told == []


def test_another_thread_leaves_signals_alone() -> None:
    fds = []

    def run() -> None:
        with InterruptEcho(lambda: None):
            fds.append(1)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert fds == [1]
