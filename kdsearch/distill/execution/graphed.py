"""CUDA graphs: a fused pack's whole step, recorded once for each shape of batch and replayed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from kdsearch.distill.execution.fused import FusedPack

Step: TypeAlias = Callable[[Sequence[Tensor | None]], Tensor]
"""From a batch's tensors (None where it lacks one) to losses [K]; leaves gradients in a pack."""

_WARM_UP_STEPS = 3  # what torch asks for before a recording


@dataclass(frozen=True)
class _Recording:
    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor | None, ...]
    losses: Tensor


class GraphedStep:
    """Replays a step of a fused pack, which launches hundreds of small kernels, as one CUDA graph.

    The step must depend on its tensors and the pack's state alone: nothing may change from step to step
    that is a number in Python (an epoch, a dropout's step). Parameters, buffers and gradients of a fused
    pack stay where they are between steps, as a graph needs it, until members leave: then `reset`.

    Args:
        pack: The pack whose state the step changes.
        step: The step; what it returns is overwritten by the next call.
    """

    def __init__(self, pack: FusedPack, step: Step) -> None:
        self._pack = pack
        self._step = step
        self._recordings: dict[tuple[torch.Size | None, ...], _Recording] = {}

    def __call__(self, inputs: Sequence[Tensor | None]) -> Tensor:
        """Return the losses of a batch and leave its gradients in the pack."""
        shapes = tuple(None if value is None else value.shape for value in inputs)
        if shapes not in self._recordings:
            self._recordings[shapes] = self._record(inputs)
        recording = self._recordings[shapes]
        for static, value in zip(recording.inputs, inputs, strict=True):
            if static is not None and value is not None:
                static.copy_(value)
        recording.graph.replay()
        return recording.losses

    def reset(self) -> None:
        """Forget what was recorded; the pack's tensors have changed."""
        self._recordings.clear()

    def _record(self, inputs: Sequence[Tensor | None]) -> _Recording:
        static = tuple(None if value is None else value.clone() for value in inputs)
        before = [{name: value.clone() for name, value in own.items()} for own in self._pack.state()]
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch has no annotation
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP_STEPS):
                self._step(static)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # A thread that pins images in memory meanwhile must not spoil the recording.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            losses = self._step(static)
        self._pack.load_state(before)  # the warm-up has moved BatchNorm's running statistics
        return _Recording(graph, static, losses)
