"""What kdsearch takes from Ray's inside is there.

It does what it is taken for, and can be done without.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
import ray
from ray._private import services
from ray._private.node import Node
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.tune import progress_reporter
from ray.tune.execution import class_cache
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.utils.callback import _create_default_callbacks

from kdsearch.schedule.cluster import ray_internals
from kdsearch.schedule.cluster.authentication import agree_on_token
from kdsearch.schedule.cluster.ray_internals import (
    CLUSTER_ID_METHOD,
    CURRENT_CLUSTER,
    ask_no_dead_worker,
    at_any_port,
    ended_packs_dropped,
    error_of,
    memory_kills_as_losses,
    silent_progress,
    use_ready_workers,
    without_bystanders,
)


@pytest.fixture(autouse=True)
def warnings_told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the consequences of changes in Ray that were told."""
    told: list[str] = []
    monkeypatch.setattr(ray_internals, "_tell_change", lambda _what, consequence: told.append(consequence))
    return told


def test_tunes_workers_differ_in_no_variable(
    monkeypatch: pytest.MonkeyPatch, warnings_told: list[str]
) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(class_cache, "DEFAULT_ENV_VARS", {"OF_TUNE": "1"})
    monkeypatch.setattr(ray, "remote", lambda **options: asked.append(options) or (lambda kind: kind))
    class_cache._ActorClassCache().get(SimpleNamespace)
    use_ready_workers()
    class_cache._ActorClassCache().get(SimpleNamespace)
    assert ["OF_TUNE" in options["runtime_env"]["env_vars"] for options in asked] == [True, False]
    monkeypatch.delattr(class_cache, "DEFAULT_ENV_VARS")
    assert warnings_told == []
    use_ready_workers()
    assert warnings_told == ["packs begin a little later"]


def test_a_nodes_agent_waits_for_no_port_that_another_ray_has(
    monkeypatch: pytest.MonkeyPatch, warnings_told: list[str]
) -> None:
    asked: list[dict[str, Any]] = []
    assert "dashboard_agent_listen_port" in signature(services.start_raylet).parameters
    monkeypatch.setattr(services, "start_raylet", lambda *_args, **how: asked.append(how))
    with at_any_port():
        services.start_raylet(dashboard_agent_listen_port=52365, resource=1)  # type: ignore[call-arg]
    assert asked == [{"dashboard_agent_listen_port": 0, "resource": 1}]
    monkeypatch.delattr(services, "start_raylet")
    assert warnings_told == []
    with at_any_port():
        assert len(warnings_told) == 1


def test_a_head_starts_nothing_that_no_study_asks_for(
    monkeypatch: pytest.MonkeyPatch, warnings_told: list[str]
) -> None:
    started: list[str] = []
    names = ("start_gcs_server", "start_monitor", "start_log_monitor", "start_api_server")
    for name in names:
        monkeypatch.setattr(Node, name, lambda _self, name=name, **_options: started.append(name))
    head = SimpleNamespace(
        _gcs_address=None,
        _gcs_client=None,
        _logs_dir="",
        _ray_params=SimpleNamespace(no_monitor=False, ray_client_server_port=None, include_dashboard=False),
        _write_cluster_info_to_kv=lambda: None,
        get_gcs_client=lambda: "a client",
        **{name: partial(lambda name, **how: getattr(Node, name)(None, **how), name) for name in names},
    )

    def start() -> list[str]:
        started.clear()
        Node.start_head_processes(head)  # type: ignore[arg-type]
        Node.start_log_monitor(head)  # type: ignore[arg-type]
        return list(started)

    everything = ["start_gcs_server", "start_monitor", "start_api_server", "start_log_monitor"]
    assert start() == everything
    with without_bystanders():
        assert start() == ["start_gcs_server"]
    assert start() == everything
    monkeypatch.delattr(Node, "start_monitor")
    assert warnings_told == []
    with without_bystanders():
        assert warnings_told == ["a study starts some seconds later"]


def test_tune_adds_no_callback_that_prints_packs_to_one_that_is_silent(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, warnings_told: list[str]
) -> None:
    monkeypatch.setenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    (silent,) = _create_default_callbacks(silent_progress(), air_verbosity=None)
    assert isinstance(silent, progress_reporter.TrialProgressCallback)
    trial = Trial("pack", stub=True, trial_id="t")
    silent.on_trial_result(1, [trial], trial, {"done": True})
    silent.on_trial_complete(1, [trial], trial)
    assert capsys.readouterr().out == ""
    assert not silent._completed_trials
    monkeypatch.delattr(progress_reporter, "TrialProgressCallback")
    assert warnings_told == []
    assert silent_progress() == []
    assert warnings_told == ["the driver's memory grows with the study"]


