"""What Tune keeps of packs that have ended, let go: a driver's memory must not grow with its study."""

from typing import TYPE_CHECKING, Any

from ray.tune import Callback

from kdsearch.schedule.ray_internals import empty_trial

if TYPE_CHECKING:
    from ray.tune.experiment import Trial as RayTrial


class ForgettingCallback(Callback):
    """Empties Ray trials that have ended: the database has their packs, and Tune would keep them."""

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
            empty_trial(trial)
        self._ended.clear()
