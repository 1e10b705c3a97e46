"""How good answers to a simulated study are, against the truth.

Each is held against its setup's truth.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kdsearch.analysis import SetupAnswer, best
from kdsearch.bench.search.simulation import SimulatedStudy
from kdsearch.spec import TEMPERATURE, Setup, setup_key

TOLERANCE_POINTS = 0.5  # as the answers' default tolerance
_GRID = np.linspace(0.0, 1.0, 401)


@dataclass(frozen=True)
class SetupScore:
    """How good one answer was: regret and width in points and shares of the temperature's range.

    `covered`, `near_found` (the share of the truly near-optimal range that was reported), `flat` and
    `truly_flat` are None where only the best trial answers.
    """

    regret: float
    covered: bool | None = None
    width: float | None = None
    near_found: float | None = None
    flat: bool | None = None
    truly_flat: bool | None = None


def model_scores(study: SimulatedStudy) -> Iterator[SetupScore | None]:
    """Yield the score of the model's answer for each setup. None where there is no answer."""
    for answer in best(study.spec, study.rows, tolerance=TOLERANCE_POINTS / 100).setups:
        yield None if answer.temperature is None else _model_score(study, answer, answer.temperature)


def _model_score(study: SimulatedStudy, answer: SetupAnswer, temperature: float) -> SetupScore:
    profile = study.truth(answer.setup).profile(_GRID)
    low, high = _positions(study, answer.setup, answer.interval)
    near_low, near_high = _positions(study, answer.setup, answer.near_optimal)
    are_best = _GRID[profile >= profile.max() - 1e-9]
    are_near = _GRID[profile >= profile.max() - TOLERANCE_POINTS]
    return SetupScore(
        regret=study.regret(answer.setup, temperature),
        covered=bool(((are_best >= low - 1e-9) & (are_best <= high + 1e-9)).any()),
        width=high - low,
        near_found=float(((are_near >= near_low) & (are_near <= near_high)).mean()),
        flat=answer.flat,
        truly_flat=bool(len(are_near) == len(_GRID)),
    )


def _positions(
    study: SimulatedStudy, setup: Setup, interval: tuple[float, float] | None
) -> tuple[float, float]:
    if interval is None:
        return 1.0, 0.0
    return study.position(setup, interval[0]), study.position(setup, interval[1])


def best_trial_scores(study: SimulatedStudy) -> Iterator[SetupScore | None]:
    """Yield the score of each setup's best observed trial. None where a setup has none."""
    for setup in study.spec.setups():
        own = [row for row in study.rows if setup_key(row.setup) == setup_key(setup)]
        measured = [(row.val_accuracy, row) for row in own if row.val_accuracy is not None]
        if not measured:
            yield None
            continue
        _, row = max(measured, key=lambda pair: pair[0])
        yield SetupScore(regret=study.regret(setup, row.params[TEMPERATURE]))
