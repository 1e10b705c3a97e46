"""What a claim compares: matched setups and their profiles."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from kdsearch.analysis.response.axes import FloatArray, IntArray
from kdsearch.analysis.response.candidates import product_nodes
from kdsearch.analysis.response.fitted import Response
from kdsearch.analysis.response.profiles import TemperatureProfile
from kdsearch.analysis.response.selection import select_setups
from kdsearch.spec import Claim, level_label, level_name
from kdsearch.spec.claims import Quantity

_COARSE = 4
"""The common rate is sought at every fourth temperature: between them it hardly changes."""


@dataclass(frozen=True)
class Contrast:
    """The setups that a claim compares. `groups` has those of each level, matched by their order.

    Where the claim names no level each setup is a group of its own. `reason` tells why there is nothing to
    compare; `left_out` counts setups without an answer, or without a partner that has one.
    """

    groups: list[list[int]]
    left_out: int = 0
    reason: str | None = None

    @property
    def members(self) -> list[int]:
        """All setups that are compared."""
        return [s for group in self.groups for s in group]


def contrast_of(response: Response, claim: Claim) -> Contrast:
    """Return the setups that a claim compares."""
    chosen = select_setups(response.space.setups, claim.where)
    silent = {s: why for s in chosen if (why := _silence(response, claim, s)) is not None}
    answered = [s for s in chosen if s not in silent]
    groups = _by_level(response, claim, answered) if claim.factor else [[s] for s in answered]
    members = [s for group in groups for s in group]
    if not members or (not claim.levels and claim.quantity == "shared_temperature" and len(groups) < 2):
        why = next(iter(silent.values()), "it takes two setups that differ in nothing else.")
        return Contrast([], len(chosen), why)
    if not len(response.shared_temperatures(members)):
        return Contrast([], len(chosen), "the compared setups have no temperature in common.")
    if claim.quantity == "spread" and not claim.levels:
        groups = [members]
    n_asked = len([s for s in chosen if _is_asked(response, claim, s)])
    return Contrast(groups, n_asked - len(members))


def _silence(response: Response, claim: Claim, setup: int) -> str | None:
    """Return why a setup has no part. One whose objective has no temperature still has an accuracy."""
    return response.shortage(setup) if claim.quantity == "accuracy" else response.silence(setup)


def _is_asked(response: Response, claim: Claim, setup: int) -> bool:
    return not claim.levels or _level(response, claim, setup) in _levels(response, claim)


def _levels(response: Response, claim: Claim) -> list[str]:
    assert claim.factor is not None  # noqa: S101 - only claims about a factor are asked
    known = [setup[claim.factor] for setup in response.space.setups]
    asked = claim.levels or tuple({level_label(level): level for level in known}.values())
    return [level_name(claim.factor, level) for level in asked]


def _level(response: Response, claim: Claim, setup: int) -> str:
    assert claim.factor is not None  # noqa: S101 - only claims about a factor are asked
    return level_name(claim.factor, response.space.setups[setup][claim.factor])


def _by_level(response: Response, claim: Claim, answered: Sequence[int]) -> list[list[int]]:
    """Return the setups of each level. Only those whose other factors are there at every level."""
    levels = _levels(response, claim)
    by_others: dict[tuple[str, ...], dict[str, int]] = {}
    for s in answered:
        setup = response.space.setups[s]
        others = tuple(level_label(level) for path, level in setup.items() if path != claim.factor)
        by_others.setdefault(others, {})[_level(response, claim, s)] = s
    matched = [found for found in by_others.values() if all(level in found for level in levels)]
    return [[found[level] for found in matched] for level in levels]


def tuned_profiles(response: Response, contrast: Contrast) -> list[TemperatureProfile]:
    """Return each group's profile with its other parameters tuned.

    They are at their best for each temperature and setup.
    """
    nodes = response.shared_temperatures(contrast.members)
    return [_of_group(response, group, nodes) for group in contrast.groups]


def _of_group(response: Response, group: Sequence[int], nodes: IntArray) -> TemperatureProfile:
    profile = _cut(response.profile(group), response.space.temperatures()[nodes])
    if not all(map(response.ignores_temperature, group)):
        return profile
    level = np.broadcast_to(profile.draws.mean(axis=1, keepdims=True), profile.draws.shape)
    return TemperatureProfile(profile.temperatures, np.asarray(level), profile.half_step)


def share_beyond(response: Response, contrast: Contrast, quantity: Quantity) -> float:
    """Return how probably a temperature that a quantity is made of is not compared.

    It is one of a setup's best ones, and of a spread the worst, beyond the temperatures that all compared
    setups allow. What is computed within those is then another quantity.

    Returns:
        The largest share of a setup's draws.
    """
    if quantity == "crossing":
        return 0.0
    common = response.space.temperatures()[response.shared_temperatures(contrast.members)]
    shares = [0.0]
    for s in contrast.members:
        if not response.ignores_temperature(s):
            profile = response.profile([s])
            inside = np.isin(profile.temperatures, common)
            ends = [profile.draws.argmax(axis=1)]
            ends += [profile.draws.argmin(axis=1)] if quantity == "spread" else []
            shares += [float((~inside[end]).mean()) for end in ends]
    return max(shares)


def alone_profiles(response: Response, contrast: Contrast) -> list[TemperatureProfile] | None:
    """Return each group's profile from its setups' own trials. None where there are no others, or too few."""
    temperatures = response.space.temperatures()[response.shared_temperatures(contrast.members)]
    found: list[TemperatureProfile] = []
    for group in contrast.groups:
        own = [response.profile_alone(s) for s in group]
        known = [_cut(profile, temperatures) for profile in own if profile is not None]
        if len(known) < len(own):
            return None
        draws = np.mean([profile.draws for profile in known], axis=0)
        found.append(TemperatureProfile(temperatures, draws, known[0].half_step))
    return found


def common_profiles(response: Response, contrast: Contrast) -> list[TemperatureProfile] | None:
    """Return each group's profile with other parameters at a common place.

    It is the place, as a share of each setup's own ranges, with the highest mean accuracy of all compared
    setups over the temperatures. None where nothing else is tuned, or no place is in every setup's ranges.
    """
    kept = _common_place(response, contrast)
    if kept is None:
        return None
    nodes = response.shared_temperatures(contrast.members)
    temperatures, places = response.space.temperatures()[nodes], product_nodes(nodes, kept[None])
    half_step = response.profile(contrast.members[:1]).half_step
    return [
        TemperatureProfile(temperatures, np.mean([response.at(s, places) for s in group], axis=0), half_step)
        for group in contrast.groups
    ]


def _common_place(response: Response, contrast: Contrast) -> IntArray | None:
    """Return the best common nodes of the other parameters [P - 1].

    They suit all compared setups best on average.
    """
    if not response.tunes_others:
        return None
    members = contrast.members
    tried = np.unique(np.concatenate([response.draws[s].candidates for s in members]), axis=0)
    allowed = [
        reduce(np.logical_and, (response.space.allowed(s, axis + 1) for s in members))[column]
        for axis, column in enumerate(tried.T)
    ]
    places = tried[np.logical_and.reduce(allowed)]
    if not len(places):
        return None
    nodes = response.shared_temperatures(members)[::_COARSE]
    every = product_nodes(nodes, places)
    means: list[FloatArray] = [response.at(s, every).mean(axis=0) for s in members]
    return np.asarray(places[np.mean(means, axis=0).reshape(len(nodes), -1).mean(axis=0).argmax()])


def _cut(profile: TemperatureProfile, temperatures: FloatArray) -> TemperatureProfile:
    held = np.isin(profile.temperatures, temperatures)
    return TemperatureProfile(profile.temperatures[held], profile.draws[:, held], profile.half_step)
