"""The search: which setup and which parameters come next, and when a trial is given up."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kdsearch.analysis.transfer import EarlierStudy
from kdsearch.search.asker import Pack, PackAsker
from kdsearch.search.designs import DESIGNS, DesignProposer, build_design
from kdsearch.search.proposer import Proposal, Proposer
from kdsearch.search.pruning import under_floor
from kdsearch.spec import StudySpec

if TYPE_CHECKING:
    from kdsearch.search.sampler import ProfileSampler

__all__ = ["Pack", "PackAsker", "ProfileSampler", "Proposal", "Proposer", "build_proposer", "under_floor"]


def __getattr__(name: str) -> Any:
    if name == "ProfileSampler":  # late: it imports Optuna
        from kdsearch.search.sampler import ProfileSampler

        return ProfileSampler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def build_proposer(spec: StudySpec, earlier: Sequence[EarlierStudy] = ()) -> Proposer:
    """Return the proposer that `search.sampler` names; `auto` is `profile`.

    Args:
        spec: The study's spec.
        earlier: The studies that `search.warm_start` names; they tell the profile sampler alone.
    """
    name = spec.search.sampler
    if name in DESIGNS:
        return DesignProposer(spec, build_design(name, spec))
    if name in ("tpe", "gp"):
        from kdsearch.search.optuna_proposers import SAMPLERS, OptunaProposer

        return OptunaProposer(spec, SAMPLERS[name])
    from kdsearch.search.profile import ProfileProposer

    return ProfileProposer(spec, spec.search.seed, earlier)
