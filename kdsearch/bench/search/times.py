"""How long a pack and the answers take, in CPU seconds.

It depends on the number of trials on record.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kdsearch.analysis import best
from kdsearch.bench.search.simulation import SimulatedStudy, simulated_study
from kdsearch.search import build_proposer

PACK = 8  # the size that the target of `ASK_S` is stated for


@dataclass(frozen=True)
class Times:
    """CPU seconds, as one core needs them.

    Attributes:
        n_setups: Setups of the study.
        trials: Trials on record.
        first_ask_s: A driver's first pack, which fits the model.
        next_ask_s: The pack after that.
        answer_s: The answers of all setups.
    """

    n_setups: int
    trials: int
    first_ask_s: float
    next_ask_s: float
    answer_s: float


def times_of(n_trials: int, *, levels: tuple[int, ...] = (2, 3, 2), seed: int = 0) -> Times:
    """Return the times with `n_trials` simulated trials on record.

    The trials are randomly placed.
    """
    study = simulated_study("shared", seed, levels=levels, pack=PACK, n_trials=n_trials + 2 * PACK)
    _fill(study, n_trials)
    proposer = build_proposer(study.spec)
    first = _cpu_seconds(lambda: study.search(proposer, n_trials + PACK))
    following = _cpu_seconds(lambda: study.search(proposer, n_trials + 2 * PACK))
    answer = _cpu_seconds(lambda: best(study.spec, study.rows))
    return Times(len(study.spec.setups()), n_trials, first, following, answer)


def _fill(study: SimulatedStudy, n_trials: int) -> None:
    rng = np.random.default_rng(study.spec.search.seed)
    setups = study.spec.setups()
    for number in range(n_trials):
        setup = setups[number % len(setups)]
        dimensions = study.spec.dimensions(setup)
        study.run(setup, {path: dimension.from_unit(rng.random()) for path, dimension in dimensions.items()})


def _cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start
