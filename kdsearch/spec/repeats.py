"""Setups that are the same training under several names: allowed, but their trials are spent twice."""

from kdsearch.spec.space import Setup, setup_key
from kdsearch.spec.study import StudySpec

_ALPHA = "objective.alpha"


def repeated_baselines(spec: StudySpec) -> str | None:
    """Return a note where setups without distillation differ by their teacher alone. None without any."""
    if spec.trainer != "distill" or _ALPHA in spec.tune:
        return None
    plain = [setup for setup in spec.setups() if setup.get(_ALPHA, spec.objective.alpha) == 0]
    known = {setup_key(_without_teacher(setup)) for setup in plain}
    if len(known) == len(plain):
        return None
    trainings = "the same training" if len(known) == 1 else f"only {len(known)} different trainings"
    return (
        f"{len(plain)} setups have `{_ALPHA}: 0`, which uses no teacher, and are {trainings}: each teacher's "
        "gets trials of its own. A study of its own for them, without teachers, spends fewer."
    )


def _without_teacher(setup: Setup) -> Setup:
    return {path: level for path, level in setup.items() if not path.startswith("teacher.")}
