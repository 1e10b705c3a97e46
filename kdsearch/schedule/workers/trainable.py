"""What runs on a worker: one pack, reported in batches."""

import faulthandler
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import ray
from ray import tune

from kdsearch.distill.factories import reason_of
from kdsearch.schedule.workers.folders import enter_launch_folder
from kdsearch.schedule.workers.trainers import load_trainer
from kdsearch.schedule.workers.warnings import HeldWarnings, held_warnings
from kdsearch.search import Pack
from kdsearch.search.pruning import FloorWatch
from kdsearch.spec import StudySpec, load_spec
from kdsearch.trial import Metrics, PackEndedError, PackReport, TrialResult

REPORT_INTERVAL_S = 1.0
"""By hand: small students take milliseconds an epoch, and each report is a message and a transaction."""

NODE = "node"
"""What of a result that Tune carries is the id of the worker's node."""
WARNINGS = "warnings"
"""What of it are the worker's warnings since the last one."""

_STDERR = 2
"""The number of the file."""


def run_pack(config: dict[str, Any], *, document: dict[str, Any], artifacts: str, folder: str) -> None:
    """Train the pack of a Ray trial and report epochs and results.

    The working directory is that of the launch. A result that Tune carries has `epochs`, a list of `(epoch,
    {number: metrics})` since the last one, `results`, the trials that ended, `warnings`, and the node's id.

    Args:
        config: The pack as plain values.
        document: The study's spec.
        artifacts: The folder or the URL of the artifact store.
        folder: That of the launch.
    """
    spec = load_spec(document)
    pack = Pack.from_dict(spec, config["pack"])
    watchdog = Watchdog(spec.resources.stall_minutes)
    node = ray.get_runtime_context().get_node_id()
    with held_warnings() as held:
        report = _BatchedReport(pack, watchdog, node, held)
        if spec.resources.stall_minutes:
            report.send()  # from now on silence counts
        watchdog.start()
        try:
            results = _train(spec, pack, report, artifacts, folder)
        except PackEndedError:
            sys.exit(0)  # as Tune asked
        watchdog.stop()
        report.finish(results)


def _train(spec: StudySpec, pack: Pack, report: PackReport, artifacts: str, folder: str) -> list[TrialResult]:
    interval_s = 60 * spec.resources.checkpoint_minutes
    try:
        enter_launch_folder(folder, pack.trials[0].spec.model_dump(mode="json"))
        train = load_trainer(
            spec.trainer, artifacts, checkpoint_interval_s=interval_s, device=spec.resources.device
        )
        return train(pack.trials, report)
    except (KeyboardInterrupt, PackEndedError):
        raise
    except BaseException as error:  # a user's objective or data may end in SystemExit
        return [TrialResult(trial.number, "failed", 0, reason=reason_of(error)) for trial in pack.trials]


class Watchdog:
    """Ends this process where nothing was reported for too long. Its stacks are in the worker's log then.

    It is a thread of the interpreter's own: code that never gives back the lock does not stop it.
    """

    def __init__(self, limit_minutes: float | None) -> None:
        self._limit_s = limit_minutes and 60 * limit_minutes

    def start(self) -> None:
        """Count from now."""
        if self._limit_s:
            faulthandler.dump_traceback_later(self._limit_s, exit=True, file=_STDERR)

    def stop(self) -> None:
        """Let any time pass."""
        faulthandler.cancel_dump_traceback_later()


class _BatchedReport:
    """Collects epochs and hands them to Tune about once a second: short trials report often."""

    def __init__(self, pack: Pack, watchdog: Watchdog, node: str, held: HeldWarnings) -> None:
        self._floors = FloorWatch(pack.floors, pack.audited, pack.line)
        self._last = {trial.number: trial.epochs for trial in pack.trials if trial.number in pack.given_up}
        self._watchdog = watchdog
        self._node = node
        self._held = held
        self._epochs: list[tuple[int, dict[int, Metrics]]] = []
        self._known: set[tuple[int, int]] = set()
        self._sent = time.monotonic()

    def __call__(self, epoch: int, metrics: Mapping[int, Metrics]) -> Collection[int]:
        new = {number: own for number, own in metrics.items() if (number, epoch) not in self._known}
        self._known |= {(number, epoch) for number in new}
        if new:  # of what is reported in every step the first counts
            self._epochs.append((epoch, new))
        if time.monotonic() - self._sent >= REPORT_INTERVAL_S:
            self._watchdog.stop()  # the driver may wait for its database
            self.send()
            self._watchdog.start()
        return [
            number
            for number, values in metrics.items()
            if epoch < self._last.get(number, 0) or self._floors.stops(number, epoch, values)
        ]

    def _with_audit(self, result: TrialResult) -> TrialResult:
        if result.state != "complete":
            return result
        return replace(result, reason=self._floors.audit_of(result.number, result.metrics["val_accuracy"]))

    def finish(self, results: list[TrialResult]) -> None:
        self.send([self._with_audit(result).to_dict() for result in results])

    def send(self, results: Sequence[dict[str, Any]] = ()) -> None:
        try:
            news = {"epochs": self._epochs, "results": list(results), WARNINGS: self._held.take()}
            tune.report({**news, NODE: self._node})
        except SystemExit as asked:  # a trainer would take it for its own
            raise PackEndedError from asked
        self._epochs = []
        self._sent = time.monotonic()
