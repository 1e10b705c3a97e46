"""Which setup is served next: the one with the fewest trials, so that none starves."""

from collections.abc import Collection, Iterable, Sequence

from kdsearch.spec import Setup, StudySpec, setup_key
from kdsearch.storage import TrialRow, by_setup


def is_evidence(trial: TrialRow) -> bool:
    """Return whether a trial says, or will say, something about its setup.

    A lost worker or a broken trainer says nothing; a diverged student does.
    """
    return trial.state != "failed" or trial.reason == "diverged"


def next_setup(spec: StudySpec, trials: Iterable[TrialRow], decided: Collection[str] = ()) -> Setup:
    """Return the setup with the fewest trials done, running or waiting; the first of equals.

    Setups whose keys are in `decided` are served no more.
    """
    counts = {key: len(found) for key, found in by_setup(filter(is_evidence, trials)).items()}
    undecided = [setup for setup in spec.setups() if setup_key(setup) not in decided]
    return min(undecided, key=lambda setup: counts.get(setup_key(setup), 0))


def trials_of(setup: Setup, trials: Iterable[TrialRow]) -> Sequence[TrialRow]:
    """Return the trials of one setup that say something about it."""
    return by_setup(filter(is_evidence, trials)).get(setup_key(setup), [])
