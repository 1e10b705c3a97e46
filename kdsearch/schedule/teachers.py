"""Teachers, each trained once as a Ray task before the search begins."""

import json
from collections.abc import Iterator
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from kdsearch.distill.artifact_store import Place, store_at
from kdsearch.distill.recipes import recipe_of
from kdsearch.distill.teacher_records import TeacherRecord, find_record, teacher_entry
from kdsearch.errors import KDSearchError, RunError
from kdsearch.schedule.losses import reason_of
from kdsearch.spec import StudySpec, TrainingSpec
from kdsearch.storage import StudyRecord


def train_teachers(spec: StudySpec, record: StudyRecord, artifacts: Place) -> None:
    """Train or find the teacher of every setup and record it.

    Raises:
        RequestError: A teacher's data or weights can't be had; the message says why.
        RunError: A teacher's training failed.
    """
    needs = spec.resources
    task = ray.remote(num_cpus=needs.cpus_per_pack, num_gpus=needs.gpus_per_pack)(_train)
    pending = []
    for document in teacher_documents(spec):
        if known := _known(document, artifacts):
            record.save_teacher(known)
        else:
            pending.append(task.remote(document, str(artifacts)))
    for reference in pending:
        try:
            teacher: dict[str, Any] = ray.get(reference)
            record.save_teacher(teacher)
        except RayTaskError as error:
            if isinstance(error.cause, KDSearchError):
                raise error.cause from error
            raise RunError(f"A teacher could not be trained: {error.cause!r}.") from error
        except RayError as error:  # Ray has tried it again a few times
            raise RunError(
                f"A teacher could not be trained: {reason_of(error)}. "
                "Give it what it lacks, and launch again; the teachers that are done stay."
            ) from error


def teacher_documents(spec: StudySpec) -> list[dict[str, Any]]:
    """Return the training documents whose teachers the setups need, each teacher once."""
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
        training = spec.resolve(setup, {})
        if training.objective.alpha > 0 or "objective.alpha" in spec.tune:
            yield training


def _known(document: dict[str, Any], artifacts: Place) -> dict[str, Any] | None:
    """Return the record of a teacher that is here already, without a worker that first imports torch."""
    recipe = recipe_of(TrainingSpec.model_validate(document))
    try:
        known = find_record(store_at(artifacts), recipe.digest)
    except KDSearchError:  # the task says what is wrong, or finds the files on its own node
        return None
    return None if known is None else _told(known, artifacts)


def _train(document: dict[str, Any], artifacts: str) -> dict[str, Any]:
    from kdsearch.distill.teachers import ensure_teacher

    recipe = recipe_of(TrainingSpec.model_validate(document))
    return _told(ensure_teacher(recipe, artifacts), artifacts)


def _told(teacher: TeacherRecord, artifacts: Place) -> dict[str, Any]:
    """Return a teacher's record with the address that holds on every node."""
    return {**teacher.to_dict(), "path": store_at(artifacts).address(teacher_entry(teacher.digest))}
