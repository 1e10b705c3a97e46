"""Why a pack was lost, in words."""

import logging
import re
import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayActorError, RayTaskError
from ray.tune.schedulers import FIFOScheduler

from kdsearch.schedule.cluster.ray_internals import ask_no_dead_worker, error_of
from kdsearch.schedule.workers.trainable import NODE
from kdsearch.trial import NODE_LOST

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.experiment import Trial as RayTrial

KILLED = "its worker was killed"
_WORDS = {
    "running low on memory": "out of memory: Ray killed its worker",
    "node has died": NODE_LOST,
    "node was terminated": NODE_LOST,
}
_ANSWER_S = 2.0
"""By hand: a node of the same network answers in milliseconds."""

_log = logging.getLogger(__name__)


class LostPackScheduler(FIFOScheduler):
    """Runs packs as they come, and tells why one was lost. Tune tells its searcher only that it was.

    Args:
        explain: Gets the Ray trial's id and the reason, before the searcher hears of the loss.
    """

    def __init__(self, explain: Callable[[str, str], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Ray's own lack
        self._explain = explain

    def on_trial_error(self, tune_controller: "TuneController", trial: "RayTrial") -> None:  # noqa: ARG002 - Ray's
        """Tell what ended the pack."""
        ask_no_dead_worker(trial)
        if error := error_of(trial):
            self._explain(trial.trial_id, reason_of(error, trial.last_result.get(NODE)))


def reason_of(error: BaseException, node: str | None = None) -> str:
    """Return in a few words what Ray says of a worker's end.

    Args:
        error: What Ray raised.
        node: The id of the worker's node, if it is known.
    """
    if isinstance(error, RayTaskError):
        return f"its worker failed: {error.cause!r}"
    text = str(error)
    if code := re.search(r"exits with an exit code (\d+)", text):
        return f"its worker ended with exit code {code[1]}"
    if told := next((words for mark, words in _WORDS.items() if mark in text), None):
        return told
    return NODE_LOST if isinstance(error, RayActorError) and _is_lost(node) else KILLED


def _is_lost(node: str | None) -> bool:
    """Return whether a node is gone.

    Ray itself hears of it only after some missed heartbeats. A worker that has not told its node yet was on
    one that does not answer, if there is one.
    """
    try:
        known: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]  # Ray's own lack
    except Exception as error:  # of which there are many kinds; only the wording depends on it
        _log.info("Ray could not tell its nodes: %s", error)
        return False
    own = [found for found in known if found["NodeID"] == node]
    suspects = own or [found for found in known if found["Alive"]]
    return not all(found["Alive"] and _answers(found) for found in suspects)


def _answers(node: Mapping[str, Any]) -> bool:
    try:
        socket.create_connection((node["NodeManagerAddress"], node["NodeManagerPort"]), _ANSWER_S).close()
    except OSError:
        return False
    return True
