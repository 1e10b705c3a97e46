"""What is read from the database: plain frozen rows."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

from kdsearch.spec import Params, Setup, StudySpec, setup_key
from kdsearch.spec.widening import Widening
from kdsearch.trial import has_result

TrialState: TypeAlias = Literal["complete", "pruned", "failed", "running", "waiting"]
StudyState: TypeAlias = Literal[
    "new", "running", "finished", "stopped", "interrupted", "failed", "unreadable"
]

HOPELESS = "hopeless"
"""How the reason of a trial begins that was pruned because no catch-up could bring it near the others."""

SET_ASIDE = "set aside: "
"""How the reason of a stopped setup begins whose trials failed; of others nothing is wrong."""


@dataclass(frozen=True)
class TrialRow:
    """One trial. Accuracies are fractions, entropies in nats, `seconds` wall time over pack size.

    `executor` is the way in which its pack was trained, with `pack_size` students; None where it is not told.
    `draw` is the draw of luck that the pack shares; None where the study varies nothing.
    """

    number: int
    state: TrialState
    reason: str | None
    setup: Setup
    params: Params
    seed: int
    epochs: int
    val_accuracy: float | None = None
    test_accuracy: float | None = None
    val_loss: float | None = None
    train_loss: float | None = None
    teacher_entropy: float | None = None
    student_entropy: float | None = None
    teacher_agreement: float | None = None
    seconds: float | None = None
    device: str | None = None
    pack: str | None = None
    executor: str | None = None
    pack_size: int | None = None
    draw: int | None = None

    @property
    def has_result(self) -> bool:
        """Whether it ended with something to say: complete, pruned or diverged."""
        return has_result(self.state, self.reason)

    def to_dict(self) -> dict[str, Any]:
        """Return the trial as a JSON document."""
        return dict(self.__dict__)


def setup_keys(trials: Iterable[TrialRow]) -> dict[int, str]:
    """Return the key of each trial's setup, by its mapping's identity.

    Trials of one setup share one mapping.
    """
    setups = {id(trial.setup): trial.setup for trial in trials}
    return {identity: setup_key(setup) for identity, setup in setups.items()}


def by_setup(trials: Sequence[TrialRow]) -> dict[str, list[TrialRow]]:
    """Return trials by their setup's key."""
    keys = setup_keys(trials)
    found: defaultdict[str, list[TrialRow]] = defaultdict(list)
    for trial in trials:
        found[keys[id(trial.setup)]].append(trial)
    return dict(found)


@dataclass(frozen=True)
class EpochRow:
    """What a trial reported after one epoch; epochs count from 1."""

    number: int
    epoch: int
    val_accuracy: float | None
    val_loss: float | None
    train_loss: float | None


@dataclass(frozen=True)
class Progress:
    """How many trials of a study are in each state.

    `failed` is without those that diverged, and with those that were lost and run again.
    """

    target: int
    complete: int = 0
    pruned: int = 0
    diverged: int = 0
    failed: int = 0
    running: int = 0
    waiting: int = 0

    @property
    def finished(self) -> int:
        """The trials that count against the budget."""
        return self.complete + self.pruned + self.diverged

    def to_dict(self) -> dict[str, int]:
        """Return the counts as a JSON document; `trials` is the budget."""
        counts = {name: count for name, count in self.__dict__.items() if name != "target"}
        return {"trials": self.target, "finished": self.finished, **counts}


@dataclass(frozen=True)
class Hours:
    """CPU-hours and GPU-hours. A pack that holds half a GPU for an hour takes half a GPU-hour.

    `wall` is for how many hours drivers have run the study, one after another.
    """

    cpu: float = 0.0
    gpu: float = 0.0
    wall: float = 0.0

    def budgets(self, spec: StudySpec) -> list[tuple[str, float, float]]:
        """Return each budget of hours that a spec sets: its unit, what is spent of it, and the budget."""
        search = spec.search
        all_of_them = (
            ("hours", self.wall, search.hours),
            ("GPU-hours", self.gpu, search.gpu_hours),
            ("CPU-hours", self.cpu, search.cpu_hours),
        )
        return [(unit, used, budget) for unit, used, budget in all_of_them if budget is not None]

    def spent(self, spec: StudySpec) -> str | None:
        """Return which budget of a spec is spent, in words. None while there is room in all."""
        for unit, used, budget in self.budgets(spec):
            if used >= budget:
                return f"{_hours_text(used)} of {_hours_text(budget)} {unit} are spent"
        return None


