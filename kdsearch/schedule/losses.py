"""Why a pack was lost, in words."""

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray import cloudpickle
from ray._private.state import actors
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError
from ray.tune.schedulers import FIFOScheduler

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.experiment import Trial as RayTrial

KILLED = "its worker was killed"
NODE_LOST = "its node was lost"
_WORDS = {
    "running low on memory": "out of memory: Ray killed its worker",
    "node has died": NODE_LOST,
    "node was terminated": NODE_LOST,
}
_ANSWER_S = 2.0


class LossScheduler(FIFOScheduler):
    """Runs packs as they come, and tells why one was lost: Tune tells its searcher only that it was.

    Args:
        explain: Gets the Ray trial's id and the reason, before the searcher hears of the loss.
    """

    def __init__(self, explain: Callable[[str, str], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Ray's own lack
        self._explain = explain

    def on_trial_error(self, tune_controller: "TuneController", trial: "RayTrial") -> None:  # noqa: ARG002 - Ray's
        """Tell what ended the pack."""
        trial._default_result_or_future = None  # Tune would ask the dead worker for it
        file = trial.pickled_error_file
        if file and Path(file).exists():
            self._explain(trial.trial_id, reason_of(cloudpickle.loads(Path(file).read_bytes())))


@contextmanager
def memory_kills_as_losses() -> Iterator[None]:
    """Let Tune take a worker that Ray's memory monitor killed for lost, like any other dead worker.

    Tune 2.60 does not know that error and would end the whole study.
    """
    original = RayActorManager._actor_task_failed

    def failed(self: RayActorManager, tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, OutOfMemoryError):
            exception = RayActorError(error_msg=str(exception))
        original(self, tracked_actor_task, exception)

    RayActorManager._actor_task_failed = failed  # type: ignore[method-assign]
    try:
        yield
    finally:
        RayActorManager._actor_task_failed = original  # type: ignore[method-assign]


def reason_of(error: BaseException) -> str:
    """Return in a few words what Ray says of a worker's end."""
    if isinstance(error, RayTaskError):
        return f"its worker failed: {error.cause!r}"
    text = str(error)
    if code := re.search(r"exits with an exit code (\d+)", text):
        return f"its worker ended with exit code {code[1]}"
    if told := next((words for mark, words in _WORDS.items() if mark in text), None):
        return told
    return NODE_LOST if isinstance(error, RayActorError) and _node_is_silent(error) else KILLED


def _node_is_silent(error: RayActorError) -> bool:
    """Return whether a dead actor's node is gone, of which Ray hears only after some missed heartbeats."""
    if not error.actor_id:
        return False
    known = actors(error.actor_id)
    if not known:  # only the wording depends on it
        return False
    node_id = known["Address"]["NodeID"]
    nodes = ray.nodes()  # type: ignore[no-untyped-call]  # Ray's own lack
    node = next((node for node in nodes if node["NodeID"] == node_id), None)
    if node is None or not node["Alive"]:
        return node is not None
    try:
        socket.create_connection((node["NodeManagerAddress"], node["NodeManagerPort"]), _ANSWER_S).close()
    except OSError:
        return True
    return False
