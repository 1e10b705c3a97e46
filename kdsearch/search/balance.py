"""Which setup is served next: the one with the fewest trials, so that none starves."""

from collections import Counter
from collections.abc import Collection, Sequence

from kdsearch.spec import Setup, StudySpec, setup_key
from kdsearch.storage import TrialRow, setup_keys


def is_evidence(trial: TrialRow) -> bool:
    """Return whether a trial says, or will say, something about its setup.

    A lost worker or a broken trainer says nothing; a diverged student does.
    """
    return trial.state != "failed" or trial.reason == "diverged"


def next_setup(spec: StudySpec, trials: Sequence[TrialRow], decided: Collection[str] = ()) -> Setup:
    """Return the setup with the fewest trials done, running or waiting; the first of equals.

    Setups whose keys are in `decided` are served no more.
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
