"""Means over studies with their standard errors, and the tables of them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from kdsearch.bench.calibration.campaign import Result
from kdsearch.bench.calibration.scores import Score
from kdsearch.bench.search.summaries import Mean, mean_over

_COLUMNS = (
    "{:18} {:12} {:>6} {:>4} {:>11} {:>11} {:>5} {:>11} {:>9} {:>9} {:>5} {:>7} {:>11} {:>11} "
    "{:>5} {:>5} {:>5} {:>5} {:>6} {:>5} {:>5}"
)
_MANY = 100  # times the true regret: that is next to nothing
HEADER = _COLUMNS.format(
    *("kind", "search", "trials", "n", "loses", "stated", "ratio", "kept", "by draws", "strict", "width"),
    *("decided", "> 0.5", "> 0.2", "flat", "wrong", "near", "found", "T=4 by", "held", "truth"),
)


@dataclass(frozen=True)
class Summary:
    """The answers to studies of one kind that one search made.

    All are taken after the same number of trials.

    Attributes:
        part: What they are studies of.
        kind: The family or table.
        search: What chose their trials.
        trials: After so many of all setups together.
        studies: How many.
        losses: Each study's mean loss, by its seed.
        loss: Their mean; `stated`: what was said of it.
        kept: The share of intervals that keep their promise; `kept_drawn` with the truth's own error,
            `strict` of those that hold the best temperature, and their `width`.
        silent: The share of setups without an answer.
        decided: The share of setups called decided.
        decided_far: Of these, the share that loses more than half a point; `decided_over` more than 0.2.
        flat_said: How often flat is said of flat curves; `flat_wrong` of others.
        near_right: The share of near-optimal ranges that is right; `near_found` of what they should hold.
        default_error: The mean of what is said of T = 4 minus what is true; `default_held`: intervals right.
        truth_error: The truth's own standard error, in points.
    """

    part: str
    kind: str
    search: str
    trials: int
    studies: int
    losses: dict[int, float]
    loss: Mean
    stated: Mean | None
    kept: Mean | None
    kept_drawn: Mean | None
    strict: Mean | None
    width: Mean | None
    silent: float
    decided: Mean | None
    decided_far: Mean | None
    decided_over: Mean | None
    flat_said: Mean | None
    flat_wrong: Mean | None
    near_right: Mean | None
    near_found: Mean | None
    default_error: Mean | None
    default_held: Mean | None
    truth_error: float

    @property
    def ratio(self) -> float | None:
        """The stated regret as a share of the true one."""
        return None if self.stated is None else self.stated.value / max(self.loss.value, 1e-9)

    def line(self) -> str:
        """Return the summary as a line of the table under `HEADER`."""
        ratio = "-" if self.ratio is None else f"{self.ratio:.2f}" if self.ratio < _MANY else "many"
        return _COLUMNS.format(
            *(self.kind[:18], self.search, str(self.trials), str(self.studies)),
            *(str(self.loss), _text(self.stated), ratio, _text(self.kept), _short(self.kept_drawn)),
            *(_short(self.strict), _short(self.width), _short(self.decided)),
            *(_text(self.decided_far), _text(self.decided_over)),
            *(_short(self.flat_said), _short(self.flat_wrong)),
            *(_short(self.near_right), _short(self.near_found)),
            *(_short(self.default_error), _short(self.default_held), f"{self.truth_error:.2f}"),
        )


def _text(mean: Mean | None) -> str:
    return "-" if mean is None else str(mean)


def _short(mean: Mean | None) -> str:
    return "-" if mean is None else f"{mean.value:.2f}"


def summaries_of(results: Iterable[Result]) -> list[Summary]:
    """Return a summary for each kind, search and number of trials."""
    groups: dict[tuple[str, str, str, int], dict[int, Sequence[Score]]] = {}
    for result in results:
        for n_trials, scores in result.answers.items():
            key = (result.case.part, result.case.kind, result.case.search, n_trials)
            groups.setdefault(key, {})[result.case.seed] = scores
    return [_summary(*key, studies) for key, studies in sorted(groups.items())]


def _summary(
    part: str, kind: str, search: str, n_trials: int, by_seed: dict[int, Sequence[Score]]
) -> Summary:
    studies = list(by_seed.values())
    every = [one for scores in studies for one in scores]

    def mean(value: Callable[[Score], float | bool | None]) -> Mean | None:
        return mean_over([[v for one in scores if (v := value(one)) is not None] for scores in studies])

    def of_decided(limit: float) -> Mean | None:
        """Return a share of all decided answers: studies with few of them count less."""
        lost = [[one.loss > limit for one in scores if one.decided] for scores in studies]
        return share_of(lost)

    return Summary(
        part=part,
        kind=kind,
        search=search,
        trials=n_trials,
        studies=len(studies),
        losses={seed: float(np.mean([one.loss for one in scores])) for seed, scores in by_seed.items()},
        loss=mean(lambda s: s.loss) or Mean(float("nan"), None),
        stated=mean(lambda s: s.stated),
        kept=mean(lambda s: s.kept),
        kept_drawn=mean(lambda s: s.kept_drawn),
        strict=mean(lambda s: s.strict),
        width=mean(lambda s: s.width),
        silent=float(np.mean([one.silent for one in every])),
        decided=mean(lambda s: s.decided),
        decided_far=of_decided(0.5),
        decided_over=of_decided(0.2),
        flat_said=mean(lambda s: s.flat if s.truly_flat else None),
        flat_wrong=mean(lambda s: s.flat if s.truly_flat is False else None),
        near_right=mean(lambda s: s.near_right),
        near_found=mean(lambda s: s.near_found),
        default_error=mean(lambda s: s.default_error),
        default_held=mean(lambda s: s.default_held),
        truth_error=float(np.mean([one.truth_error for one in every])),
    )


def share_of(studies: Sequence[Sequence[bool]]) -> Mean | None:
    """Return a share of all cases and its standard error.

    The error is over studies, which differ in their number of cases.
    """
    counts = np.array([len(own) for own in studies], dtype=float)
    if not counts.sum():
        return None
    hits = np.array([sum(own) for own in studies], dtype=float)
    share = hits.sum() / counts.sum()
    if len(studies) < 2:
        return Mean(float(share), None)
    apart = hits - share * counts
    error = np.sqrt((apart**2).sum() * len(studies) / (len(studies) - 1)) / counts.sum()
    return Mean(float(share), float(error))


def table(summaries: Sequence[Summary]) -> list[str]:
    """Return the summaries as lines of a table, part by part."""
    lines: list[str] = []
    for part in dict.fromkeys(summary.part for summary in summaries):
        own = [summary for summary in summaries if summary.part == part]
        order = sorted(own, key=lambda s: (s.kind, s.search != "profile", s.search, s.trials))
        lines += ["", f"{part}:", HEADER, *(summary.line() for summary in order)]
    return lines
