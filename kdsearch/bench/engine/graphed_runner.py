"""The limit on a GPU: the same steps, replayed as one CUDA graph."""

from typing import Protocol

import torch

from kdsearch.distill.execution.cuda import uncollected

_WARM_UP_STEPS = 3  # what torch asks for before a recording


class Stepping(Protocol):
    """Something that takes the same step again and again."""

    n_steps: int

    def step(self) -> None:
        """Take the step."""
        ...


class GraphedRunner:
    """Replays a step that launches many small kernels: what the GPU itself takes, without Python.

    Convolutions are as in training, the same bits each time.
    """

    def __init__(self, stepping: Stepping) -> None:
        self._stepping = stepping  # its tensors are where the graph reads and writes
        before, torch.backends.cudnn.deterministic = torch.backends.cudnn.deterministic, True
        try:
            self._graph = _recorded(stepping)
        finally:
            torch.backends.cudnn.deterministic = before

    def run_epoch(self) -> None:
        """Replay as many steps as an epoch has."""
        for _ in range(self._stepping.n_steps):
            self._graph.replay()


def _recorded(stepping: Stepping) -> torch.cuda.CUDAGraph:
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch has no annotation
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UP_STEPS):
            stepping.step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with uncollected(), torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        stepping.step()
    return graph
