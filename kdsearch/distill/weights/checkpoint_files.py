"""Checkpoint files of many makers, read without running their code."""

import argparse
import collections
import pickle
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import torch
from torch import Tensor

from kdsearch.errors import RequestError

_DEPTH = 4  # Lightning, timm and training scripts keep their state dicts in the first two levels
# What a pickle may raise that is damaged, or that does more to its objects than `_Unknown` can take.
_UNREADABLE: tuple[type[Exception], ...] = (
    *(RuntimeError, EOFError, ValueError, pickle.UnpicklingError),
    *(TypeError, LookupError, AttributeError, AssertionError),
)
_LARGEST_HEADER = 100_000_000  # bytes, the bound that safetensors sets itself
_TERMINAL_CODES = re.compile(r"\x1b\[[0-9;]*m")
_REBUILDERS = re.compile(r"_rebuild_(tensor|tensor_v2|tensor_v3|parameter|parameter_with_state)")
_IN_WORDS = {
    "invalid load key": "it begins as none does",  # a web page, a pointer of Git LFS, a compressed file
    "central directory": "it is cut off",
    "inline_container": "it is a zip file of something else",
    "file data.pkl": "it is a zip file of something else",
}
_PLAIN = {"list", "dict", "set", "frozenset", "tuple", "int", "float", "complex", "bool", "str", "bytearray"}


@dataclass(frozen=True)
class StateDict:
    """Tensors by name, and the keys under which a file holds them. No keys where they are the file itself.

    A list of tensors, which have no names, is one without tensors.
    """

    keys: tuple[str, ...]
    tensors: Mapping[str, Tensor]


def read_state_dicts(path: str) -> list[StateDict]:
    """Return every state dict that a file holds.

    Files of `torch.save` in all its formats and safetensors are read, whatever their names end in. What
    stands beside the tensors (numbers of NumPy, paths, objects of any class) is passed over: none of its
    code is run.

    Raises:
        RequestError: The file can't be read, or holds no state dict.
    """
    try:
        found = _load(Path(path).expanduser())
    except RequestError:
        raise
    except OSError as error:
        raise RequestError(
            f"`pretraining.checkpoint` must be a file that can be read, got {path!r} ({error.strerror}). "
            "Check its path."
        ) from error
    except _UNREADABLE as error:
        raise RequestError(
            f"`pretraining.checkpoint` must be a PyTorch checkpoint of plain tensors, got {path!r} "
            f"({_reason(error)}). Copy it again, or save the network's state dict alone."
        ) from error
    if isinstance(found, _Unknown):
        raise RequestError(
            f"`pretraining.checkpoint` must hold a state dict, got {path!r}, a whole {found.kind}. "
            "Save its `state_dict()`."
        )
    if not isinstance(found, Mapping):
        raise RequestError(
            f"`pretraining.checkpoint` must hold a state dict, got {path!r}, a {type(found).__name__}. "
            "Save the network's `state_dict()`."
        )
    states = list(_state_dicts(found, ()))
    if not any(state.tensors for state in states):
        inner = next((value for value in found.values() if isinstance(value, _Unknown)), None)
        kind = "" if inner is None else inner.kind
        whole = ", and NumPy arrays" if kind.startswith("numpy") else f", and a whole {kind}" if kind else ""
        raise RequestError(
            f"`pretraining.checkpoint` must hold a state dict, got {path!r} with "
            f"{listed(found)}{whole}. Save the network's `state_dict()`."
        )
    return states


def listed(names: Iterable[Any], most: int = 5) -> str:
    """Return the first names of a list in words."""
    shown = [str(name) for name in names]
    if not shown:
        return "nothing"
    return f"{', '.join(shown[:most])}{f' and {len(shown) - most} more' if len(shown) > most else ''}"


