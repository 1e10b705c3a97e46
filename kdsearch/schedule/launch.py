"""A study from its spec to its last trial."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from sqlalchemy.exc import DBAPIError

from kdsearch.analysis.response.warm_start import EarlierStudy, load_warm_start
from kdsearch.artifacts.store import Place
from kdsearch.errors import KDSearchError, LiveDriverError, RunError
from kdsearch.schedule.cluster.authentication import agree_on_token
from kdsearch.schedule.cluster.resources import check_local_resources, local_gpus, with_gpus
from kdsearch.schedule.preflight import code_fingerprints, data_fingerprints, preflight
from kdsearch.schedule.signals import EndingSignals
from kdsearch.schedule.submission_notes import note_failed_start
from kdsearch.search import PackAsker
from kdsearch.spec import StudySpec, spec_document
from kdsearch.storage import (
    Hours,
    Lease,
    StudyRecord,
    TrialRow,
    edited_code,
    hold_lease,
    load_study,
    open_database,
)

if TYPE_CHECKING:
    from kdsearch.schedule.cluster.connection import Cluster
    from kdsearch.schedule.run import StudyRun

Ending: TypeAlias = Literal["finished", "stopped", "interrupted"]

_log = logging.getLogger(__name__)

_BY_SIGNAL = "its driver was interrupted, by Ctrl-C or a signal"
_MOST_CHARACTERS = 1000  # by hand, of a reason kept with the study: errors name their cause early


class Watch(Protocol):
    """Whoever shows a running study to a person."""

    def phase(self, text: str) -> None:
        """Take what the driver does now, in a few words."""

    def update(self, rows: Callable[[], list[TrialRow]], hours: Callable[[], Hours]) -> None:
        """Called when something may have changed.

        `rows` and `hours` read the trials and their hours.
        """


class Unwatched:
    """Shows nothing."""

    def phase(self, text: str) -> None:
        """Ignore it."""

    def update(self, rows: Callable[[], list[TrialRow]], hours: Callable[[], Hours]) -> None:
        """Ignore it."""


def launch_study(
    spec: StudySpec,
    storage: str,
    *,
    address: str | None = None,
    takeover: bool = False,
    watch: Watch | None = None,
) -> Ending:
    """Run a study to its budget, or resume an interrupted one.

    Args:
        spec: The checked spec.
        storage: The database's URL.
        address: A running Ray cluster; without one, an embedded cluster is started and stopped.
        takeover: Take the study from a driver that seems alive.
        watch: Is told about phases and progress.

    Raises:
        RequestError: The spec asks for what the cluster or the machine does not have.
        LiveDriverError: The study has a live driver elsewhere.
        RunError: A teacher or most trials failed.
    """
    watch = watch or Unwatched()
    with EndingSignals() as signals, _failed_start_noted(spec, storage), ExitStack() as stack:
        found = preflight(spec, address, engine=not _has_begun(spec, storage))
        ending: Ending
        cluster: Cluster | None = None
        if address is None:
            spec = with_gpus(spec, local_gpus())
            check_local_resources(spec)
        else:
            cluster = stack.enter_context(_connect(address, watch))
            signals.take_again()
            spec = with_gpus(spec, cluster.gpus)
            cluster.slots(spec)
            _log.warning("Not looked at from here: %s.", "; ".join(found.unknown))
        earlier = _load_warm_start(spec, storage)
        database = stack.enter_context(open_database(storage, create=True))
        lease = stack.enter_context(hold_lease(database, spec.name, takeover=takeover))
        data = data_fingerprints(spec) if address is None else found.data
        code = code_fingerprints(spec)
        if edited := edited_code(database, spec.name, code):
            _log.warning(
                "%s was edited since trials of %r finished: they stay, beside new ones. Where results "
                "change, choose another `name`.",
                ", ".join(edited),
                spec.name,
            )
        record = StudyRecord.open(database, spec, lease=lease, data=data, code=code)
        with _ended_cleanly(record, lease):
            run = _begin(spec, earlier, record, lease, watch)
            if (spent := run.spent) is not None:
                ending, reason = "finished", spent
            else:
                cluster = cluster or stack.enter_context(_connect(None, watch))
                signals.take_again()
                ending, reason = _drive(run, spec, record, lease, found.artifacts, cluster, watch)
            record.recover()
            record.set_state(ending, reason)
    return ending


def _has_begun(spec: StudySpec, storage: str) -> bool:
    """Return whether trials of the study have finished. Then what it names has been used already."""
    try:
        with open_database(storage) as database:
            return load_study(database, spec.name).progress.complete > 0
    except (KDSearchError, DBAPIError):  # no such database or study yet, or what opening it below will say
        return False


def _connect(address: str | None, watch: Watch) -> AbstractContextManager["Cluster"]:
    watch.phase("starting Ray" if address is None else f"joining Ray at {address}")
    if address is not None:
        agree_on_token(address)
    from kdsearch.schedule.cluster.connection import connect

    return connect(address)


@contextmanager
def _failed_start_noted(spec: StudySpec, storage: str) -> Iterator[None]:
    """Note in the database why a study could not be started.

    Whoever submitted it to a cluster does not see its errors.
    """
    try:
        yield
    except LiveDriverError:
        raise
    except KDSearchError as error:
        note_failed_start(spec.name, storage, shorten(str(error), _MOST_CHARACTERS))
        raise


@contextmanager
def _ended_cleanly(record: StudyRecord, lease: Lease) -> Iterator[None]:
    """Leave no trial running, whatever ends the driver. What was running is asked again later."""
    record.recover()
    try:
        yield
    except BaseException as error:
        if not lease.lost:
            record.recover()
            record.set_state(*_broken_off(error))
        if isinstance(error, SystemExit):
            raise KeyboardInterrupt from error
        raise


def _broken_off(error: BaseException) -> tuple[Ending | Literal["failed"], str]:
    if isinstance(error, (KeyboardInterrupt, SystemExit)):  # the latter comes of handlers of Ray's
        return "interrupted", _BY_SIGNAL
    told = str(error) if isinstance(error, KDSearchError) else f"{type(error).__name__}: {error}"
    return "failed", shorten(told, _MOST_CHARACTERS)


def _load_warm_start(spec: StudySpec, storage: str) -> list[EarlierStudy]:
    """Return the studies to start from; asked before anything is written."""
    if not spec.search.warm_start:
        return []
    with open_database(storage) as database:
        return load_warm_start(database, spec)


def _begin(
    spec: StudySpec, earlier: Sequence[EarlierStudy], record: StudyRecord, lease: Lease, watch: Watch
) -> "StudyRun":
    from kdsearch.schedule.run import StudyRun

    asker = PackAsker(record.spec, record, earlier)
    return StudyRun(spec, record, asker, lease, lambda: watch.update(record.trials, record.hours))


def _drive(
    run: "StudyRun",
    spec: StudySpec,
    record: StudyRecord,
    lease: Lease,
    artifacts: Place,
    cluster: "Cluster",
    watch: Watch,
) -> tuple[Ending, str]:
    """Run packs until the study has ended; return how, and why."""
    from kdsearch.schedule.teachers import train_teachers

    record.set_state("running")
    watch.phase("training teachers")
    train_teachers(spec, record, artifacts, lease.check_held)
    watch.phase("searching")
    _tune(run, lease, spec, artifacts, cluster)
    lease.check_held()
    if run.spent is not None:
        return "finished", run.spent
    return ("stopped", "`kdsearch stop` asked for it") if run.stopping else ("interrupted", _BY_SIGNAL)


def _tune(run: "StudyRun", lease: Lease, spec: StudySpec, artifacts: Place, cluster: "Cluster") -> None:
    """Run packs under Ray Tune until the study finishes or stops."""
    # Nobody reads Tune's own files and tables; the database and our display replace them.
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    os.environ["TUNE_PRINT_ALL_TRIAL_ERRORS"] = "0"
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "inf"
    logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)  # a lost pack is told by its trials' reason
    from ray import tune

    from kdsearch.schedule.cluster.ray_internals import (
        ended_packs_dropped,
        memory_kills_as_losses,
        silent_progress,
        use_ready_workers,
    )
    from kdsearch.schedule.loss_reasons import LostPackScheduler
    from kdsearch.schedule.searcher import BeginCallback, LeaseStopper, PackSearcher
    from kdsearch.schedule.workers.trainable import run_pack

    use_ready_workers()
    trainable = tune.with_parameters(
        run_pack, document=spec_document(spec), artifacts=str(artifacts), folder=str(Path.cwd())
    )
    needs = {"cpu": spec.resources.cpus_per_pack, "gpu": spec.resources.gpus}
    searcher = PackSearcher(run, spec.resources.stall_minutes)
    tuner = tune.Tuner(
        tune.with_resources(trainable, needs),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=LostPackScheduler(searcher.explain),
            num_samples=-1,
            max_concurrent_trials=cluster.slots(spec),
            reuse_actors=True,
            trial_name_creator=lambda trial: trial.trial_id,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name=spec.name,
            storage_path=str(cluster.scratch / "tune"),
            stop=LeaseStopper(lambda: lease.lost),
            verbose=0,
            callbacks=[BeginCallback(searcher), *silent_progress()],
        ),
    )
    try:
        with memory_kills_as_losses(), ended_packs_dropped():
            tuner.fit()
    except tune.TuneError as error:
        raise _cause(error) from error


def _cause(error: BaseException) -> BaseException:
    """Return the error of ours that Tune wrapped, if there is one."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, KDSearchError):
            return inner
        inner = inner.__cause__ or inner.__context__
    return RunError(f"Ray Tune ended: {error}")
