"""Ctrl-C is answered at once.

What handles it may still work on it.
"""

import os
import signal
import subprocess
import sys
import threading

from kdsearch.cli.stopping import InterruptEcho

LONG_S = 60  # far longer than a signal takes on a busy machine


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


CRASHES_AT_ITS_END = """
import atexit, os, sys, types
import kdsearch.cli.main

main = sys.modules["kdsearch.cli.main"]  # the package has a function of that name
sys.modules["ray"] = types.ModuleType("ray")
atexit.register(os.abort)
main.run = lambda _arguments: print("told") or main.INTERRUPTED
main.main()
"""


def test_an_interrupted_study_has_its_exit_code_whatever_ray_does_at_the_processs_end() -> None:
    done = subprocess.run([sys.executable, "-c", CRASHES_AT_ITS_END], check=False, capture_output=True)
    assert (done.returncode, done.stdout.split()) == (130, [b"told"])
