"""The Tune searcher: it only translates between Ray trials and packs."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ray.tune import Callback, Stopper
from ray.tune.search import Searcher

from kdsearch.schedule.loss_reasons import KILLED
from kdsearch.schedule.workers.trainable import WARNINGS
from kdsearch.schedule.workers.warnings import WarningTeller
from kdsearch.search import Pack
from kdsearch.trial import Metrics, TrialResult

if TYPE_CHECKING:
    from ray.tune.experiment import Trial as RayTrial

_NEARLY = 0.9  # news is on its way for a moment


class PackSource(Protocol):
    """Where packs come from and where their results go."""

    @property
    def finished(self) -> bool:
        """Whether nothing more is to be asked or awaited."""

    def beat(self) -> None:
        """Called every second or so."""

    def next_pack(self) -> Pack | None:
        """Return the next pack, or None while there is nothing to start."""

    def start_pack(self, pack: Pack) -> None:
        """Called when a pack's worker begins."""

    def take_epochs(self, epochs: Sequence[tuple[int, Mapping[int, Metrics]]]) -> None:
        """Take what running trials reported: an epoch, and each trial's metrics by its number."""

    def take_results(self, results: Sequence[TrialResult]) -> None:
        """Take how trials ended."""

    def end_pack(self, pack: Pack, reason: str | None) -> None:
        """Called when a pack ends. Trials without a result were lost for the reason, or stopped."""


class PackSearcher(Searcher):
    """One Ray trial carries one pack. The state is in the database: nothing here is saved.

    Args:
        source: Where packs come from and where their results go.
        stall_minutes: After so long without an epoch a worker ends itself.
    """

    def __init__(self, source: PackSource, stall_minutes: float | None = None) -> None:
        super().__init__()
        self._source = source
        self._stall_minutes = stall_minutes
        self._packs: dict[str, Pack] = {}
        self._heard: dict[str, float] = {}
        self._taken: dict[str, int | None] = {}
        self._reasons: dict[str, str] = {}
        self._warnings = WarningTeller()

    def explain(self, trial_id: str, reason: str) -> None:
        """Take why a pack is about to be lost."""
        self._reasons[trial_id] = reason

    def begin(self, trial_id: str) -> None:
        """Called when a pack has its resources and its worker begins."""
        if pack := self._packs.get(trial_id):
            self._source.start_pack(pack)

    def beat(self) -> None:
        """Tell the source that time passes."""
        self._source.beat()

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return the next pack as a config. FINISHED once nothing runs that could need a replacement."""
        if self._source.finished:
            return Searcher.FINISHED  # type: ignore[return-value]  # Ray's mark, a text
        pack = self._source.next_pack()
        if pack is None:
            return None
        self._packs[trial_id] = pack
        return {"pack": pack.to_dict()}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Take a batch of epochs and ended trials. Tune tells of the last one twice."""
        iteration = result.get("training_iteration")
        if trial_id not in self._packs or (iteration and iteration == self._taken.get(trial_id)):
            return
        self._taken[trial_id] = iteration
        self._heard[trial_id] = time.monotonic()
        self._warnings.tell(result.get(WARNINGS, ()))
        if epochs := result.get("epochs"):
            self._source.take_epochs(epochs)
        if results := result.get("results"):
            self._source.take_results([TrialResult.from_dict(ended) for ended in results])

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Take the last batch. Whatever has no result then was lost with its worker."""
        if result:
            self.on_trial_result(trial_id, result)
        reason = self._reasons.pop(trial_id, KILLED if error else None)
        silence_s = time.monotonic() - self._heard.pop(trial_id, math.inf)
        if error and self._stall_minutes and silence_s > _NEARLY * 60 * self._stall_minutes:
            reason = f"hung: no epoch within {self._stall_minutes:g} minutes"
        self._taken.pop(trial_id, None)
        if pack := self._packs.pop(trial_id, None):
            self._source.end_pack(pack, reason)

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: Tune's own experiment state is disposable."""

    def restore(self, checkpoint_path: str) -> None:
        """Refuse: a new run goes on from the database."""
        raise NotImplementedError("Launch the study again; it goes on from the database.")

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing. Tune pickles its searcher, and no database belongs into that file."""
        return {}


class LeaseStopper(Stopper):
    """Ends the search at once where its driver must not go on.

    Args:
        is_lost: Whether the study is another driver's, or its database is gone.
    """

    def __init__(self, is_lost: Callable[[], bool]) -> None:
        self._is_lost = is_lost

    def __call__(self, _trial_id: str, _result: dict[str, Any]) -> bool:
        """Return that no single pack is to be stopped."""
        return False

    def stop_all(self) -> bool:
        """Return whether all are."""
        return self._is_lost()

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing, as the searcher: Tune pickles it."""
        return {}


class BeginCallback(Callback):
    """Tells the searcher that a pack begins. Tune asks for packs before there is room for them.

    It also tells it that time passes, where no pack reports anything.
    """

    def __init__(self, searcher: PackSearcher) -> None:
        self._searcher = searcher

    def on_step_begin(
        self,
        iteration: int,  # noqa: ARG002 - Ray's
        trials: "list[RayTrial]",  # noqa: ARG002 - Ray's
        **info: Any,  # noqa: ARG002 - Ray's
    ) -> None:
        """Tell that time passes."""
        self._searcher.beat()

    def on_trial_start(
        self,
        iteration: int,  # noqa: ARG002 - Ray's
        trials: "list[RayTrial]",  # noqa: ARG002 - Ray's
        trial: "RayTrial",
        **info: Any,  # noqa: ARG002 - Ray's
    ) -> None:
        """Pass the trial's id on."""
        self._searcher.begin(trial.trial_id)
