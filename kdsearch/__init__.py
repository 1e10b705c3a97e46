"""kdsearch finds the best distillation temperature for each training setup.

It says how sure each one is. Importing it imports neither torch nor Ray.
"""

from typing import TYPE_CHECKING, Any

from kdsearch.spec import load_spec

if TYPE_CHECKING:
    from kdsearch.api import Study, launch, open_study, recommend

__all__ = ["Study", "launch", "load_spec", "open_study", "recommend"]


def __getattr__(name: str) -> Any:
    if name in ("Study", "launch", "open_study", "recommend"):
        from kdsearch import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
