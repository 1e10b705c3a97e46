"""The memory that a way of training takes: its tensors' bytes, counted as they come and go."""

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kdsearch.bench.engine.cases import Case
from kdsearch.bench.engine.contenders import PackRunner, Runner
from kdsearch.distill.execution import Way


def member_bytes(case: Case, way: Way, artifacts: Path, device: torch.device) -> int:
    """Return how many bytes a further member adds to a pack's peak: a pack of 2 less a pack of 1.

    The teacher and the data are in memory, the logits stored, after the first pack.
    """

    def peak(size: int) -> int:
        return peak_bytes(lambda: PackRunner(case, size, artifacts, device, way), device)

    PackRunner(case, 1, artifacts, device, way).run_epoch()
    alone = peak(1)
    return peak(2) - alone


def peak_bytes(make: Callable[[], Runner], device: torch.device) -> int:
    """Return the most that a runner's tensors take in an epoch.

    Data that others hold don't count. On CUDA it is what the allocator measured, elsewhere every tensor's
    storage is followed.
    """
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        runner = make()
        torch.cuda.reset_peak_memory_stats(device)
        runner.run_epoch()
        peak: int = torch.cuda.max_memory_allocated(device)
        return peak - before
    with _LiveStorages() as storages:
        runner = make()
        storages.peak = storages.live
        runner.run_epoch()
    return int(storages.peak)


class _LiveStorages(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no annotation
    """Counts the bytes of live storages that operators made."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch has no annotation
        self.live = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        for value in tree_leaves((args, kwargs)):
            self._note(value, counts=False)
        found = func(*args, **kwargs)
        for value in tree_leaves(found):
            self._note(value, counts=True)
        return found

    def _note(self, value: object, *, counts: bool) -> None:
        if not isinstance(value, Tensor) or value.device.type == "meta":
            return
        storage = value.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        n_bytes = storage.nbytes() if counts else 0
        self._known.add(key)
        self.live += n_bytes
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._forget, key, n_bytes)

    def _forget(self, key: int, n_bytes: int) -> None:
        self._known.discard(key)
        self.live -= n_bytes
