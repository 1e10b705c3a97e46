"""The weights that a network starts from: published ones, a checkpoint, or another network's."""

import argparse
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdsearch.distill.models import adapt_input_channels, head_name
from kdsearch.errors import RequestError

_WRAPPERS = ("state_dict", "model", "model_state_dict", "net")
_PREFIXES = ("module.", "_orig_mod.")


def load_checkpoint(model: nn.Module, path: str, *, new_stem: bool = False) -> None:
    """Load a checkpoint's weights into a network; a head of another size stays as it is.

    Args:
        model: The network.
        path: A file that `torch.save` wrote: a state dict, or a mapping that holds one under
            `state_dict`, `model`, `model_state_dict` or `net`.
        new_stem: The network's first convolution may differ in size; it then stays as it is.

    Raises:
        RequestError: The file can't be read, or its weights belong to another architecture.
    """
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            found = torch.load(Path(path).expanduser(), map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RequestError(
            f"`pretraining.checkpoint` must be a PyTorch checkpoint of plain tensors, got {path!r} "
            f"({reason}). Save the network's state dict alone."
        ) from error
    if not isinstance(found, Mapping):
        raise RequestError(f"`pretraining.checkpoint` must hold a state dict, got {type(found).__name__}.")
    load_weights(model, _state_in(found), source=path, new_stem=new_stem)


def load_weights(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    *,
    source: str,
    new_head: bool = False,
    new_stem: bool = False,
) -> None:
    """Load weights into a network; a head of another size stays as it is.

    Weights of a first convolution for colour images are fitted to grey ones, and back.

    Args:
        model: The network.
        weights: By the name they have in the network; more than it needs does no harm.
        source: Where they come from, for the error message.
        new_head: The head stays as it is even where its size agrees.
        new_stem: The first convolution may differ in size; it then stays as it is.

    Raises:
        RequestError: The weights belong to another architecture.
    """
    head = head_name(model)
    state = dict(model.state_dict())
    stem = next((name for name, own in state.items() if own.ndim == 4), None) if new_stem else None
    refused = []
    for name, own in state.items():
        fitted = _fitted(weights.get(name), own)
        is_head = name.rpartition(".")[0] == head
        if fitted is not None and not (is_head and new_head):
            state[name] = fitted
        elif not (is_head or name == stem or name.endswith("num_batches_tracked")):
            refused.append(name)
    if refused:
        raise RequestError(
            f"`pretraining` must give weights of the network's architecture, got {source!r}, not fitting "
            f"{', '.join(refused[:3])}{' …' if len(refused) > 3 else ''}. Choose others."
        )
    model.load_state_dict(state)


def _fitted(found: Tensor | None, own: Tensor) -> Tensor | None:
    """Return weights in the shape of the network's own, or None where they can't be."""
    if found is None or found.shape == own.shape:
        return found
    differs_in_inputs = own.ndim == found.ndim == 4 and own[:, 0].shape == found[:, 0].shape
    if differs_in_inputs and {own.shape[1], found.shape[1]} == {1, 3}:
        return adapt_input_channels(found, own.shape[1])
    return None


def _state_in(found: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the state dict in a checkpoint, without what wrappers put before its names."""
    wrapped = (found.get(key) for key in _WRAPPERS)
    state = next((inner for inner in wrapped if isinstance(inner, Mapping)), found)
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    for prefix in _PREFIXES:
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors
