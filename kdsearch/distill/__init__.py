"""The distillation engine: teachers, students and the packs that train them. Needs torch alone.

Importing it imports no torch yet: the driver reads recipes and records without it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdsearch.distill.models import build_model
    from kdsearch.distill.objectives import objective
    from kdsearch.distill.preflight.checks import check_training, has_temperature
    from kdsearch.distill.training.train_pack import train_pack, train_trials

__all__ = [
    "build_model",
    "check_training",
    "has_temperature",
    "objective",
    "train_pack",
    "train_trials",
]

_MODULES = {
    "build_model": "models",
    "check_training": "preflight.checks",
    "has_temperature": "preflight.checks",
    "objective": "objectives",
    "train_pack": "training.train_pack",
    "train_trials": "training.train_pack",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