def _hours_text(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 1000 else f"{hours:.3g}"


@dataclass(frozen=True)
class Driver:
    """The process that runs a study.

    `heartbeat` is when it was last heard of.
    """

    host: str
    pid: int
    since: datetime
    heartbeat: datetime
    stop_requested: bool = False

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since:%Y-%m-%d %H:%M:%S} UTC"

    def to_dict(self) -> dict[str, Any]:
        """Return the driver as a JSON document."""
        moments = {"since": self.since.isoformat(), "heartbeat": self.heartbeat.isoformat()}
        return {**self.__dict__, **moments}


@dataclass(frozen=True)
class StoppedSetup:
    """A setup that the search gives no more trials, and why."""

    setup: Setup
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Return the setup as a JSON document."""
        return dict(self.__dict__)


@dataclass(frozen=True)
class StoredWidening(Widening):
    """A widening as it was recorded: when, and after how many complete trials."""

    trials: int
    created: datetime

    def to_dict(self) -> dict[str, Any]:
        """Return the widening as a JSON document."""
        return {**self.__dict__, "created": self.created.isoformat()}


@dataclass(frozen=True)
class StudySummary:
    """One study: its state, progress, hours and live driver.

    `stopped` are the setups that get no more trials while others may, `widened` the ranges that its search
    has widened.
    """

    name: str
    state: StudyState
    setups: int
    progress: Progress
    created: datetime
    updated: datetime
    driver: Driver | None
    hours: Hours = Hours()
    reason: str | None = None
    stopped: tuple[StoppedSetup, ...] = ()
    widened: tuple[StoredWidening, ...] = ()

    @property
    def why(self) -> str | None:
        """Why the study is in its state, for people.

        How many setups were stopped early or set aside is part of it.
        """
        n_aside = len(self.set_aside)
        n_early = len(self.stopped) - n_aside
        early = f"{n_early} of {self.setups} setups were stopped early" if n_early else None
        aside = f"{n_aside} of {self.setups} setups were set aside, their trials fail" if n_aside else None
        return "; ".join(part for part in (self.reason, early, aside) if part) or None

    @property
    def is_unfinished(self) -> bool:
        """Whether it has ended before its budget was spent: launched again, it resumes."""
        has_ended = self.driver is None and self.state in ("interrupted", "stopped", "failed")
        return has_ended and self.progress.finished < self.progress.target

    @property
    def set_aside(self) -> tuple[StoppedSetup, ...]:
        """The setups that get no more trials because theirs fail."""
        return tuple(setup for setup in self.stopped if setup.reason.startswith(SET_ASIDE))

    def to_dict(self) -> dict[str, Any]:
        """Return the study as a JSON document."""
        return {
            "study": self.name,
            "state": self.state,
            "reason": self.reason,
            "setups": self.setups,
            "stopped": [setup.to_dict() for setup in self.stopped],
            "widened": [widening.to_dict() for widening in self.widened],
            **self.progress.to_dict(),
            "hours": self.hours.wall,
            "cpu_hours": self.hours.cpu,
            "gpu_hours": self.hours.gpu,
            "created": self.created.isoformat(),
            "updated": self.updated.isoformat(),
            "driver": self.driver and self.driver.to_dict(),
        }


@dataclass(frozen=True)
class TeacherRow:
    """One trained teacher recipe.

    `entropy` is its mean entropy in nats by temperature.
    """

    digest: str
    recipe: dict[str, Any]
    path: str
    train_accuracy: float | None
    val_accuracy: float | None
    test_accuracy: float | None
    calibration_error: float | None
    entropy: dict[str, Any] | None
    seconds: float | None
    created: datetime
    studies: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the teacher as a JSON document."""
        return {**self.__dict__, "created": self.created.isoformat(), "studies": list(self.studies)}
