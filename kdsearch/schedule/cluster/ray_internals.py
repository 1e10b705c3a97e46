"""All that kdsearch takes from Ray's inside, in one place.

None of it is needed to run a study. Where a name is gone a warning tells what is lost by it, and the study
runs without; `tests/schedule/cluster/test_ray_internals.py` fails then.
"""

import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from ray.tune import Callback
    from ray.tune.experiment import Trial as RayTrial

CLUSTER_ID_METHOD = "/ray.rpc.NodeInfoGcsService/GetClusterId"
"""What a head of Ray answers to whoever has the right token."""

CURRENT_CLUSTER = Path("/tmp/ray/ray_current_cluster")  # noqa: S108 - Ray's
"""Where Ray notes what the address `auto` means."""

_BYSTANDERS = ("start_monitor", "start_log_monitor", "start_api_server")
"""What starts the processes of a head that grow a cluster, pass on workers' logs and serve a dashboard."""

_GROWS = "the driver's memory grows with the study"

_log = logging.getLogger(__name__)


def use_ready_workers() -> None:
    """Let packs run in the processes that Ray has started already.

    Tune gives its actors an environment variable for PyTorch Lightning, and Ray starts a process of its own
    for every actor whose variables differ: 1.5 s more before the first pack begins.
    """
    try:
        from ray.tune.execution import class_cache

        class_cache.DEFAULT_ENV_VARS.clear()
    except (ImportError, AttributeError) as error:
        _tell_change(str(error), "packs begin a little later")


def silent_progress() -> "list[Callback]":
    """Return what replaces Tune's callback that prints Ray trials. That one keeps every trial."""
    try:
        from ray.tune.progress_reporter import TrialProgressCallback
    except ImportError as error:
        _tell_change(str(error), _GROWS)
        return []

    class SilentProgress(TrialProgressCallback):
        def on_trial_result(self, *_args: Any, **_info: Any) -> None:
            """Print nothing, and keep nothing."""

        on_trial_complete = on_trial_error = on_trial_result

    return [SilentProgress()]


@contextmanager
def apart_from_signals() -> "Iterator[list[subprocess.Popen[bytes]]]":
    """Keep signals to the driver's process group from Ray's processes.

    Ray is also kept from handling SIGTERM itself. Batch systems send SIGTERM to a whole group. Ray's
    processes, ended before the driver, would take it with them; in sessions of their own they end with the
    driver even so, by the kernel's word. Gives the list of those that Ray starts here.
    """
    started: list[subprocess.Popen[bytes]] = []
    try:
        from ray._private import ray_constants, services, utils

        ray_services, ray_utils = cast("Any", services), cast("Any", utils)
        constants = cast("Any", ray_constants)
        original = ray_services.ConsolePopen, ray_utils.set_sigterm_handler
        dumps = constants.RAY_DISABLE_FAILURE_SIGNAL_HANDLER
    except (ImportError, AttributeError) as error:
        _tell_change(str(error), "SIGTERM may end a study as if it had failed")
        yield started
        return

    def start(*args: Any, **options: Any) -> "subprocess.Popen[bytes]":
        process = original[0](*args, **options, start_new_session=sys.platform == "linux")
        started.append(process)
        return cast("subprocess.Popen[bytes]", process)

    ray_services.ConsolePopen, ray_utils.set_sigterm_handler = start, lambda _handler: None
    constants.RAY_DISABLE_FAILURE_SIGNAL_HANDLER = True  # its C++ takes SIGTERM too, and aborts
    try:
        yield started
    finally:
        ray_services.ConsolePopen, ray_utils.set_sigterm_handler = original
        constants.RAY_DISABLE_FAILURE_SIGNAL_HANDLER = dumps


@contextmanager
def started_patiently(limit_s: float, processes: "Sequence[subprocess.Popen[bytes]]") -> Iterator[None]:
    """Let Ray's processes take so long to start, while they live. Ray gives them 30 to 60 seconds."""
    try:
        from ray._private import ray_constants, services

        own, constants = cast("Any", services), cast("Any", ray_constants)
        original = own.get_node, constants.RAY_DASHBOARD_STARTUP_TIMEOUT_S
    except (ImportError, AttributeError) as error:
        _tell_change(str(error), "Ray may not start on a busy machine")
        yield
        return

    def get_node(*asked: Any, **how: Any) -> Any:
        deadline = time.monotonic() + limit_s
        while True:
            try:
                return original[0](*asked, **how)
            except RuntimeError:  # it has not registered yet
                is_dead = any(process.poll() is not None for process in processes)
                if is_dead or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    own.get_node, constants.RAY_DASHBOARD_STARTUP_TIMEOUT_S = get_node, limit_s
    try:
        yield
    finally:
        own.get_node, constants.RAY_DASHBOARD_STARTUP_TIMEOUT_S = original


