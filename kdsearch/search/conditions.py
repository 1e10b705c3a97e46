"""Parameters of an Optuna study that exist under some setups alone."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from kdsearch.spec.roles import role_of

Levels: TypeAlias = tuple[Any, ...]
"""The values of the setup's parameters, in their order."""


@dataclass(frozen=True)
class Conditions:
    """What exists under some setups alone.

    Attributes:
        distributions: Each such parameter's.
        roles: By a setup's levels, each parameter that exists there, with its role: what its name says beside
            the level, so that `lr_sgd` and `lr_adamw` are both `lr`.
    """

    distributions: Mapping[str, BaseDistribution] = field(default_factory=dict)
    roles: Mapping[Levels, Mapping[str, str]] = field(default_factory=dict)


def conditions_of(trials: Iterable[FrozenTrial], setup: Sequence[str]) -> Conditions:
    """Return the parameters that exist under only some of the setups run.

    A parameter exists under a setup where all of its trials have it, from one distribution.

    Args:
        trials: Those that are complete.
        setup: The parameters that are conditions.
    """
    found = _common_by_setup(trials, setup)
    if len(found) < 2:
        return Conditions()
    everywhere = set.intersection(*(set(own) for own in found.values()))
    drawn: dict[str, list[BaseDistribution]] = {}
    for own in found.values():
        for name in own.keys() - everywhere:
            drawn.setdefault(name, []).append(own[name])
    kept = {n: d[0] for n, d in drawn.items() if all(other == d[0] for other in d) and not d[0].single()}
    names = {levels: sorted(own.keys() & kept.keys()) for levels, own in found.items()}
    return Conditions(kept, {levels: _roles(own, levels) for levels, own in names.items()})


def _common_by_setup(
    trials: Iterable[FrozenTrial], setup: Sequence[str]
) -> dict[Levels, dict[str, BaseDistribution]]:
    """Return what all trials of each setup have in common."""
    found: dict[Levels, dict[str, BaseDistribution]] = {}
    for trial in trials:
        if all(name in trial.params for name in setup):
            levels = tuple(trial.params[name] for name in setup)
            known = found.get(levels, trial.distributions)
            found[levels] = {n: d for n, d in known.items() if trial.distributions.get(n) == d}
    return found


def _roles(names: Sequence[str], levels: Levels) -> dict[str, str]:
    """Return each parameter's role under a setup. Where two would have one role, each has its own."""
    roles = {name: role_of(name, map(str, levels)) for name in names}
    taken = list(roles.values())
    return {name: role if taken.count(role) == 1 else name for name, role in roles.items()}
