"""A user's own objects, named `package.module:name`."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from kdsearch.errors import RequestError


def load_factory(name: str, setting: str) -> Callable[..., Any]:
    """Return the callable that `package.module:name` names.

    Args:
        name: The module and the callable in it.
        setting: The spec's path that holds the name, for the error message.

    Raises:
        RequestError: There is no such module, or no such callable in it.
    """
    module_name, _, attribute = name.partition(":")
    try:
        factory = getattr(import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise RequestError(
            f"`{setting}` must be importable, got {name!r} ({error}). "
            "Check its spelling, and that its folder is on PYTHONPATH."
        ) from error
    if not callable(factory):
        raise RequestError(f"`{setting}` must name a function or class, got {name!r}.")
    return factory  # type: ignore[no-any-return]  # of a module that only the user knows
