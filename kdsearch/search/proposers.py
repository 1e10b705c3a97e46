"""From a sampler's name to what proposes."""

from collections.abc import Sequence

from kdsearch.analysis.response.warm_start import EarlierStudy
from kdsearch.search.designs import DESIGNS, DesignProposer, build_design
from kdsearch.search.proposer import Proposer
from kdsearch.spec import StudySpec


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
