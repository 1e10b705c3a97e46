"""A network's contents, for memories that a name alone would mislead."""

import hashlib
import inspect
from pathlib import Path

from torch import nn

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
