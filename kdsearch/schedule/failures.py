"""Which setups fail and are set aside, and why."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from textwrap import shorten

from kdsearch.spec import Setup, setup_key
from kdsearch.storage import SET_ASIDE, TrialRow, by_setup

FIRST_FAILURES = 4
"""So many trials, in two packs, fail by no chance where none has ever finished."""

MAX_FAILURES = 10
"""So many trials, and more than finished, are too many; of the last setup, whose end is the study's, too."""

_MOST_CHARACTERS = 1000  # by hand, of a reason: a traceback must not fill the screen


class Failures:
    """The failures of one driver's time, by setup."""

    def __init__(self, setups: Sequence[Setup]) -> None:
        self._keys = [setup_key(setup) for setup in setups]
        self._reasons: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._packs: defaultdict[str, set[str]] = defaultdict(set)
        self._is_new = False
        self.aside: dict[str, str] = {}

    @property
    def are_new(self) -> bool:
        """Whether a trial failed since setups were judged."""
        return self._is_new

    @property
    def all_aside(self) -> bool:
        """Whether no setup is left."""
        return len(self.aside) == len(self._keys)

    def add(self, setup: Setup, pack: str, reason: str) -> None:
        """Count a trial that failed for good."""
        key = setup_key(setup)
        self._reasons[key][reason] += 1
        self._packs[key].add(pack)
        self._is_new = True

    def judge(self, trials: Sequence[TrialRow]) -> list[str]:
        """Set setups aside that only fail, or mostly. Return the keys of those that are new.

        Args:
            trials: The study's trials so far, those of earlier drivers included.
        """
        self._is_new = False
        rows = by_setup(trials)
        found = []
        for key in self._keys:
            finished = sum(trial.has_result for trial in rows.get(key, ()))
            if key not in self.aside and self._is_hopeless(key, finished):
                self.aside[key] = SET_ASIDE + self._words(key, finished)
                found.append(key)
        return found

    def summary(self, finished: int) -> str:
        """Return in words how many trials failed, and the commonest reason."""
        reasons: Counter[str] = sum(self._reasons.values(), Counter())
        reason, count = reasons.most_common(1)[0]
        return f"{reasons.total()} trials failed and {finished} finished. {count} of them: {reason}"

    def _is_hopeless(self, key: str, finished: int) -> bool:
        failed, is_last = self._reasons[key].total(), len(self.aside) == len(self._keys) - 1
        if not is_last and finished == 0 and failed >= FIRST_FAILURES and len(self._packs[key]) > 1:
            return True
        return failed >= MAX_FAILURES and failed > finished

    def _words(self, key: str, finished: int) -> str:
        reason, count = self._reasons[key].most_common(1)[0]
        failed = self._reasons[key].total()
        told = shorten(" ".join(reason.split()), _MOST_CHARACTERS, placeholder=" …")
        return f"{failed} of its trials failed and {finished} finished, {count} of them: {told}"
