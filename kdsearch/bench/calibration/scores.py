"""How good one setup's public answer is, against its truth."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from kdsearch.analysis import SetupAnswer
from kdsearch.bench.calibration.worlds import Truth

TOLERANCE = 0.5
"""Points that a near-optimal temperature may lose."""
_FLAT = 0.5
_NOT_FLAT = 1.0
"""Points that the worst temperature of a flat curve loses at most, of any other at least."""
_DEFAULT = 4.0  # the usual temperature of the literature, which answers are held against
_ROUNDING = 1e-6  # points: keeps a loss that equals the bound from failing by rounding
_TRUTH_IS_SURE = 0.02
"""Points: a standard error of the truth below which its draws say nothing more."""


@dataclass(frozen=True)
class Score:
    """One answer, judged. Losses and regrets are points; None where the answer does not say.

    Attributes:
        trials: The setup's complete trials.
        silent: Whether there was no answer: then the loss is that of the study's own temperature.
        loss: What the recommended temperature truly loses against the best one.
        stated: What it is said to lose, on average.
        kept: Whether the interval holds a temperature that loses at most what it allows for.
        kept_drawn: With which probability it does, the truth being known with an error.
        strict: The same of the best temperature itself.
        width: The interval's, as a share of the range.
        decided: Whether the answer is called decided.
        flat: Whether the curve is called flat.
        truly_flat: Whether it is; None in between.
        near_right: The share of the near-optimal range that is.
        near_found: The share of what is near-optimal that is in the range.
        default_error: What T = 4 is said to lose against the recommendation, minus what it does.
        default_held: Whether the interval of that holds the truth.
        truth_error: The truth's standard error.
    """

    trials: int
    silent: bool
    loss: float
    stated: float | None = None
    kept: bool | None = None
    kept_drawn: float | None = None
    strict: float | None = None
    width: float | None = None
    decided: bool = False
    flat: bool | None = None
    truly_flat: bool | None = None
    near_right: float | None = None
    near_found: float | None = None
    default_error: float | None = None
    default_held: bool | None = None
    truth_error: float = 0.0


def score(answer: SetupAnswer, truth: Truth, default: float) -> Score:
    """Judge an answer.

    Args:
        answer: The answer.
        truth: Its setup's truth.
        default: The temperature that a user without an answer would take.
    """
    if answer.temperature is None:
        return Score(answer.trials, True, truth.loss(default), truth_error=truth.error)
    interval = answer.interval or (answer.temperature, answer.temperature)
    allowed = 100 * (answer.interval_loss or 0.0)
    low, high = np.log(truth.temperatures[[0, -1]])
    return Score(
        trials=answer.trials,
        silent=False,
        loss=truth.loss(answer.temperature),
        stated=None if answer.forecast is None else _points(answer.forecast.regret),
        kept=bool(truth.inside(interval).min() <= allowed + _ROUNDING),
        kept_drawn=_share_within(truth, interval, allowed),
        strict=_share_within(truth, _widened(truth, interval), 0.0),
        width=float(np.log(interval[1] / interval[0]) / (high - low)),
        decided=answer.forecast is not None and answer.forecast.decided,
        flat=answer.flat,
        truly_flat=_truly_flat(truth),
        **_of_near_optimal(answer, truth),
        **_of_default(answer, truth),
        truth_error=truth.error,
    )


def _points(fraction: float | None) -> float | None:
    return None if fraction is None else 100 * fraction


def _share_within(truth: Truth, interval: tuple[float, float], allowed: float) -> float:
    """Return the share of the truth's draws that the interval satisfies.

    It satisfies one where it holds a temperature that loses at most `allowed` points.
    """
    low, high = interval
    between = (truth.temperatures > low) & (truth.temperatures < high)
    draws = truth.draws if truth.error > _TRUTH_IS_SURE else truth.profile[None]
    lost = [
        profile.max() - max(truth.at(low, profile), truth.at(high, profile), *profile[between])
        for profile in draws
    ]
    return float(np.mean(np.array(lost) <= allowed + _ROUNDING))


def _widened(truth: Truth, interval: tuple[float, float]) -> tuple[float, float]:
    """Return the interval with half a grid step added on both sides.

    The grid is the truth's.
    """
    half = float(np.sqrt(truth.temperatures[1] / truth.temperatures[0]))
    return interval[0] / half, interval[1] * half


def _truly_flat(truth: Truth) -> bool | None:
    worst = float(truth.losses.max())
    return True if worst <= _FLAT else False if worst >= _NOT_FLAT else None


def _of_near_optimal(answer: SetupAnswer, truth: Truth) -> dict[str, Any]:
    are_near = truth.losses <= TOLERANCE
    if answer.near_optimal is None:
        return {"near_found": 0.0}
    low, high = answer.near_optimal
    said = (truth.temperatures >= low * (1 - _ROUNDING)) & (truth.temperatures <= high * (1 + _ROUNDING))
    lost = truth.inside(answer.near_optimal)
    return {
        "near_right": float((lost <= TOLERANCE).mean()),
        "near_found": float((said & are_near).sum() / are_near.sum()),
    }


def _of_default(answer: SetupAnswer, truth: Truth) -> dict[str, Any]:
    name = f"{_DEFAULT:g}"
    if answer.temperature is None or name not in (answer.regret_of or {}):
        return {}
    assert answer.regret_of is not None  # noqa: S101 - the line above
    true = truth.at(answer.temperature) - truth.at(_DEFAULT)
    found: dict[str, Any] = {"default_error": 100 * answer.regret_of[name] - true}
    interval = (answer.regret_interval_of or {}).get(name)
    if interval is not None:
        found["default_held"] = bool(100 * interval[0] <= true <= 100 * interval[1])
    return found
