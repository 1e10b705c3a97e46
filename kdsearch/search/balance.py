"""Which setup is served next: the one in most doubt."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from kdsearch.spec import Setup, StudySpec, level_label, setup_key
from kdsearch.storage import TrialRow, setup_keys

_LEAST_SHARE, _SHARE_STEP, _MOST_SHARE = 0.6, 0.05, 1.6
"""No setup has less than 60% of the mean number of trials (more where setups are few: 80% of four), nor
more than 160%: the doubt that they are served by is itself in doubt."""

_EARLY = 4
"""Doubt is weighed against the root of so many trials more than there are: first doubts are not to be
believed to the letter."""


def is_evidence(trial: TrialRow) -> bool:
    """Return whether a trial says, or will say, something about its setup.

    A lost worker or a broken trainer says nothing; a diverged student does.
    """
    return trial.state != "failed" or trial.has_result


def next_setup(spec: StudySpec, trials: Sequence[TrialRow], decided: Collection[str] = ()) -> Setup:
    """Return the setup with the fewest trials done, running or waiting. The first of equals.

    Setups whose keys are in `decided` are served no more.

    Args:
        spec: The study's spec.
        trials: Its trials so far.
        decided: The keys of setups that get no more.
    """
    counts = count_by_setup(trials)
    undecided = [setup for setup in spec.setups() if setup_key(setup) not in decided]
    return min(undecided, key=lambda setup: counts[setup_key(setup)])


def count_by_setup(trials: Sequence[TrialRow]) -> Counter[str]:
    """Return how many trials say something about each setup, by its key."""
    keys = setup_keys(trials)
    return Counter(keys[id(trial.setup)] for trial in trials if is_evidence(trial))


def trials_of(setup: Setup, trials: Sequence[TrialRow]) -> Sequence[TrialRow]:
    """Return the trials of one setup that say something about it."""
    key = setup_key(setup)
    own = {identity for identity, known in setup_keys(trials).items() if known == key}
    return [trial for trial in trials if id(trial.setup) in own and is_evidence(trial)]


def covering_order(setups: Sequence[Setup]) -> list[Setup]:
    """Return the setups so that every beginning of the list differs most."""
    labels = np.array([[level_label(level) for level in setup.values()] for setup in setups])
    differing = (labels[:, None] != labels).sum(axis=-1).astype(float)
    chosen = [0]
    while len(chosen) < len(setups):
        apart = differing[:, chosen].min(axis=1) + 0.1 * differing[:, chosen].mean(axis=1)
        apart[chosen] = -1.0
        chosen.append(int(apart.argmax()))
    return [setups[index] for index in chosen]


def in_doubt_first(
    setups: Sequence[Setup], counts: Mapping[str, int], doubts: Mapping[str, float], size: int
) -> Setup:
    """Return the setup with the largest expected regret for its trials.

    Each regret is divided by the root of the setup's trials and a few more. A setup with far too few trials
    comes first; one with far too many is left out.

    Args:
        setups: Those that may be served.
        counts: Trials of each by its key, those that run included.
        doubts: Expected regret of each by its key.
        size: Trials of a pack.
    """
    own = [counts[setup_key(setup)] for setup in setups]
    mean = sum(own) / len(own)
    least = max(_LEAST_SHARE, 1 - _SHARE_STEP * len(setups)) * mean
    if min(own) < least:
        return setups[own.index(min(own))]
    open_ = [setup for setup, n in zip(setups, own, strict=True) if n <= _MOST_SHARE * mean + size]
    return max(open_, key=lambda s: doubts[setup_key(s)] / (counts[setup_key(s)] + _EARLY) ** 0.5)
