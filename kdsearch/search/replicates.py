"""Which trials repeat a point that its replicates have judged already."""

import json
from collections.abc import Sequence

import numpy as np

from kdsearch.spec import Params
from kdsearch.storage import TrialRow

MIN_REPLICATES = 3
"""With fewer on each side no rank-sum test gets to 5%."""

LEVEL = 0.05
"""The usual one; a point that is set aside wrongly costs replicates, not the answer."""


def outranked(asked: Sequence[Params], trials: Sequence[TrialRow]) -> list[bool]:
    """Return for each asked point whether its replicates lose against the best's.

    The best point is the one with the highest mean accuracy; both need three replicates. They are compared by
    Wilcoxon's rank-sum test (1945), one-sided, at 5%: seeds are each trial's own, so nothing is paired.

    Args:
        asked: Parameter sets of one setup.
        trials: The setup's trials of the same length.
    """
    accuracies: dict[str, list[float]] = {}
    for trial in trials:
        if trial.state == "complete" and trial.val_accuracy is not None:
            accuracies.setdefault(_key(trial.params), []).append(trial.val_accuracy)
    replicated = {key: own for key, own in accuracies.items() if len(own) >= MIN_REPLICATES}
    if not replicated:
        return [False] * len(asked)
    best = max(replicated, key=lambda key: np.mean(replicated[key]))
    return [_loses(replicated.get(_key(params), []), replicated[best]) for params in asked]


def _loses(own: Sequence[float], best: Sequence[float]) -> bool:
    if len(own) < MIN_REPLICATES:
        return False
    from scipy.stats import mannwhitneyu  # as long to load as all else that a search needs

    return bool(mannwhitneyu(own, best, alternative="less").pvalue <= LEVEL)


def _key(params: Params) -> str:
    """Return a point as text. What was enqueued by hand as 4 is the sampler's 4.0."""
    alike = {
        path: float(value) if isinstance(value, int) and not isinstance(value, bool) else value
        for path, value in params.items()
    }
    return json.dumps(alike, sort_keys=True)
