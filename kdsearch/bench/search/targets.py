"""The search's targets, and whether simulated studies show they are met.

Trials that it takes to a regret are the first number of them from which on the mean regret stays below it,
among the numbers that were asked. The bounds on what is said of flat curves are a reading of `where it is
flat and not elsewhere`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kdsearch.bench.search.summaries import Condition, Mean, Summary
from kdsearch.bench.search.times import Times

REGRET = 0.2  # points: a loss that hardly matters; by hand
SHARE_OF_RIVAL = 1 / 3  # of Optuna's trials; by hand
LATER_THAN_GRID = 1.25  # of the trials of a grid at a good learning rate; by hand
MOST_WITH_FAILURES = 100  # trials by which failures must not keep it from `REGRET`; by hand
COVERAGE = (0.85, 0.97)  # around the 90% that the intervals state
COVERED_FROM = 5  # trials a setup from which on `COVERAGE` has to hold; by hand
NEAR_AT, NEAR_FOUND = 16, 0.5  # trials a setup, and the share of the range to be found by then; by hand
FLAT_SAID, FLAT_WRONG = 0.9, 0.05  # at least, of flat curves; at most, of others; by hand
ASK_S = 1.0  # CPU seconds for a pack: short beside the training of one

_OURS, _GRID = "profile", "grid at default"
_OPTUNA = ("tpe", "gp", "tpe joint", "gp joint")


@dataclass(frozen=True)
class Target:
    """A target in one condition.

    `met` is None where the studies can't decide it.
    """

    name: str
    where: str
    measured: str
    met: bool | None

    def line(self) -> str:
        """Return the target as a line of a table."""
        verdict = {True: "met", False: "not met", None: "undecided"}[self.met]
        return f"{verdict:9}  {self.name:49}  {self.measured}  [{self.where}]"


@dataclass(frozen=True)
class _Reached:
    """After how many trials a regret was reached.

    `trials` is None where it was not until `last`, the most that were looked at.
    """

    sampler: str
    trials: int | None
    last: int
    regret: Mean

    def __str__(self) -> str:
        number = f"> {self.last}" if self.trials is None else str(self.trials)
        return f"{self.sampler} {number} ({self.regret})"


def targets_of(summaries: Sequence[Summary], times: Sequence[Times] = ()) -> list[Target]:
    """Return every target that the studies and timings say something about."""
    found: list[Target] = []
    for condition in dict.fromkeys(summary.condition for summary in summaries):
        own = [summary for summary in summaries if summary.condition == condition]
        found += _in_condition(condition, own)
    return sorted([*found, *_of_times(times)], key=lambda target: target.name[0])


def _in_condition(condition: Condition, own: Sequence[Summary]) -> Iterator[Target]:
    by_trials = sorted(own, key=lambda summary: summary.trials)
    model = [s for s in by_trials if (s.sampler, s.answered_by) == (_OURS, "model")]
    if not model:
        return
    ours = _reached(model)
    where = f"{condition}; studies: {model[-1].studies}"
    if condition.scenario not in ("flat", "unshared"):
        yield from _against_optuna(where, ours, by_trials)
    if condition.scenario != "flat" and not condition.lr_off:
        yield from _against_grid(where, ours, by_trials)
    if condition.scenario == "failures" and condition.n_setups == 12:
        yield from _with_failures(where, model)
    if condition.scenario != "flat":
        yield from _of_coverage(where, [s for s in model if s.trials >= COVERED_FROM * condition.n_setups])
    yield from _of_near_optimal(where, [s for s in model if s.trials == NEAR_AT * condition.n_setups])
    yield from _of_flatness(where, model)


def _reached(rising: Sequence[Summary]) -> _Reached:
    """Return from how many trials on the regret stays below target.

    It is the mean regret of all answers.
    """
    good = [s.regret.value < REGRET and (s.answered_by == "best trial" or not s.silent) for s in rising]
    first = next((k for k in range(len(good)) if all(good[k:])), None)
    at = rising[-1 if first is None else first]
    return _Reached(at.sampler, None if first is None else at.trials, rising[-1].trials, at.regret)


def _against_optuna(where: str, ours: _Reached, own: Sequence[Summary]) -> Iterator[Target]:
    observed = [s for s in own if s.sampler in _OPTUNA and s.answered_by == "best trial"]
    names = dict.fromkeys(summary.sampler for summary in observed)
    rivals = [_reached([s for s in observed if s.sampler == name]) for name in names]
    if rivals:
        rival = min(rivals, key=lambda r: (r.trials or math.inf, r.regret.value))
        name = f"a: at most 1/3 of Optuna's trials to regret {REGRET:g}"
        met = _no_later(ours, rival, SHARE_OF_RIVAL)
        yield Target(name, where, f"{ours}; best of {len(rivals)}: {rival}", met)


def _against_grid(where: str, ours: _Reached, own: Sequence[Summary]) -> Iterator[Target]:
    grid = [s for s in own if (s.sampler, s.answered_by) == (_GRID, "model")]
    if grid:
        rival = _reached(grid)
        name = f"b: at most 5/4 of a good grid's trials to {REGRET:g}"
        yield Target(name, where, f"{ours}; {rival}", _no_later(ours, rival, LATER_THAN_GRID))


def _no_later(ours: _Reached, rival: _Reached, share: float) -> bool | None:
    """Return whether ours took at most a share of the rival's trials. None where both are out of sight."""
    if rival.trials is None:
        return True if ours.trials is not None and ours.trials <= share * rival.last else None
    return ours.trials is not None and ours.trials <= share * rival.trials


