"""One look at all that a study names, before anything starts."""

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kdsearch.artifacts.store import Place, folder_of, store_at
from kdsearch.distill.data.fingerprints import code_fingerprint, data_fingerprint
from kdsearch.distill.factories import load_factory, undisturbed
from kdsearch.distill.teachers.recipes import file_digest, is_known_by_name
from kdsearch.errors import RequestError
from kdsearch.schedule.workers.trainers import load_trainer
from kdsearch.spec import TEMPERATURE, Choices, Range, Setup, StudySpec, TrainingSpec
from kdsearch.spec.catalogue import USUAL_TEMPERATURES, is_factory
from kdsearch.spec.sections import CommandTrainer, Pretraining
from kdsearch.spec.study import NO_TRAINER

if TYPE_CHECKING:
    from kdsearch.distill.preflight.trainings import Preflight

_OWN_CODE = (
    *("dataset.name", "student.arch", "teacher.arch", "objective.name", "optimizer.name"),
    *("training.schedule", "teacher.finetune.optimizer", "teacher.finetune.schedule"),
)
_SOME_CLASSES = 10  # which most objectives take; those of data that are elsewhere are not known
_SECTIONS = ("dataset", "student", "teacher", "objective", "training")
"""What of a training the checks depend on; all else is numbers that the spec has checked."""


@dataclass(frozen=True)
class Found:
    """What a preflight found: where artifacts are kept, and what it can't know, in words.

    `engine` has the data and networks that were looked at; `data`, on a cluster, the digests of the data sets
    that this machine has, by their names and roots.
    """

    artifacts: Place
    unknown: tuple[str, ...] = ()
    engine: "Preflight | None" = None
    data: Mapping[str, str] = field(default_factory=dict)


@undisturbed()
def preflight(spec: StudySpec, address: str | None, *, engine: bool = True) -> Found:
    """Check what a study names, as far as possible before it starts.

    Modules are imported, functions called on nothing, data read, networks built and loaded. On a cluster,
    whose nodes may have what this machine lacks, networks and weights are left to them; data are told apart
    and objectives called where this machine can.

    Args:
        spec: The checked spec.
        address: The cluster that the study is for, None for this machine.
        engine: Whether data, networks, weights and objectives are looked at, which takes seconds.

    Raises:
        RequestError: Something is not there or does not fit; the message names its setting.
    """
    artifacts = artifacts_of(spec)
    import_from_working_directory()
    if spec.trainer == NO_TRAINER:
        raise RequestError(
            f"`trainer` must be named to go on with {spec.name!r}, whose trials were imported. Set it in its "
            "study file: package.module:function, or a command."
        )
    load_trainer(spec.trainer, artifacts)
    if spec.trainer != "distill":  # what else is named is the trainer's affair
        if isinstance(spec.trainer, CommandTrainer) and address is None:
            _check_program(spec.trainer)
        return Found(artifacts, ("what the trainer does with each setup; the first packs tell",))
    if isinstance(artifacts, Path) and address is None:
        _check_folder(artifacts)
    for path in _OWN_CODE:
        for name in _values_at(spec, path):
            if is_factory(name):
                load_factory(name, path)
    _check_weights(spec)
    if address is not None:
        data, unseen = _data_from_here(spec)
        left = "networks and weights, which the cluster's nodes look at"
        return Found(artifacts, (left, *unseen, *_uncalled_objectives(spec)), data=data)
    if not engine:
        return Found(artifacts)
    from kdsearch.distill.preflight.trainings import Preflight

    checks = Preflight(spec.resources.device)
    checks.check_all(_kinds(spec))
    return Found(artifacts, _unknown(spec), checks)


def costs(spec: StudySpec, checks: "Preflight") -> dict[str, Any] | None:
    """Return about how many hours a study takes on this machine's CPUs.

    The memory of its data comes with it, in bytes. A few steps of a pack are measured, of each network where
    that takes long. None where packs ask for GPUs.
    """
    if spec.resources.gpus:
        return None
    setups = spec.setups()
    slots = max(1, int(len(os.sched_getaffinity(0)) / spec.resources.cpus_per_pack))
    threads = max(1, int(spec.resources.cpus_per_pack))
    student_s, teacher_s, data_bytes = 0.0, dict[str, float](), 0
    for setup in setups:
        training = spec.resolve(setup, {})
        cost = checks.cost(training, spec.pack_size, threads)
        n_images = len(checks.data_of(training.dataset).train)
        epoch_s = checks.student_epoch_s(training, spec.pack_size, threads)
        student_s += spec.search.trials / len(setups) * training.training.epochs * epoch_s
        taught = cost.teacher_s * n_images * (training.teacher.finetune.epochs + training.training.epochs / 3)
        key = f"{training.teacher.model_dump_json()} {training.dataset.model_dump_json()}"
        teacher_s[key] = max(taught, teacher_s.get(key, 0.0))
        data_bytes = max(data_bytes, cost.data_bytes)
    teachers_s = sum(teacher_s.values()) * spec.n_splits  # each is trained once on every split
    return {
        "hours": (student_s + teachers_s) / slots / 3600,
        "teacher_hours": teachers_s / slots / 3600,
        "slots": slots,
        "data_bytes": data_bytes,
    }