def kept_on_loopback() -> AbstractContextManager[None]:
    """Let a Ray that is started at 127.0.0.1 stay there: `ray.init` would take an address others can reach.

    Its processes listen to this machine alone only where that is the node's own address.
    """
    return _service_replaced(
        "resolve_ip_for_localhost",
        lambda _original: lambda host: host,
        "the embedded Ray may listen to other machines",
    )


def at_any_port() -> AbstractContextManager[None]:
    """Let a new node's agent listen at any free port.

    Ray gives it one fixed port and starts only after six attempts at it: 3 s more beside another Ray.
    """
    return _service_replaced(
        "start_raylet",
        lambda start: lambda *asked, **how: start(*asked, **{**how, "dashboard_agent_listen_port": 0}),
        "a study starts later where another Ray runs on this machine",
    )


@contextmanager
def without_bystanders() -> Iterator[None]:
    """Start Ray without processes that no study on one machine needs.

    The driver would wait for the dashboard's, which runs without a dashboard, too: 4 s of CPU time in all.
    """
    try:
        from ray._private.node import Node

        node = cast("Any", Node)
        original = {name: getattr(node, name) for name in _BYSTANDERS}
    except (ImportError, AttributeError) as error:
        _tell_change(str(error), "a study starts some seconds later")
        yield
        return
    for name in original:
        setattr(node, name, lambda _self, **_options: None)
    try:
        yield
    finally:
        for name, method in original.items():
            setattr(node, name, method)


@contextmanager
def _service_replaced(name: str, made_of: Callable[[Any], Any], consequence: str) -> Iterator[None]:
    """Replace one of Ray's own services. `consequence` follows where it is gone."""
    try:
        from ray._private import services

        own = cast("Any", services)
        original = getattr(own, name)
    except (ImportError, AttributeError) as error:
        _tell_change(str(error), consequence)
        yield
        return
    setattr(own, name, made_of(original))
    try:
        yield
    finally:
        setattr(own, name, original)


@contextmanager
def memory_kills_as_losses() -> Iterator[None]:
    """Let Tune take a worker killed by Ray's memory monitor for lost.

    Tune 2.60 does not know that error and would end the whole study.
    """
    from ray.exceptions import OutOfMemoryError, RayActorError

    try:
        from ray.air.execution._internal.actor_manager import RayActorManager

        original = RayActorManager._actor_task_failed
    except (ImportError, AttributeError) as error:
        _tell_change(str(error), "a pack that runs out of memory may end the study")
        yield
        return

    def failed(self: Any, tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, OutOfMemoryError):
            exception = RayActorError(error_msg=str(exception))
        original(self, tracked_actor_task, exception)

    RayActorManager._actor_task_failed = failed  # type: ignore[method-assign]
    try:
        yield
    finally:
        RayActorManager._actor_task_failed = original  # type: ignore[method-assign]


def ask_no_dead_worker(trial: "RayTrial") -> None:
    """Keep Tune from asking a lost pack's worker for a result. It would wait for an answer."""
    trial._default_result_or_future = None


def error_of(trial: "RayTrial") -> BaseException | None:
    """Return the error that ended a lost Ray trial.

    It is None where Tune keeps none.
    """
    from ray import cloudpickle

    with suppress(AttributeError, OSError):
        if file := trial.pickled_error_file:
            error: BaseException = cloudpickle.loads(Path(file).read_bytes())
            return error
    return None


@contextmanager
def ended_packs_dropped() -> Iterator[None]:
    """Let Tune drop Ray trials that have ended. It would keep them, and the database has their packs."""
    try:
        from ray.tune.execution.tune_controller import TuneController

        original = TuneController.on_step_end
    except (ImportError, AttributeError) as error:
        _tell_change(str(error), _GROWS)
        yield
        return

    def end_step(self: Any) -> None:
        original(self)  # type: ignore[no-untyped-call]  # Ray's own lack
        try:
            drop_ended(self)
        except AttributeError as error:
            _tell_change(str(error), _GROWS)

    TuneController.on_step_end = end_step  # type: ignore[method-assign]
    try:
        yield
    finally:
        TuneController.on_step_end = original  # type: ignore[method-assign]


def drop_ended(tune: Any) -> None:
    """Take ended Ray trials, and actors that never began, out of Tune."""
    ended = tune._stopped_trials | tune._failed_trials
    if not ended:
        return
    tune._trials[:] = [trial for trial in tune._trials if trial not in ended]
    for kept in (tune._live_trials, tune._trials_to_cache, tune._stopped_trials, tune._failed_trials):
        kept.difference_update(ended)
    actors = tune._actor_manager
    waiting = actors._pending_actors_to_enqueued_actor_tasks
    for actor in waiting.keys() - actors._pending_actors_to_attrs.keys():
        del waiting[actor]


@lru_cache  # once is enough
def _tell_change(what: str, consequence: str) -> None:
    import ray

    _log.warning("Ray %s has changed inside (%s): %s.", ray.__version__, what, consequence)
