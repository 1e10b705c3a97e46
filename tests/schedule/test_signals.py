"""What ends a study is heard wherever the main thread is."""

import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator

import pytest

from kdsearch.schedule.signals import EndingSignals

LONG_S = 60  # far longer than a signal takes on a busy machine


@pytest.fixture(autouse=True)
def as_in_a_terminal() -> Iterator[None]:
    """Take the signals as a person's shell hands them on.

    `nohup` and jobs in the background ignore some.
    """
    usual = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Signalled:
    """Sends a signal while Python destroys it."""

    def __init__(self, number: signal.Signals) -> None:
        self._number = number

    def __del__(self) -> None:
        os.kill(os.getpid(), self._number)
        sum(range(10_000))  # the handler runs between two instructions, before this has ended


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_an_interrupt_that_a_destructor_drops_comes_again(number: signal.Signals) -> None:
    def run() -> None:
        with EndingSignals():
            Signalled(number)
            threading.Event().wait(LONG_S)

    before = sys.unraisablehook
    with pytest.raises(KeyboardInterrupt):
        run()
    assert sys.unraisablehook is before


def test_an_interrupt_in_a_weak_references_callback_comes_again() -> None:
    def gone(_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        sum(range(10_000))

    def run() -> None:
        thing = threading.Event()
        reference = weakref.ref(thing, gone)
        with EndingSignals():
            del thing
            threading.Event().wait(LONG_S)
        pytest.fail(f"the study went on without {reference}")

    with pytest.raises(KeyboardInterrupt):
        run()


def test_other_errors_of_destructors_stay_their_owners(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: told.append(lost.exc_type))

    class Failing:
        def __del__(self) -> None:
            raise ZeroDivisionError

    with EndingSignals():
        Failing()
    assert told == [ZeroDivisionError]


BESIDE_RAY = """
import os, signal, threading
from kdsearch.schedule.cluster.connection import connect

with connect(None):
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(60)
"""


@pytest.mark.ray
def test_ray_takes_no_sigterm() -> None:
    """Ray's C++ would dump its stack and abort.

    It would do so from its start until our handlers are put back.
    """
    done = subprocess.run(
        [sys.executable, "-c", BESIDE_RAY], check=False, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == -signal.SIGTERM, done.stderr
    assert "SIGTERM received" not in done.stderr
