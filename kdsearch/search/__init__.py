"""The search: which setup and which parameters come next, and when a trial is given up."""

from typing import TYPE_CHECKING, Any

from kdsearch.search.asker import Pack, PackAsker
from kdsearch.search.proposer import Proposal, Proposer
from kdsearch.search.pruning import under_floor
from kdsearch.search.samplers import build_proposer

if TYPE_CHECKING:
    from kdsearch.search.sampler import ProfileSampler

__all__ = ["Pack", "PackAsker", "ProfileSampler", "Proposal", "Proposer", "build_proposer", "under_floor"]


def __getattr__(name: str) -> Any:
    if name == "ProfileSampler":  # late: it imports Optuna
        from kdsearch.search.sampler import ProfileSampler

        return ProfileSampler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
