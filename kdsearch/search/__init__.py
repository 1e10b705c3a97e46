"""The search: what comes next, and when a trial is given up.

Importing it imports nothing heavy yet: a worker takes its pack without what chooses packs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdsearch.search.asker import PackAsker
    from kdsearch.search.pack import Pack
    from kdsearch.search.profile_sampler import ProfileSampler
    from kdsearch.search.proposer import Proposal, Proposer
    from kdsearch.search.proposers import build_proposer
    from kdsearch.search.pruning import under_floor

__all__ = ["Pack", "PackAsker", "ProfileSampler", "Proposal", "Proposer", "build_proposer", "under_floor"]

_MODULES = {
    "Pack": "pack",
    "PackAsker": "asker",
    "ProfileSampler": "profile_sampler",
    "Proposal": "proposer",
    "Proposer": "proposer",
    "build_proposer": "proposers",
    "under_floor": "pruning",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