def test_a_memory_kill_reaches_tune_as_a_lost_worker(
    monkeypatch: pytest.MonkeyPatch, warnings_told: list[str]
) -> None:
    errors: list[Exception] = []
    actor = SimpleNamespace(actor_id="a", _on_error=lambda _actor, error: errors.append(error))
    task = SimpleNamespace(_tracked_actor=actor, _on_error=None)
    manager = SimpleNamespace(_failed_actor_ids=set(), _cleanup_actor=lambda tracked_actor: None)

    def fail() -> None:
        RayActorManager._actor_task_failed(manager, task, OutOfMemoryError("no room"))  # type: ignore[arg-type]

    with memory_kills_as_losses():
        fail()
    assert [(type(error), str(error)) for error in errors] == [(RayActorError, "no room")]
    with pytest.raises(RuntimeError, match="unexpected"):  # else Tune has learnt it, and this can go
        fail()
    monkeypatch.delattr(RayActorManager, "_actor_task_failed")
    assert warnings_told == []
    with memory_kills_as_losses():
        assert not hasattr(RayActorManager, "_actor_task_failed")
    assert warnings_told == ["a pack that runs out of memory may end the study"]


def test_no_lost_worker_is_asked_for_a_result() -> None:
    trial = Trial("pack", stub=True, trial_id="t")
    answer = {"pid": 1}
    trial.set_ray_actor(SimpleNamespace(get_auto_filled_metrics=SimpleNamespace(remote=lambda **_: answer)))
    trial.temporary_state.ray_actor = None
    assert trial.last_result["pid"] == 1
    ask_no_dead_worker(trial)
    assert trial.last_result == {"trial_id": "t"}


def test_what_ended_a_pack_is_kept_beside_its_trial(tmp_path: Path) -> None:
    trial = Trial("pack", stub=True, trial_id="t")
    trial.storage = SimpleNamespace(trial_driver_staging_path=str(tmp_path))
    assert error_of(trial) is None
    trial.handle_error(RayActorError(error_msg="it is gone"))
    error = error_of(trial)
    assert isinstance(error, RayActorError)
    assert str(error) == "it is gone"
    assert error_of(SimpleNamespace()) is None  # type: ignore[arg-type]


def test_tune_keeps_no_pack_that_has_ended(monkeypatch: pytest.MonkeyPatch, warnings_told: list[str]) -> None:
    steps: list[Any] = []
    monkeypatch.setattr(TuneController, "on_step_end", steps.append)
    tune = SimpleNamespace(
        _trials=["ended", "runs", "failed"],
        _live_trials={"runs", "failed"},
        _trials_to_cache={"runs", "ended"},
        _stopped_trials={"ended"},
        _failed_trials={"failed"},
        _actor_manager=SimpleNamespace(
            _pending_actors_to_enqueued_actor_tasks={"waits": [1], "never began": [1]},
            _pending_actors_to_attrs={"waits": ()},
        ),
    )
    kept = tune._trials
    with ended_packs_dropped():
        TuneController.on_step_end(tune)  # type: ignore[arg-type]
    assert kept is tune._trials == ["runs"]
    assert tune._live_trials == tune._trials_to_cache == {"runs"}
    assert tune._stopped_trials == tune._failed_trials == set()
    assert tune._actor_manager._pending_actors_to_enqueued_actor_tasks == {"waits": [1]}
    assert steps == [tune]
    assert warnings_told == []


def test_a_tune_that_is_otherwise_inside_keeps_its_packs(
    monkeypatch: pytest.MonkeyPatch, warnings_told: list[str]
) -> None:
    monkeypatch.setattr(TuneController, "on_step_end", lambda _tune: None)
    with ended_packs_dropped():
        TuneController.on_step_end(SimpleNamespace())  # type: ignore[arg-type]
    assert warnings_told == ["the driver's memory grows with the study"]


def test_a_tune_without_an_end_of_its_steps_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, warnings_told: list[str]
) -> None:
    monkeypatch.delattr(TuneController, "on_step_end")
    with ended_packs_dropped():
        assert not hasattr(TuneController, "on_step_end")
    assert warnings_told == ["the driver's memory grows with the study"]


def test_ray_has_the_question_for_a_token_and_the_note_of_its_address() -> None:
    from ray._common.utils import get_ray_address_file
    from ray.core.generated.gcs_service_pb2 import DESCRIPTOR

    service = DESCRIPTOR.services_by_name["NodeInfoGcsService"]
    method = service.methods_by_name["GetClusterId"]
    assert f"/{service.full_name}/{method.name}" == CLUSTER_ID_METHOD
    assert get_ray_address_file(None) == str(CURRENT_CLUSTER)


def test_a_head_that_can_not_tell_leaves_the_mode_to_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"PATH": os.environ["PATH"]})
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        agree_on_token(f"127.0.0.1:{port}")
    finally:
        server.stop(None).wait()
    assert "RAY_AUTH_MODE" not in os.environ