@undisturbed()
def data_fingerprints(spec: StudySpec, setups: Iterable[Setup] | None = None) -> dict[str, str]:
    """Return digests of what a study's data sets, label files and checkpoints hold.

    They are by the data sets' names and roots, and the files' paths. Data that their name decides have none;
    those of an own trainer are its affair.

    Args:
        spec: The checked spec.
        setups: Those that count; all of the study's where none are given.

    Raises:
        RequestError: Files are missing, or don't make a data set.
    """
    found = {name: digest() for name, digest in _digests(spec, setups).items()}
    return {name: digest for name, digest in found.items() if digest is not None}


def code_fingerprints(spec: StudySpec) -> dict[str, str]:
    """Return digests of a user's code that trains, by the names in the spec: trainers, networks …."""
    if isinstance(spec.trainer, CommandTrainer):
        script = _script_of(spec.trainer)
        is_here = script is not None and Path(script).expanduser().is_file()
        return {script: file_digest(script, "trainer.command")} if script and is_here else {}
    paths = [path for path in _OWN_CODE if path != "dataset.name"]  # those are data
    named = [spec.trainer] if spec.trainer != "distill" else [n for p in paths for n in _values_at(spec, p)]
    found = {name: code_fingerprint(name) for name in named if is_factory(name)}
    return {name: digest for name, digest in found.items() if digest is not None}


def _digests(spec: StudySpec, setups: Iterable[Setup] | None = None) -> dict[str, Callable[[], str | None]]:
    """Return by name what tells the digest of each thing that its name or path alone does not decide."""
    if spec.trainer != "distill":
        return {}
    found: dict[str, Callable[[], str | None]] = {}
    for training in map(spec.with_values, spec.setups() if setups is None else setups):
        data = training.dataset
        if not is_known_by_name(data.name):
            found[" in ".join(filter(None, (data.name, data.root)))] = partial(data_fingerprint, data)
        found |= {path: partial(file_digest, path, setting) for path, setting in _files(training).items()}
    return found


def _files(training: TrainingSpec) -> dict[str, str]:
    """Return the settings that name files that are read whole, by the files' paths."""
    found = {}
    if training.dataset.label_file is not None:
        found[training.dataset.label_file] = "dataset.labels"
    sources: dict[str, str | Pretraining] = {"student.init": training.student.init}
    if training.objective.alpha:
        sources["teacher.pretraining"] = training.teacher.pretraining
    for setting, source in sources.items():
        if isinstance(source, Pretraining) and source.checkpoint is not None:
            found[source.checkpoint] = f"{setting}.checkpoint"
    return found


def _data_from_here(spec: StudySpec) -> tuple[dict[str, str], list[str]]:
    """Return the digests of data that this machine has. With them, those that it could not look at."""
    found, unseen = {}, []
    for name, digest in _digests(spec).items():
        why = "nothing is there on this machine"
        try:
            fingerprint = digest()
        except RequestError as error:
            fingerprint, why = None, str(error).rstrip(".")
        if fingerprint is not None:
            found[name] = fingerprint
        else:
            unseen.append(f"whether the data of {name} are those of earlier launches: {why}")
    return found, unseen


def _uncalled_objectives(spec: StudySpec) -> list[str]:
    """Check that users' objectives use the temperature. Return in words which could not be called here.

    Raises:
        RequestError: One has no use for it.
    """
    own = {
        (training.objective.model_dump_json(), temperatures): (training, temperatures)
        for training, temperatures in _kinds(spec)
        if is_factory(training.objective.name)
    }
    if not own:
        return []
    from kdsearch.distill.preflight.checks import has_temperature
    from kdsearch.distill.preflight.trainings import refuse_own_objective

    uncalled = []
    for training, temperatures in own.values():
        try:
            has_effect = has_temperature(training, _SOME_CLASSES, temperatures)
        except RequestError as error:  # it may want the data's own number of classes
            why = f"called with {_SOME_CLASSES} classes here, {str(error).rstrip('.')}"
            uncalled.append(f"whether {training.objective.name!r} uses the temperature: {why}")
        else:
            if not has_effect:
                refuse_own_objective(training, temperatures)
    return uncalled


