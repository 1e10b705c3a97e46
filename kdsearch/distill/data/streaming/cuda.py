"""The few calls of CUDA that moving images needs.

All of them are made in the thread that trains. No other thread may call CUDA: while a graph is recorded, that
would break the recording.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def cuda_memory(device: torch.device) -> tuple[int, int]:
    """Return a GPU's bytes, all and free. What torch has reserved but does not use counts as free."""
    free, total = torch.cuda.mem_get_info(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return total, free + unused


def pinned(values: Tensor, device: torch.device) -> Tensor:
    """Return a host's values on a GPU, without waiting for the copy."""
    return values.pin_memory().to(device, non_blocking=True)


class CudaCopies:
    """Copies to a GPU, on a stream beside the computing one."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._beside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch's own

    def host_buffer(self, shape: Sequence[int]) -> Tensor:
        """Return pinned host memory. The GPU can read it while the host continues."""
        return torch.empty(*shape, dtype=torch.uint8, pin_memory=True)

    def device_buffer(self, shape: Sequence[int]) -> Tensor:
        """Return memory of the GPU."""
        return torch.empty(*shape, dtype=torch.uint8, device=self._device)

    def copy(self, source: Tensor, target: Tensor, after: torch.cuda.Event) -> torch.cuda.Event:
        """Copy after an event and return the event of its end."""
        with torch.cuda.stream(self._beside):
            self._beside.wait_event(after)
            target.copy_(source, non_blocking=True)
            done: torch.cuda.Event = self._beside.record_event()
        return done

    def computed(self) -> torch.cuda.Event:
        """Return the event that all computing of now is done."""
        done: torch.cuda.Event = torch.cuda.current_stream(self._device).record_event()
        return done

    def wait_for(self, event: torch.cuda.Event) -> None:
        """Let the host wait for an event."""
        event.synchronize()
