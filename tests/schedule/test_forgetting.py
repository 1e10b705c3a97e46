"""What Tune keeps of ended packs."""

import pickle

from ray.tune.experiment import Trial

from kdsearch.schedule.forgetting import ForgettingCallback

KEPT = (b"optimizer.lr", b"val_accuracy", b"pack/setup")


def ray_trial(name: str) -> Trial:
    config = {"pack": {"members": [{"number": n, "params": {"optimizer.lr": 0.1 * n}} for n in range(8)]}}
    trial = Trial("pack", stub=True, trial_id=name, config=config, evaluated_params={"pack/setup": "x" * 500})
    trial.update_last_result({"training_iteration": 3, "epochs": [[1, {"0": {"val_accuracy": 0.9}}]] * 50})
    return trial


def test_ended_packs_are_emptied_once_tune_is_done_with_them_and_others_stay() -> None:
    ended, failed, running = trials = [ray_trial(name) for name in ("ended", "failed", "running")]
    callback = ForgettingCallback()
    callback.on_trial_complete(iteration=1, trials=trials, trial=ended)
    callback.on_trial_error(iteration=1, trials=trials, trial=failed)
    assert ended.last_result["training_iteration"] == 3
    assert all(word in pickle.dumps(ended.__getstate__()) for word in KEPT)
    callback.on_step_end(iteration=1, trials=trials)
    for trial in (ended, failed):
        assert trial.config == {}
        assert trial.last_result == {"done": True, "trial_id": trial.trial_id}
        assert not any(word in pickle.dumps(trial.__getstate__()) for word in KEPT)
    assert running.last_result["training_iteration"] == 3
    assert len(running.config["pack"]["members"]) == 8
