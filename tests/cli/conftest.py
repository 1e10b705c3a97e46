"""A database with one finished study in it, made without Ray: accuracy is highest at T = 6 (sgd) and 3 (adamw)."""

import math
from pathlib import Path

import numpy as np
import pytest

from kdsearch.spec import TEMPERATURE, load_spec, setup_key
from kdsearch.storage import StudyRecord, open_database
from kdsearch.trial import TrialResult

SPEC = {
    "name": "made",
    "training": {"epochs": 2},
    "setup": {"optimizer.name": ["sgd", "adamw"]},
    "tune": {
        TEMPERATURE: {"low": 1, "high": 40, "log": True},
        "optimizer.lr": {"low": 0.01, "high": 1, "log": True},
    },
    "search": {"trials": 32},
}


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder: Path = tmp_path_factory.mktemp("made")
    url = f"sqlite:///{folder / 'made.db'}"
    rng = np.random.default_rng(0)
    spec = load_spec(SPEC)
    with open_database(url, create=True) as database:
        record = StudyRecord.open(database, spec)
        for setup, best in zip(spec.setups(), (6.0, 3.0), strict=True):
            points = [
                {TEMPERATURE: float(40**u), "optimizer.lr": float(10 ** (2 * v - 2))}
                for u, v in zip((np.arange(16) + 0.5) / 16, rng.permutation(16) / 16, strict=True)
            ]
            for trial in record.start(setup, points, f"p-{setup['optimizer.name']}"):
                off = math.log(trial.params[TEMPERATURE] / best), math.log10(trial.params["optimizer.lr"]) + 1
                accuracy = 0.9 - 0.02 * off[0] ** 2 - 0.02 * off[1] ** 2 + rng.normal(0, 0.002)
                metrics = {"val_accuracy": accuracy, "test_accuracy": accuracy - 0.01, "val_loss": 0.3}
                record.report(1, {trial.number: {"val_accuracy": accuracy - 0.1}})
                record.report(2, {trial.number: {"val_accuracy": accuracy}})
                record.finish(TrialResult(trial.number, "complete", 2, metrics, seconds=1.0))
        record.stop_setups({setup_key(spec.setups()[0]): "expected to lose little"})
        record.set_state("finished", "all 32 trials are done")
    return url
