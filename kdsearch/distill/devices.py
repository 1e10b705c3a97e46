"""What training asks of a device."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from kdsearch.distill.allocator import keep_freed_memory
from kdsearch.errors import RequestError

# Memory that ran out elsewhere than in torch's own allocator of CUDA memory, which has an error of its own.
_OUT_OF_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


def chosen_device(device: torch.device | str | None) -> torch.device:
    """Return the device to train on: the named one, else CUDA where there is one.

    Raises:
        RequestError: CUDA is named, and this machine has none.
    """
    has_cuda = torch.cuda.is_available()
    chosen = torch.device(device or ("cuda" if has_cuda else "cpu"))
    if chosen.type == "cuda" and not has_cuda:
        raise RequestError(
            f"`device` must be one that this machine has, got '{chosen}': torch finds no GPU. "
            "Name 'cpu', or install a torch that was built for the GPU's driver."
        )
    return chosen


@contextmanager
def on_device(device: torch.device) -> Iterator[None]:
    """Make a CUDA device current and its convolutions deterministic; restore both after.

    Streams and CUDA graphs are made on the current device, whichever one the tensors are on. On a CPU freed
    memory is kept, and stays so.
    """
    if device.type != "cuda":
        keep_freed_memory()
        yield
        return
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        with torch.cuda.device(device):
            yield
    finally:
        torch.backends.cudnn.deterministic = before


def is_out_of_memory(error: Exception) -> bool:
    """Return whether a device's memory ran out, or the machine's."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY)


def release_memory(device: torch.device) -> None:
    """Give back unused memory, that of cyclic objects included."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
