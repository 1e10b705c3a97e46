"""Studies of two lengths under two optimizers whose differences are known: as claimed, opposite or none."""

from dataclasses import replace
from typing import Any

import numpy as np

from kdsearch.analysis.questions.quantities import effects_of, least_effect
from kdsearch.analysis.response.profiles import TemperatureProfile
from kdsearch.bench.calibration.shapes import NOISES, ShapeWorld
from kdsearch.spec import Claim, setup_key

SHAPES = ("symmetric", "steep below", "steep above", "cusp", "two humps", "plateau")
FACTOR = "training.epochs"
_FACTORS: dict[str, list[Any]] = {"optimizer.name": ["sgd", "adamw"], FACTOR: [10, 30]}
_SIGNS = (1, -1, 0)  # a claim is true, opposite to the truth, or of no difference
_SHIFT, _STEEPER, _BETTER = 0.4, 0.6, 1.5
"""How far apart the two lengths are: in shares of log T, in the log of their depths, and in points."""

_KINDS = len(_SIGNS) ** 3


def claims() -> list[Claim]:
    """Return a claim of every quantity: each says that the longer training has more of it."""
    common = {"factor": FACTOR, "levels": [10, 30], "direction": "higher"}
    documents = [
        {"quantity": "best_temperature", "at_least": 1.5},
        {"quantity": "shared_temperature", "at_least": 0.003},
        {"quantity": "spread", "at_least": 0.005},
        {"quantity": "crossing", "at_least": 0.003, "temperatures": [2.5, 16]},
        {"quantity": "accuracy", "at_least": 0.003},
    ]
    return [Claim.model_validate({"says": own["quantity"], **common, **own}) for own in documents]


class ClaimWorld(ShapeWorld):
    """A study of one family of curves with known differences.

    Three differences between its lengths have signs by its seed.

    Args:
        family: One of `SHAPES`.
        seed: Fixes signs, sizes, noise and search; 27 in a row have every combination of signs.
        n_trials: The budget.
    """

    def __init__(self, family: str, seed: int, n_trials: int) -> None:
        drawn = np.random.default_rng([seed, SHAPES.index(family), 7])
        super().__init__(family, NOISES[drawn.integers(len(NOISES))], seed, n_trials, _FACTORS)
        signs = [_SIGNS[seed // len(_SIGNS) ** k % len(_SIGNS)] for k in range(3)]
        shift, steeper, better = (
            sign * usual * drawn.uniform(0.5, 1.5)
            for sign, usual in zip(signs, (_SHIFT, _STEEPER, _BETTER), strict=True)
        )
        middle, depth, top = drawn.uniform(0.4, 0.6), drawn.uniform(2, 5), drawn.uniform(80, 92)
        for setup in self.spec.setups():
            side = _FACTORS[FACTOR].index(setup[FACTOR]) - 0.5
            key = setup_key(setup)
            self._curves[key] = replace(
                self._curves[key],
                place=float(np.clip(middle + side * shift + drawn.normal(0, 0.03), 0.1, 0.9)),
                depth=depth * float(np.exp(side * 2 * steeper + drawn.normal(0, 0.1))),
                level=int(side * shift > 0),  # of two humps the second is the higher one
            )
            self._tops[key] = top + side * better + drawn.normal(0, 0.2)

    def effect(self, claim: Claim) -> float:
        """Return the true effect that a claim is about.

        It is on the scale of `effects_of`.
        """
        profiles = []
        for level in claim.levels:
            truths = [self.truth(setup) for setup in self.spec.setups() if setup[FACTOR] == level]
            mean = np.mean([truth.profile for truth in truths], axis=0)
            temperatures = truths[0].temperatures
            half_step = float(np.log(temperatures[1] / temperatures[0])) / 2
            profiles.append(TemperatureProfile(temperatures, mean[None] / 100, half_step))
        return effects_of(claim, profiles).median

    def truly(self, claim: Claim) -> str:
        """Return a claim's truth: "true", "opposite" or "flat".

        A flat effect does not matter.
        """
        effect, least = self.effect(claim), least_effect(claim)
        return "true" if effect > least else "opposite" if effect < -least else "flat"
