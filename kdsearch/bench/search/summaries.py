"""Means over simulated studies with standard errors, and their table."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from kdsearch.bench.search.campaign import Answering, Case, Result
from kdsearch.bench.search.scores import SetupScore

_COLUMNS = "{:15} {:10} {:>6} {:>7} {:>11} {:>5} {:>6} {:>11} {:>5} {:>11} {:>11} {:>11}"
_HEADINGS = "sampler", "answer by", "trials", "studies", "regret", "worst", "silent", "cover", "width"
HEADER = _COLUMNS.format(*_HEADINGS, "near", "flat", "wrong")


@dataclass(frozen=True)
class Mean:
    """A mean over studies and its standard error.

    One study alone has no error.
    """

    value: float
    error: float | None

    def __str__(self) -> str:
        doubt = "" if self.error is None else f"±{self.error:.3f}"
        return f"{self.value:.3f}{doubt}"


@dataclass(frozen=True)
class Condition:
    """What studies summarised together have in common.

    Only their samplers may differ.
    """

    scenario: str
    n_setups: int
    lr_off: float
    pack: int
    through: str

    @classmethod
    def of(cls, case: Case) -> "Condition":
        """Return the condition of a case."""
        return cls(case.scenario, case.n_setups, case.lr_off, case.pack, case.through)

    def __str__(self) -> str:
        off = f", learning rate {self.lr_off:g} decades off" if self.lr_off else ""
        launched = ", launched" if self.through == "launch" else ""
        return f"{self.scenario}, {self.n_setups} setups, packs of {self.pack}{off}{launched}"


@dataclass(frozen=True)
class Summary:
    """All answers of some studies after so many trials.

    Attributes:
        condition: What the studies have in common.
        sampler: What chose their trials.
        answered_by: The model, or each setup's best trial.
        trials: After so many of all setups together.
        studies: How many.
        regret: Accuracy in points that the recommended temperatures truly lose.
        worst: The worst setup's.
        silent: The share of setups without an answer.
        covered: The share of intervals that hold the truth; None here and below for the best trial.
        width: Of the intervals, as shares of the range.
        near_found: The share of the truly near-optimal range that was reported.
        flat_said: How often `flat` was said of flat curves; None where there are none.
        flat_said_wrongly: How often of others; None where there are none.
    """

    condition: Condition
    sampler: str
    answered_by: Answering
    trials: int
    studies: int
    regret: Mean
    worst: float
    silent: float
    covered: Mean | None
    width: Mean | None
    near_found: Mean | None
    flat_said: Mean | None
    flat_said_wrongly: Mean | None

    def line(self) -> str:
        """Return the summary as a line of the table under `HEADER`."""
        shares = (self.covered, self.width, self.near_found, self.flat_said, self.flat_said_wrongly)
        cover, width, *others = ["-" if share is None else str(share) for share in shares]
        counts = (
            str(self.trials),
            str(self.studies),
            str(self.regret),
            f"{self.worst:.2f}",
            f"{self.silent:.2f}",
        )
        return _COLUMNS.format(self.sampler, self.answered_by, *counts, cover, width[:4], *others)


def summaries_of(results: Iterable[Result]) -> list[Summary]:
    """Return a summary for each group of answers.

    A group is a condition, sampler, way of answering and number of trials.
    """
    groups: dict[tuple[Condition, str, Answering, int], list[Sequence[SetupScore | None]]] = {}
    for result in results:
        for answered in result.answers:
            key = (Condition.of(result.case), result.case.sampler, answered.by, answered.trials)
            groups.setdefault(key, []).append(answered.scores)
    return [_summary(*key, studies) for key, studies in groups.items()]


def _summary(
    condition: Condition,
    sampler: str,
    by: Answering,
    n_trials: int,
    studies: Sequence[Sequence[SetupScore | None]],
) -> Summary:
    known = [[score for score in scores if score is not None] for scores in studies]

    def mean(value: Callable[[SetupScore], float | bool | None]) -> Mean | None:
        return mean_over([[v for score in scores if (v := value(score)) is not None] for scores in known])

    return Summary(
        condition=condition,
        sampler=sampler,
        answered_by=by,
        trials=n_trials,
        studies=len(studies),
        regret=mean(lambda s: s.regret) or Mean(float("nan"), None),
        worst=max((score.regret for scores in known for score in scores), default=float("nan")),
        silent=1 - sum(map(len, known)) / sum(map(len, studies)),
        covered=mean(lambda s: s.covered),
        width=mean(lambda s: s.width),
        near_found=mean(lambda s: s.near_found),
        flat_said=mean(lambda s: s.flat if s.truly_flat else None),
        flat_said_wrongly=mean(lambda s: None if s.truly_flat else s.flat),
    )


def mean_over(studies: Sequence[Sequence[float]]) -> Mean | None:
    """Return the mean of the studies' means. Setups of one study are no independent repetitions.

    None where no study has a value.
    """
    means = [float(np.mean(values)) for values in studies if len(values)]
    if not means:
        return None
    error = float(np.std(means, ddof=1) / np.sqrt(len(means))) if len(means) > 1 else None
    return Mean(float(np.mean(means)), error)


def table(summaries: Sequence[Summary]) -> list[str]:
    """Return the summaries as a table, a part for each condition."""
    lines: list[str] = []
    for condition in dict.fromkeys(summary.condition for summary in summaries):
        own = [summary for summary in summaries if summary.condition == condition]
        order = sorted(
            own, key=lambda s: (s.sampler != "profile", s.sampler, s.answered_by != "model", s.trials)
        )
        lines += ["", f"{condition}:", HEADER, *(summary.line() for summary in order)]
    return lines
