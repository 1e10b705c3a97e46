import math
from collections.abc import Callable

import numpy as np
import pytest

from kdsearch.spec import TEMPERATURE, StudySpec, load_spec
from kdsearch.storage import TrialRow

LR = "optimizer.lr"


@pytest.fixture(scope="session")
def make_spec() -> Callable[..., StudySpec]:
    def make(setup: dict | None = None, **document) -> StudySpec:
        return load_spec(
            {
                "name": "demo",
                "setup": {"optimizer.name": ["sgd", "adamw"]} if setup is None else setup,
                "tune": {
                    TEMPERATURE: {"low": 1, "high": 40, "log": True},
                    LR: {"low": 0.01, "high": 1.0, "log": True},
                },
                **document,
            }
        )

    return make


@pytest.fixture(scope="session")
def make_trials() -> Callable[..., list[TrialRow]]:
    def make(spec: StudySpec, per_setup: int = 12, best: float = 6.0) -> list[TrialRow]:
        """Return trials whose accuracy peaks at 90% at `best`.

        The last but one and the last are lost.
        """
        rng = np.random.default_rng(0)
        trials = []
        for setup in spec.setups():
            for index in range(per_setup):
                temperature = math.exp((index + rng.random()) / per_setup * math.log(40))
                accuracy = 0.9 - 0.01 * math.log(temperature / best) ** 2 + rng.normal(0, 0.003)
                trials.append(
                    TrialRow(
                        number=len(trials),
                        state="complete",
                        reason=None,
                        setup=setup,
                        params={TEMPERATURE: temperature, LR: 0.1 * math.exp(rng.normal(0, 0.3))},
                        seed=len(trials),
                        epochs=spec.training.epochs,
                        val_accuracy=accuracy,
                        test_accuracy=accuracy - 0.01,
                    )
                )
        return trials

    return make
