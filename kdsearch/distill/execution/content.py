"""A network's contents, for memories that a name alone would mislead."""

import copy
import hashlib
import inspect
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdsearch.distill.randomness import seeded

_KNOWN = ("torch", "torchvision", "kdsearch")  # packages whose layers keep what they remember in tensors


def content_of(model: nn.Module) -> str:
    """Return a digest of a network's layers, shapes and source files.

    The files are those of its modules' classes.
    """
    digest = hashlib.sha256(str(model).encode())
    for name, value in model.state_dict().items():
        digest.update(f"{name} {tuple(value.shape)}".encode())
    for source in sorted(_sources(model)):
        digest.update(Path(source).read_bytes())
    return digest.hexdigest()[:16]


def has_convolutions(model: nn.Module) -> bool:
    """Return whether a network has convolutions. Their layout in memory decides their speed."""
    return any(isinstance(module, nn.Conv2d) for module in model.modules())


def is_foreign(model: nn.Module) -> bool:
    """Return whether a network has classes from outside torch and kdsearch."""
    return any(_package(kind) not in _KNOWN for kind in _classes(model))


def remembers(model: nn.Module, images: Tensor) -> bool:
    """Return whether a training network changes what is neither parameter nor buffer of its modules.

    Nothing that is saved of it has that. What only its first call sets, such as a mask that it keeps, does
    not count.

    Args:
        model: The network; it stays untouched, and only a foreign one is tried.
        images: Some images.
    """
    if not is_foreign(model):
        return False
    tried = copy.deepcopy(model).train()
    with seeded(0, images.device), torch.no_grad():
        tried(images)
        before = _attributes(tried)
        tried(images)
    return _attributes(tried) != before


def _attributes(model: nn.Module) -> dict[str, str]:
    """Return what a foreign network's modules hold beside modules, parameters and buffers."""
    usual = nn.Module().__dict__.keys() - {"training"}
    return {
        f"{place}.{name}": _digest_of(value)
        for place, module in model.named_modules()
        if _package(type(module)) not in _KNOWN
        for name, value in vars(module).items()
        if name not in usual
    }


def _digest_of(value: Any) -> str:
    try:
        return hashlib.sha256(pickle.dumps(value)).hexdigest()
    except Exception:  # a function, say; a user's object may raise anything
        return type(value).__name__


def _sources(model: nn.Module) -> set[str]:
    found = set()
    for kind in _classes(model):
        if _package(kind) == "torch":  # known by its version
            continue
        try:
            found.add(inspect.getsourcefile(kind))
        except TypeError:  # a class that was made in a console
            continue
    return {source for source in found if source is not None and Path(source).is_file()}


def _classes(model: nn.Module) -> set[type[nn.Module]]:
    return {type(module) for module in model.modules()}


def _package(kind: type[nn.Module]) -> str:
    return kind.__module__.partition(".")[0]
