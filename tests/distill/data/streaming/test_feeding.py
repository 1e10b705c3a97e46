"""Batches brought to a device: with one that copies and computes as late as it may, they stay right."""

import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial

import pytest
import torch

from kdsearch.distill.data.streaming.feeding import fed, moved

SHAPE = (4, 1, 2, 2)  # of a full batch; tiny, since only the order of events is tested
SIZES = (4, 4, 3, 4, 1, 4, 4, 2, 4)  # of batches; smaller ones come between full ones


class Moment:
    def __init__(self, needs: Sequence["Moment"], work: Callable[[], None]) -> None:
        self.needs, self.work, self.is_over = needs, work, False

    def come(self) -> None:
        """Do what it stands for, after all that it needs."""
        if not self.is_over:
            for need in self.needs:
                need.come()
            self.work()
            self.is_over = True


class LateDevice:
    """Two queues whose work is done only when somebody waits.

    One is of copies, one of computing.
    """

    def __init__(self) -> None:
        self.computing = self.copying = Moment([], lambda: None)
        self.n_computed, self.furthest, self.threads = 0, 0, set()

    def _noted(self) -> None:
        self.threads.add(threading.get_ident())

    def host_buffer(self, shape: Sequence[int]) -> torch.Tensor:
        self._noted()
        return torch.empty(*shape, dtype=torch.uint8)

    def device_buffer(self, shape: Sequence[int]) -> torch.Tensor:
        self._noted()
        return torch.empty(*shape, dtype=torch.uint8)

    def copy(self, source: torch.Tensor, target: torch.Tensor, after: Moment) -> Moment:
        self._noted()
        self.copying = Moment([self.copying, after], partial(target.copy_, source))
        return self.copying

    def computed(self) -> Moment:
        self._noted()
        return self.computing

    def wait_for(self, event: Moment) -> None:
        self._noted()
        event.come()

    def compute(self, number: int, work: Callable[[], None]) -> None:
        """Take up work like a kernel.

        It notes how far the host is ahead of it.
        """

        def done() -> None:
            work()
            self.n_computed += 1

        self.computing = Moment([self.computing], done)
        self.furthest = max(self.furthest, number - self.n_computed)


def writes(fails_at: int | None = None):
    for number, size in enumerate(SIZES):
        if number == fails_at:
            raise KeyError(number)
        yield size, partial(fill, number)


def fill(number, out):
    out.copy_(torch.arange(len(out))[:, None, None, None] + 10 * number)


def expected(number, size):
    return [10 * number + i for i in range(size)]


def test_each_batch_is_what_was_written_however_late_the_device_is():
    device, seen = LateDevice(), []
    for number, batch in enumerate(fed(writes(), SHAPE, device)):
        device.compute(number, lambda batch=batch: seen.append(batch[:, 0, 1, 1].tolist()))
    device.computing.come()
    assert seen == [expected(number, size) for number, size in enumerate(SIZES)]
    assert 1 < device.furthest <= 3  # the device has work while the host prepares more, in bounded memory


def test_the_device_is_called_by_the_thread_that_asks_alone():
    device = LateDevice()
    wrote = set()

    def noted():
        for size, write in writes():
            wrote.add(threading.get_ident())
            yield size, write

    assert len(list(fed(noted(), SHAPE, device))) == len(SIZES)
    assert device.threads == {threading.get_ident()}
    assert threading.get_ident() not in wrote


def test_what_fails_is_raised_where_batches_are_asked_for():
    found = fed(writes(fails_at=3), SHAPE, LateDevice())
    assert [len(next(found)) for _ in range(2)] == [4, 4]
    with pytest.raises(KeyError, match="3"):
        list(found)


def test_a_reader_that_stops_ends_the_thread_and_what_it_reads():
    ended, before = [], threading.active_count()

    def endless():
        try:
            while True:
                yield 1, partial(fill, 0)
        finally:
            ended.append(threading.get_ident())

    device = LateDevice()
    with closing(fed(endless(), SHAPE, device)) as batches:
        next(batches)
    assert len(ended) == 1
    assert threading.active_count() == before
    assert device.copying.is_over  # into memory that others get from now on


def test_on_a_cpu_batches_are_written_where_they_are_used():
    batches = list(moved(writes(), SHAPE, torch.device("cpu")))
    assert [batch[:, 0, 0, 0].tolist() for batch in batches] == [
        expected(number, size) for number, size in enumerate(SIZES)
    ]
