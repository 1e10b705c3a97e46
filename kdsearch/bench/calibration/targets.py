"""What the answers are to hold, and whether they do: per family of shapes and per table."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kdsearch.bench.calibration.rivals import OURS
from kdsearch.bench.calibration.summaries import Summary
from kdsearch.bench.search.summaries import Mean
from kdsearch.bench.search.targets import Target

KEPT = (0.85, 0.98)  # around the 90% that the intervals state
RATIO = 1.5  # of stated to true loss, either way; by hand
LEAST_RATIO = 0.5  # for a single kind of shapes, whose mean has to hold `RATIO`; by hand
FAR, OVER = 0.05, 0.1  # of the decided: may lose more than 0.5, than 0.2 points; by hand
FLAT_SAID, FLAT_WRONG = 0.9, 0.05  # at least, of flat curves; at most, of others; by hand
SAVED = 0.25  # of the best rival's trials; by hand: less is hardly worth a sampler
ENOUGH = 8
"""From so many trials a setup on the answers have to hold."""


def targets_of(summaries: Sequence[Summary], n_setups: int = 12) -> list[Target]:
    """Return each target the studies can judge, and whether it is met."""
    found: list[Target] = []
    for part, kind in dict.fromkeys((s.part, s.kind) for s in summaries):
        own = [s for s in summaries if (s.part, s.kind) == (part, kind)]
        setups = 4 if "quickstart" in part else n_setups
        found += _of_kind(part, kind, own, setups)
    found += _of_shapes([s for s in summaries if s.part == "shapes" and s.search == OURS], n_setups)
    found += _of_tables([s for s in summaries if s.part == "tables"])
    return sorted(found, key=lambda target: target.name[0])


def _of_kind(part: str, kind: str, own: Sequence[Summary], n_setups: int) -> Iterator[Target]:
    ours = sorted((s for s in own if s.search == OURS), key=lambda s: s.trials)
    judged = [s for s in ours if s.trials >= ENOUGH * n_setups]
    where = f"{kind}, {ours[-1].studies if ours else 0} studies"
    if judged:
        yield from _of_promise(where, judged)
        if part == "shapes":  # the truths of trained students are not known so well
            yield from _of_default(where, judged)
        yield from _of_regret(part, where, judged)
        yield from _of_decided(where, judged)
        yield from _of_flatness(where, judged)
    yield from _against_rivals(where, own)


def _told(of: Sequence[tuple[Summary, object]]) -> str:
    return ", ".join(f"{value} at {summary.trials}" for summary, value in of)


def _of_promise(where: str, judged: Sequence[Summary]) -> Iterator[Target]:
    low, high = KEPT
    kept = [(s, s.kept) for s in judged if s.kept is not None]
    if kept:
        met = all(low <= mean.value <= high for _, mean in kept)
        yield Target(f"a: intervals keep their promise in {low:.0%} to {high:.0%}", where, _told(kept), met)


def _of_default(where: str, judged: Sequence[Summary]) -> Iterator[Target]:
    low = KEPT[0]
    held = [(s, s.default_held) for s in judged if s.default_held is not None]
    if held:
        met = all(mean.value >= low for _, mean in held)
        name = f"a: intervals of what T = 4 loses hold it in {low:.0%} at least"
        yield Target(name, where, _told(held), met)


def _of_regret(part: str, where: str, judged: Sequence[Summary]) -> Iterator[Target]:
    told = [(s, f"{s.ratio:.2f} ({s.stated} / {s.loss})") for s in judged if s.ratio is not None]
    ratios = [s.ratio for s in judged if s.ratio is not None]
    if not ratios:
        return
    if part == "shapes":
        met = min(ratios) >= LEAST_RATIO
        yield Target(f"b: stated regret at least {LEAST_RATIO:g} of the true one", where, _told(told), met)
    else:
        met = all(1 / RATIO <= ratio <= RATIO for ratio in ratios)
        yield Target(f"b: stated regret within a factor {RATIO:g}", where, _told(told), met)


def _of_decided(where: str, judged: Sequence[Summary]) -> Iterator[Target]:
    for points, limit, name in ((0.5, FAR, "decided_far"), (0.2, OVER, "decided_over")):
        shares: list[tuple[Summary, Mean]] = [
            (s, getattr(s, name)) for s in judged if getattr(s, name) is not None
        ]
        if shares:
            met = all(mean.value <= limit for _, mean in shares)
            told = ", ".join(
                f"{mean} of {s.decided.value if s.decided else 0:.0%} at {s.trials}" for s, mean in shares
            )
            yield Target(f"c: {limit:.0%} of decided lose > {points:g} at most", where, told, met)


def _of_flatness(where: str, judged: Sequence[Summary]) -> Iterator[Target]:
    said = [(s, s.flat_said) for s in judged if s.flat_said is not None]
    if said:
        met = all(mean.value >= FLAT_SAID for _, mean in said)
        yield Target(f"d: flat is said of {FLAT_SAID:.0%} of flat curves", where, _told(said), met)
    wrong = [(s, s.flat_wrong) for s in judged if s.flat_wrong is not None]
    if wrong:
        met = all(mean.value <= FLAT_WRONG for _, mean in wrong)
        yield Target(f"d: flat is said of {FLAT_WRONG:.0%} of others at most", where, _told(wrong), met)


@dataclass(frozen=True)
class _Duel:
    """Ours against the best rival after so many trials: what ours loses more, over the same seeds."""

    trials: int
    rival: str
    ours: Mean
    theirs: Mean
    apart: Mean

    def __str__(self) -> str:
        apart = f"{self.apart.value:+.3f}±{self._error:.3f}"
        return f"{self.ours}, {self.rival} {self.theirs} ({apart}) at {self.trials}"

    @property
    def _error(self) -> float:
        return self.apart.error or 0.0

    @property
    def worse(self) -> bool:
        """Whether ours loses more by more than the error."""
        return self.apart.value > self._error


def _duels(own: Sequence[Summary]) -> Iterator[_Duel]:
    for ours in sorted((s for s in own if s.search == OURS), key=lambda s: s.trials):
        rivals = [s for s in own if s.search != OURS and s.trials == ours.trials]
        shared = [(s, sorted(ours.losses.keys() & s.losses.keys())) for s in rivals]
        known = [(s, seeds) for s, seeds in shared if seeds]
        if not known:
            continue
        best, seeds = min(known, key=lambda pair: float(np.mean([pair[0].losses[k] for k in pair[1]])))
        apart = np.array([ours.losses[k] - best.losses[k] for k in seeds])
        error = float(apart.std(ddof=1) / np.sqrt(len(apart))) if len(apart) > 1 else None
        yield _Duel(ours.trials, best.search, ours.loss, best.loss, Mean(float(apart.mean()), error))


def _against_rivals(where: str, own: Sequence[Summary]) -> Iterator[Target]:
    duels = list(_duels(own))
    if duels:
        met = not any(duel.worse for duel in duels)
        told = "; ".join(map(str, duels))
        yield Target("e: never above the best rival by more than its error", where, told, met)


def _of_shapes(ours: Sequence[Summary], n_setups: int) -> Iterator[Target]:
    counts = sorted({s.trials for s in ours if s.trials >= ENOUGH * n_setups})
    ratios = {}
    for n_trials in counts:
        own = [s for s in ours if s.trials == n_trials and s.stated is not None]
        stated = sum(s.stated.value for s in own if s.stated is not None)
        ratios[n_trials] = stated / max(sum(s.loss.value for s in own), 1e-9)
    if ratios:
        met = all(1 / RATIO <= ratio <= RATIO for ratio in ratios.values())
        told = ", ".join(f"{ratio:.2f} at {n_trials}" for n_trials, ratio in ratios.items())
        yield Target(f"b: stated regret within a factor {RATIO:g}", "mean over all shapes", told, met)


def _of_tables(summaries: Sequence[Summary]) -> Iterator[Target]:
    saved = {}
    for kind in dict.fromkeys(s.kind for s in summaries):
        share = saved_trials([s for s in summaries if s.kind == kind])
        if share is not None:
            saved[kind] = share
    if saved:
        met = sum(share >= SAVED for share in saved.values()) >= len(saved) / 2
        told = ", ".join(f"{kind} {share:.0%}" for kind, share in saved.items())
        yield Target(f"f: {SAVED:.0%} fewer trials on half of the tables", "tables", told, met)


def saved_trials(own: Sequence[Summary]) -> float | None:
    """Return the share of trials saved against the best rival.

    Ours needs so much less of them to lose as little as that rival does at the end. Between the numbers of
    trials that were asked, the loss is taken to fall evenly; None without rivals.
    """
    ours = sorted((s for s in own if s.search == OURS), key=lambda s: s.trials)
    if not ours:
        return None
    last = ours[-1].trials
    rivals = [s.loss.value for s in own if s.search != OURS and s.trials == last]
    if not rivals:
        return None
    goal = min(rivals)
    counts = np.array([s.trials for s in ours], dtype=float)
    losses = np.array([s.loss.value for s in ours])
    from_here_on = np.maximum.accumulate(losses[::-1])[::-1]
    reached = np.flatnonzero(from_here_on <= goal)
    if not len(reached):
        return 0.0
    k = int(reached[0])
    if k == 0:
        return float(1 - counts[0] / last)
    share = (from_here_on[k - 1] - goal) / (from_here_on[k - 1] - from_here_on[k])
    return float(1 - (counts[k - 1] + share * (counts[k] - counts[k - 1])) / last)
