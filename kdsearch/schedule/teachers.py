"""Teachers, each trained once as a Ray task before the search begins."""

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError, RayTaskError

from kdsearch.artifacts.store import Place, store_at
from kdsearch.distill.teachers.recipes import recipe_of
from kdsearch.distill.teachers.records import TeacherRecord, find_record, teacher_entry
from kdsearch.errors import KDSearchError, RunError
from kdsearch.schedule.loss_reasons import reason_of
from kdsearch.schedule.workers.folders import enter_launch_folder
from kdsearch.schedule.workers.warnings import WarningTeller, held_warnings
from kdsearch.spec import StudySpec, TrainingSpec

if TYPE_CHECKING:  # the task runs without a database
    from kdsearch.storage import StudyRecord


LOOK_S = 3.0
"""How often the driver looks up from waiting for a teacher."""


def train_teachers(
    spec: StudySpec, record: "StudyRecord", artifacts: Place, look: Callable[[], None] = lambda: None
) -> None:
    """Train or find the teacher of every setup and record it. What training takes counts as packs do.

    Args:
        spec: The study's.
        record: Gets the teachers.
        artifacts: Where they are kept.
        look: Called now and then; what it raises ends the waiting.

    Raises:
        RequestError: A teacher's data or weights can't be had; the message says why.
        RunError: A teacher's training failed.
    """
    needs = spec.resources
    task = ray.remote(num_cpus=needs.cpus_per_pack, num_gpus=needs.gpus, num_returns="streaming")(_train)
    pending: dict[Any, str] = {}
    for document in teacher_documents(spec):
        if known := _known(document, artifacts):
            record.save_teacher(known)
        else:
            attempt = uuid.uuid4().hex[:4]  # one that a killed driver had begun stays counted beside it
            pending[task.remote(document, str(artifacts), str(Path.cwd()), needs.device)] = (
                f"teacher {_short_name(document)} {attempt}"
            )
    warnings = WarningTeller()
    while pending:
        ready: list[Any] = ray.wait(list(pending), num_returns=1, timeout=LOOK_S)[0]
        look()
        if not ready:
            continue
        training = ready[0]
        name = pending[training]
        try:
            news: dict[str, Any]
            news, told = ray.get(next(training))
        except StopIteration:
            del pending[training]
        except RayError as error:
            record.end_pack(name)
            raise _failure(error) from error
        else:
            warnings.tell(told)
            _record_news(record, name, news)


def _record_news(record: "StudyRecord", name: str, news: dict[str, Any]) -> None:
    """Called when a teacher's training begins, and with what came out."""
    if news:
        record.end_pack(name)
        record.save_teacher(news)
    else:
        record.start_pack(name)


def _failure(error: RayError) -> KDSearchError:
    if not isinstance(error, RayTaskError):  # Ray has tried it again a few times
        return RunError(
            f"A teacher could not be trained: {reason_of(error)}. "
            "Give it what it lacks, and launch again; the teachers that are done stay."
        )
    if isinstance(error.cause, KDSearchError):
        return error.cause
    return RunError(f"A teacher could not be trained: {error.cause!r}.")


def teacher_documents(spec: StudySpec) -> list[dict[str, Any]]:
    """Return the training documents of all teachers that the setups need.

    Each teacher is there once for each split.
    """
    unique: dict[str, dict[str, Any]] = {}
    for training in _distilling(spec):
        document = training.model_dump(mode="json")
        key = json.dumps([document[section] for section in ("dataset", "augment", "teacher")], sort_keys=True)
        unique.setdefault(key, document)
    return list(unique.values())


def _distilling(spec: StudySpec) -> Iterator[TrainingSpec]:
    if spec.trainer != "distill":
        return
    for setup in spec.setups():
        for draw in range(spec.n_splits):
            training = spec.resolve(setup, {}, draw)
            if training.objective.alpha > 0 or "objective.alpha" in spec.tune:
                yield training


def _known(document: dict[str, Any], artifacts: Place) -> dict[str, Any] | None:
    """Return the record of a teacher that is already stored.

    No worker is started for it, which would first import torch.
    """
    try:
        known = find_record(store_at(artifacts), _digest(document))
    except KDSearchError:  # the task says what is wrong, or finds the files on its own node
        return None
    return None if known is None else _record_of(known, artifacts)


def _digest(document: dict[str, Any]) -> str:
    return recipe_of(TrainingSpec.model_validate(document)).digest


def _short_name(document: dict[str, Any]) -> str:
    try:
        return _digest(document)[:12]
    except KDSearchError:  # its data are not on this node
        return str(document["teacher"]["arch"])


def _train(
    document: dict[str, Any], artifacts: str, folder: str, device: str | None
) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Yield once when the training begins, then the teacher's record.

    Each comes with its warnings; the first record is empty.
    """
    yield {}, []
    enter_launch_folder(folder, document)
    from kdsearch.distill.teachers.made import ensure_teacher

    with held_warnings() as held:
        recipe = recipe_of(TrainingSpec.model_validate(document))
        record = _record_of(ensure_teacher(recipe, artifacts, device), artifacts)
    yield record, held.take()


def _record_of(teacher: TeacherRecord, artifacts: Place) -> dict[str, Any]:
    """Return a teacher's record with the address that holds on every node."""
    return {**teacher.to_dict(), "path": store_at(artifacts).address(teacher_entry(teacher.digest))}