def artifacts_of(spec: StudySpec) -> Place:
    """Return where teachers, soft targets and checkpoints are kept.

    Raises:
        RequestError: It is a URL at which nothing can be stored from here.
    """
    chosen = spec.artifacts or os.environ.get("KDSEARCH_ARTIFACTS") or "~/.cache/kdsearch"
    folder = folder_of(chosen)
    if folder is not None:
        return folder.expanduser().resolve()
    store_at(chosen).check()
    return chosen


def import_from_working_directory() -> None:
    """Let a user's modules be found, here and on the workers.

    The working directory is added to `sys.path`, which Ray sends along.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)


def _unknown(spec: StudySpec) -> tuple[str, ...]:
    """Return what can be seen only when the study runs.

    It is fetched or trained first.
    """
    found: dict[str, None] = {}
    for setup in spec.setups():
        training = spec.resolve(setup, {})
        for name, source in (("teacher", training.teacher.pretraining), ("student", training.student.init)):
            if isinstance(source, Pretraining) and source.checkpoint is None:
                what = f"weights {source.weights!r} are fetched" if source.weights else "a pretraining is run"
                found[f"{name}: {what} when the study starts"] = None
    return tuple(found)


def _kinds(spec: StudySpec) -> Iterator[tuple[TrainingSpec, tuple[float, ...]]]:
    """Yield the trainings that differ in what is checked, with their temperatures.

    Each setup is varied by each choice of its parameters.
    """
    seen: set[str] = set()
    for setup in spec.setups():
        temperatures = _temperatures(spec, setup)
        choices = {p: d.choices for p, d in spec.dimensions(setup).items() if isinstance(d, Choices)}
        varied = [{path: choice} for path, own in choices.items() for choice in own] or [{}]
        for params in varied:
            training = spec.resolve(setup, params)
            key = "".join(getattr(training, section).model_dump_json() for section in _SECTIONS)
            key = f"{key}{temperatures}"
            if key not in seen:
                seen.add(key)
                yield training, temperatures


def _temperatures(spec: StudySpec, setup: Setup) -> tuple[float, ...]:
    """Return the ends and middle of a temperature range, or its choices.

    The usual temperatures where only one is given.
    """
    dimension = spec.dimensions(setup).get(TEMPERATURE)
    if isinstance(dimension, Range):
        return (dimension.low, float(dimension.from_unit(0.5)), dimension.high)
    numbers = [c for c in getattr(dimension, "choices", ()) if isinstance(c, int | float)]
    if len(numbers) > 1:
        return tuple(map(float, numbers))
    return USUAL_TEMPERATURES  # one alone says nothing; the usual range does


def _values_at(spec: StudySpec, path: str) -> list[str]:
    """Return every name that a setting may have in a study."""
    tuned = spec.tune.get(path)
    if isinstance(tuned, Choices):
        return [str(choice) for choice in tuned.choices]
    return [str(level) for level in spec.setup.get(path, (spec.value_at(path),))]


def _check_weights(spec: StudySpec) -> None:
    asked: set[tuple[Literal["student", "teacher"], str, str]] = set()
    for training in map(spec.with_values, spec.setups()):
        student, teacher = training.student, training.teacher
        if isinstance(student.init, Pretraining) and student.init.weights and "student.arch" not in spec.tune:
            asked.add(("student", student.arch, student.init.weights))
        source = teacher.pretraining
        if isinstance(source, Pretraining) and source.weights and "teacher.arch" not in spec.tune:
            asked.add(("teacher", teacher.arch, source.weights))
    for role, arch, weights in sorted(asked):
        from kdsearch.distill.teachers.setting_paths import errors_about
        from kdsearch.distill.weights.published import check_published

        with errors_about(role):
            check_published(arch, weights)


def _check_folder(folder: Path) -> None:
    nearest = next(place for place in (folder, *folder.parents) if os.path.exists(place))
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        what = "can't be written" if nearest.is_dir() else "is no folder"
        raise RequestError(
            f"`artifacts` must be a folder that can be written, got {folder}: {nearest} {what}. Name another."
        )


def _check_program(trainer: CommandTrainer) -> None:
    """Check that a command's program exists, and a Python script it names."""
    words = trainer.words
    places = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    if "{" not in words[0] and shutil.which(words[0], path=places) is None:
        raise RequestError(
            f"`trainer.command` must name a program that can be run, got {words[0]!r}. "
            "Check its spelling, its rights, and PATH."
        )
    script = _script_of(trainer)
    if script is not None and not Path(script).expanduser().is_file():
        raise RequestError(
            f"`trainer.command` must name a script that is there, got {script!r}. It is not in {Path.cwd()}."
        )


def _script_of(trainer: CommandTrainer) -> str | None:
    """Return the Python script that a command names, if any."""
    return next((word for word in trainer.words[1:2] if word.endswith(".py") and "{" not in word), None)
