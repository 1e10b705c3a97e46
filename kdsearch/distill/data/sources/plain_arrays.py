"""A user's arrays and tensors as plain NumPy arrays, nothing left out."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdsearch.errors import RequestError


def plain_array(values: Any) -> Any:
    """Return what is like an array as a NumPy array.

    Raises:
        RequestError: It hides values (a mask), or does not hold them all (sparse, quantised, on no device).
        ValueError: Its rows have several lengths.
    """
    if isinstance(values, Tensor):
        return _of_tensor(values)
    if n_masked := _count_masked(values):
        n_values = len(values) if isinstance(values, list) else np.size(values)
        raise RequestError(
            f"Arrays must have no masked values, got {n_masked:,} of {n_values:,}: what is there can't be "
            "known. Fill them, as `.filled(0)` does, or leave their samples out."
        )
    return np.asarray(values)


def _count_masked(values: Any) -> int:
    if isinstance(values, list):  # single masked values become NaN or 0 in an array of them
        return sum(map(np.ma.is_masked, values))
    return int(np.ma.getmaskarray(values).sum()) if isinstance(values, np.ma.MaskedArray) else 0


def _of_tensor(values: Tensor) -> Any:
    try:
        held = values.detach().cpu()
        return (held.float() if held.dtype == torch.bfloat16 else held).numpy()  # NumPy has no bfloat16
    except (TypeError, RuntimeError) as error:  # of sparse, quantised, masked, nested and meta tensors
        raise RequestError(
            f"Tensors must be dense and hold plain numbers, got a {type(values).__name__} of {values.dtype}, "
            f"{values.layout}, on {values.device}. Convert it, as `.to_dense()` does."
        ) from error
