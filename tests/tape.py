"""A stand-in for CUDA graphs on a CPU: operations on tensors are written down and done again.

As in a graph, tensors are repeated by their place in memory and numbers of Python's as they were, results go
where they went, and what waits for a value can't be recorded.
"""

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kdsearch.distill.execution.recording import Recorder

_READS_A_VALUE = ("aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero", "aten::equal")
_OF_OPTIMIZERS = ("aten::_fused_sgd_", "aten::_fused_adam_", "aten::_fused_adamw_")


class Tape(Recorder):
    """Records calls on a CPU; counts what it does."""

    def __init__(self):
        self.n_recorded = self.n_replayed = 0

    def warm_up(self, call):
        return call(), None

    def record(self, call):
        operations = []
        with _Writing(operations):
            result = call()
        self.n_recorded += 1

        def replay():
            self.n_replayed += 1
            with torch.no_grad():
                for func, args, kwargs, written in operations:
                    again = [
                        value for value in tree_leaves(func(*args, **kwargs)) if isinstance(value, Tensor)
                    ]
                    for place, value in zip(written, again, strict=True):
                        if place.data_ptr() != value.data_ptr():
                            place.copy_(value)

        return replay, result


class _Writing(TorchDispatchMode):
    def __init__(self, operations):
        super().__init__()
        self._operations = operations

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.name().partition(".")[0] in _READS_A_VALUE:
            raise RuntimeError(f"{func.name()} waits for a value")
        found = func(*args, **(kwargs or {}))
        written = [value for value in tree_leaves(found) if isinstance(value, Tensor)]
        self._operations.append((func, args, kwargs or {}, written))
        return found
