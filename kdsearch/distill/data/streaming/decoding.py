"""Worker processes that decode samples ahead and stay between epochs."""

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from kdsearch.distill.data.streaming.memory import shared_memory_bytes

Piece = TypeVar("Piece")

_CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_WORKERS_OF_A_CPU = 4  # beside a CPU that trains, which needs the cores itself
_MOST_WORKERS = 32  # together they decode a photograph in 0.1 ms
_WORTH_WORKERS = 500  # samples; fewer are decoded before the workers have started
_PIECE = 32  # samples that a worker decodes at a time, by hand: more would leave the last workers waiting
_AHEAD = 2  # pieces of each worker: one is decoded while the other waits to be taken
_IN_FLIGHT_BYTES = 2**30  # of decoded samples, by hand: little of the memory of a machine with many cores


def n_workers(devices: Path = Path("/dev")) -> int:
    """Return how many processes decode: a GPU's share of the cores, or four.

    Args:
        devices: Where the machine's GPUs are seen, also those that other processes train on.
    """
    n_gpus = len(list(devices.glob("nvidia[0-9]*")))
    if not n_gpus:
        return min(_WORKERS_OF_A_CPU, _CPUS)
    return min(_MOST_WORKERS, max(1, _CPUS // n_gpus))


class Decoder(Generic[Piece]):
    """Decodes samples in batches of any size, by pieces.

    Args:
        samples: What decodes one.
        join: Makes a piece of decoded samples.
        sample_bytes: The size of a decoded sample.
    """

    def __init__(
        self, samples: "Dataset[Any]", join: Callable[[list[Any]], Piece], sample_bytes: int
    ) -> None:
        self._samples = samples
        self._join = join
        self._sample_bytes = sample_bytes
        self._plan: list[list[int]] = []
        self._loader: DataLoader[Any] | None = None
        self._is_busy = False

    def decoded(self, batches: Sequence[list[int]]) -> Generator[list[Piece], None, None]:
        """Yield the pieces of each batch of indices. Few samples are decoded in this process."""
        workers = n_workers() if sum(map(len, batches)) > _WORTH_WORKERS else 0
        workers, size = _bounds(workers, self._sample_bytes)
        plans = [[batch[i : i + size] for i in range(0, len(batch), size)] for batch in batches]
        with closing(self._run([piece for plan in plans for piece in plan], workers)) as found:
            for plan in plans:
                yield list(islice(found, len(plan)))

    def _run(self, pieces: list[list[int]], workers: int) -> Generator[Piece, None, None]:
        if not workers or self._is_busy:  # by another reader of the same data set
            yield from self._made(pieces, workers)
            return
        self._is_busy = True
        try:
            if self._loader is None or self._loader.num_workers != workers:
                self._loader = self._made(self._plan, workers, stays=True)
            self._plan[:] = pieces
            yield from self._loader
        finally:
            self._is_busy = False

    def _made(self, pieces: list[list[int]], workers: int, *, stays: bool = False) -> "DataLoader[Any]":
        return DataLoader(
            self._samples,
            batch_sampler=pieces,
            num_workers=workers,
            generator=torch.Generator(),  # or the loader would draw from the global one
            prefetch_factor=_AHEAD if workers else None,
            persistent_workers=stays,
            collate_fn=self._join,
        )


def _bounds(workers: int, sample_bytes: int) -> tuple[int, int]:
    """Return how many workers decode how many samples at a time: no more than shared memory takes."""
    if not workers:
        return 0, _PIECE
    in_flight = min(_IN_FLIGHT_BYTES, shared_memory_bytes() // 2) // (_AHEAD * sample_bytes)
    workers = min(workers, in_flight)
    return workers, min(_PIECE, max(1, in_flight // workers)) if workers else _PIECE
