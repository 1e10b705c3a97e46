"""What runs on a worker: one pack, trained by the spec's trainer, reported to the driver in batches."""

import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ray import tune

from kdsearch.schedule.trainers import load_trainer
from kdsearch.search.pruning import Floors, under_floor
from kdsearch.spec import Params, Setup, StudySpec, load_spec
from kdsearch.trial import Metrics, Trial, TrialResult

REPORT_INTERVAL_S = 1.0


def pack_config(setup: Setup, trials: list[Trial], floors: Floors) -> dict[str, Any]:
    """Return a pack as the plain values that travel in a Ray trial's config."""
    members = [{"number": t.number, "seed": t.seed, "params": t.params} for t in trials]
    return {"setup": setup, "members": members, "floors": floors}


def run_pack(config: dict[str, Any], *, document: dict[str, Any], artifacts: str) -> None:
    """Train the pack of a Ray trial and report epochs and results.

    A result that Tune carries has `epochs`, a list of `(epoch, {number: metrics})` since the last
    one, and `results`, the trials that ended.
    """
    spec = load_spec(document)
    trials = _trials(spec, config["pack"])
    report = _BatchedReport(config["pack"]["floors"])
    try:
        results = load_trainer(spec.trainer, Path(artifacts))(trials, report)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        results = [TrialResult(trial.number, "failed", 0, reason=reason) for trial in trials]
    report.finish(results)


def _trials(spec: StudySpec, pack: Mapping[str, Any]) -> list[Trial]:
    setup: Setup = pack["setup"]

    def trial(number: int, seed: int, params: Params) -> Trial:
        return Trial(number, seed, setup, params, spec.resolve(setup, params))

    return [trial(**member) for member in pack["members"]]


class _BatchedReport:
    """Collects epochs and hands them to Tune about once a second: short trials report often."""

    def __init__(self, floors: Floors) -> None:
        self._floors = floors
        self._epochs: list[tuple[int, dict[int, Metrics]]] = []
        self._sent = time.monotonic()

    def __call__(self, epoch: int, metrics: Mapping[int, Metrics]) -> Collection[int]:
        self._epochs.append((epoch, dict(metrics)))
        if time.monotonic() - self._sent >= REPORT_INTERVAL_S:
            self._send([])
        return [number for number, values in metrics.items() if under_floor(self._floors, epoch, values)]

    def finish(self, results: list[TrialResult]) -> None:
        self._send([result.to_dict() for result in results])

    def _send(self, results: list[dict[str, Any]]) -> None:
        tune.report({"epochs": self._epochs, "results": results})
        self._epochs = []
        self._sent = time.monotonic()