def _with_failures(where: str, model: Sequence[Summary]) -> Iterator[Target]:
    early = [summary for summary in model if summary.trials <= MOST_WITH_FAILURES]
    if early:
        last = early[-1]
        met = last.regret.value < REGRET and not last.silent
        name = f"c: regret {REGRET:g} with failures in {MOST_WITH_FAILURES} trials"
        yield Target(name, where, f"{last.regret} after {last.trials}", met)


def _of_coverage(where: str, model: Sequence[Summary]) -> Iterator[Target]:
    low, high = COVERAGE
    covered = {summary.trials: summary.covered for summary in model if summary.covered}
    if covered:
        met = all(low <= share.value <= high for share in covered.values())
        told = ", ".join(f"{share} at {n_trials}" for n_trials, share in covered.items())
        yield Target(f"d: intervals hold the truth in {low:.0%} to {high:.0%}", where, told, met)


def _of_near_optimal(where: str, model: Sequence[Summary]) -> Iterator[Target]:
    for near in (summary.near_found for summary in model if summary.near_found):
        name = f"f: half of the near-optimal range at {NEAR_AT} a setup"
        yield Target(name, where, str(near), near.value >= NEAR_FOUND)


def _of_flatness(where: str, model: Sequence[Summary]) -> Iterator[Target]:
    said = model[-1].flat_said
    if said:
        name = f"e: flat is said of {FLAT_SAID:.0%} of flat curves"
        yield Target(name, where, f"{said} after {model[-1].trials}", said.value >= FLAT_SAID)
    wrong = [summary.flat_said_wrongly for summary in model if summary.flat_said_wrongly]
    if wrong:
        most = max(wrong, key=lambda share: share.value)
        name = f"e: flat is said of {FLAT_WRONG:.0%} of others at most"
        yield Target(name, where, f"{most} at the worst", most.value <= FLAT_WRONG)


def _of_times(times: Sequence[Times]) -> Iterator[Target]:
    for time in times:
        where = f"{time.n_setups} setups, {time.trials} trials"
        told = (
            f"first {time.first_ask_s:.2f} s, next {time.next_ask_s:.2f} s; all answers {time.answer_s:.2f} s"
        )
        yield Target(f"g: a pack of 8 in {ASK_S:g} s", where, told, time.first_ask_s < ASK_S)