def _load(file: Path) -> Any:
    with file.open("rb") as opened, warnings.catch_warnings():  # opened here: torch would go by the ending
        if _is_safetensors(opened):
            return _load_safetensors(file)
        warnings.simplefilter("ignore")  # of stand-ins torch says that their source has changed
        try:
            with torch.serialization.safe_globals([argparse.Namespace]):
                return torch.load(opened, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            opened.seek(0)
            stubs = _stubbing_pickle()
            return torch.load(opened, map_location="cpu", weights_only=False, pickle_module=stubs)


def _is_safetensors(opened: BinaryIO) -> bool:
    """Return whether a file begins as safetensors do: with the length of a header, and its brace."""
    start = opened.read(9)
    opened.seek(0)
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") <= _LARGEST_HEADER


def _load_safetensors(file: Path) -> Any:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise RequestError(
            f"`pretraining.checkpoint` needs safetensors for {str(file)!r}. "
            "Install it: pip install safetensors."
        ) from error
    try:
        return load_file(file)
    except Exception as error:  # its own kind of error has no other base
        raise RequestError(
            f"`pretraining.checkpoint` must be a whole safetensors file, got {str(file)!r} "
            f"({_reason(error)}). Copy it again."
        ) from error


def _state_dicts(found: Mapping[Any, Any], keys: tuple[str, ...]) -> Iterator[StateDict]:
    tensors = {
        name: v if v.layout == torch.strided else v.to_dense()
        for name, v in found.items()
        if isinstance(name, str) and isinstance(v, Tensor) and not v.is_meta  # of which there is no value
    }
    if tensors:
        yield StateDict(keys, tensors)
    for key, value in found.items():
        if isinstance(value, list | tuple) and value and all(isinstance(v, Tensor) for v in value):
            yield StateDict((*keys, str(key)), {})
        if isinstance(key, str) and isinstance(value, Mapping) and len(keys) < _DEPTH:
            yield from _state_dicts(value, (*keys, key))


def _reason(error: Exception) -> str:
    if isinstance(error, (LookupError, AssertionError, TypeError, AttributeError)):
        return "it is damaged, or of another kind"  # which such an error's own text does not say
    if isinstance(error, EOFError):
        return "it is empty, or cut off"
    text = _TERMINAL_CODES.sub("", str(error).strip()) or type(error).__name__
    for cryptic, plain in _IN_WORDS.items():
        if cryptic in text:
            return plain
    return text.splitlines()[0].partition(". ")[0].rstrip(".:, ")  # torch goes on with advice of its own


class _Unknown:
    """Stands for an object of a class that is not loaded. Takes all that a pickle does to one."""

    kind = "object"
    dump_patches = False  # which torch asks of a module in its older format

    def __new__(cls, *_: Any, **__: Any) -> "_Unknown":
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *_: Any, **__: Any) -> "_Unknown":
        return self

    def __setstate__(self, _: Any) -> None:
        pass

    def __setitem__(self, _: Any, __: Any) -> None:
        pass

    def append(self, _: Any) -> None:
        pass

    def extend(self, _: Any) -> None:
        pass

    def add(self, _: Any) -> None:
        pass


class _StubbingUnpickler(pickle.Unpickler):
    """Builds tensors and plain containers; all else becomes `_Unknown`."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what a pickle may call: nothing but what rebuilds tensors and containers."""
        if module == "torch._utils" and _REBUILDERS.fullmatch(name):
            return getattr(torch._utils, name)
        if module == "collections" and name in ("OrderedDict", "Counter"):
            return getattr(collections, name)
        if module == "argparse" and name == "Namespace":
            return argparse.Namespace
        if module in ("builtins", "__builtin__") and name in _PLAIN:
            return super().find_class("builtins", name)
        if module in ("torch", "torch.storage") and (name.endswith("Storage") or name in ("Size", "device")):
            return getattr(torch if hasattr(torch, name) else torch.storage, name)
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        return type("_Unknown", (_Unknown,), {"kind": f"{module}.{name}"})


def _stubbing_pickle() -> ModuleType:
    """Return a module that torch takes in place of `pickle`."""
    module = ModuleType("stubbing_pickle")
    opened: dict[str, Callable[..., Any]] = {
        "Unpickler": _StubbingUnpickler,
        "load": lambda file, **options: _StubbingUnpickler(file, **options).load(),
    }
    module.__dict__.update(opened)
    return module
