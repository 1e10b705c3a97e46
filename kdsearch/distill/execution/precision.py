"""In which precision a forward pass is computed."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

_IN_BF16 = frozenset(
    {
        *(F.linear, torch.conv1d, torch.conv2d, torch.conv3d, F.scaled_dot_product_attention),
        *(torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm),
    }
)
_IN_FLOAT32 = frozenset({F.batch_norm, F.layer_norm, F.group_norm, F.softmax, torch.softmax, Tensor.softmax})


@dataclass(frozen=True)
class Precision:
    """The arithmetic of a network's forward pass. Parameters and losses stay in float32."""

    device: torch.device
    bf16: bool = False

    @classmethod
    def of(cls, name: Literal["auto", "fp32", "bf16"], device: torch.device) -> "Precision":
        """Return the precision that a spec names. `auto` is bf16 on CUDA and fp32 elsewhere."""
        return cls(device, name == "bf16" or (name == "auto" and device.type == "cuda"))

    def context(self) -> AbstractContextManager[object]:
        """Return the context that a forward pass of one network runs in."""
        if not self.bf16:
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False)

    def vmapped_context(self) -> AbstractContextManager[object]:
        """Return the context that a vmapped forward pass runs in.

        Under vmap, autocast never sees most convolutions and linear layers, and they stay in float32
        without a word; so their arguments are cast before vmap takes over.
        """
        return _CastArguments() if self.bf16 else nullcontext()


class _CastArguments(TorchFunctionMode):
    """Casts arguments of costly functions to bf16, of delicate ones to float32."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        dtype = torch.bfloat16 if func in _IN_BF16 else torch.float32 if func in _IN_FLOAT32 else None
        if dtype is not None:
            args, kwargs = tree_map_only(Tensor, lambda value: _cast(value, dtype), (args, kwargs))
        return func(*args, **kwargs)


def _cast(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.to(dtype) if value.is_floating_point() else value
