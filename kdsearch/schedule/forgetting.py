"""What Tune keeps of packs that have ended, let go: a driver's memory must not grow with its study."""

from typing import TYPE_CHECKING, Any

from ray.tune import Callback

if TYPE_CHECKING:
    from ray.tune.experiment import Trial as RayTrial

_DICTS = ("config", "evaluated_params", "_Trial__unresolved_config")


class ForgettingCallback(Callback):
    """Empties Ray trials that have ended: the database has their packs, and Tune would keep them to its end.

    Of each it keeps its config three times, and its last result with an analysis and a JSON text of it.
    """

    def __init__(self) -> None:
        self._ended: list[RayTrial] = []

    def on_trial_complete(
        self,
        iteration: int,  # noqa: ARG002 - Ray's
        trials: "list[RayTrial]",  # noqa: ARG002 - Ray's
        trial: "RayTrial",
        **info: Any,  # noqa: ARG002 - Ray's
    ) -> None:
        """Note a Ray trial that has ended; Tune still works on it."""
        self._ended.append(trial)

    on_trial_error = on_trial_complete

    def on_step_end(
        self,
        iteration: int,  # noqa: ARG002 - Ray's
        trials: "list[RayTrial]",  # noqa: ARG002 - Ray's
        **info: Any,  # noqa: ARG002 - Ray's
    ) -> None:
        """Empty the Ray trials that ended in a step of Tune's."""
        for trial in self._ended:
            _empty(trial)
        self._ended.clear()


def _empty(trial: "RayTrial") -> None:
    metadata = trial.run_metadata
    metadata.last_result = {"done": True}  # without any, Tune would ask the worker for one
    metadata.metric_analysis, metadata.metric_n_steps = {}, {}
    for name in _DICTS:
        if isinstance(found := vars(trial).get(name), dict):
            found.clear()
    trial.invalidate_json_state()  # type: ignore[no-untyped-call]  # Ray's own lack
