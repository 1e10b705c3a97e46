"""Recipes: everything that decides a trained network's weights."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from kdsearch.distill.data.fingerprints import code_fingerprint, data_fingerprint
from kdsearch.distill.data.sources.roots import data_root
from kdsearch.distill.data.sources.torchvision_sets import TORCHVISION_PARTS
from kdsearch.distill.teachers.setting_paths import Role, errors_about
from kdsearch.errors import RequestError
from kdsearch.spec import TrainingSpec
from kdsearch.spec.catalogue import OPTIMIZERS, TORCHVISION_DATASETS
from kdsearch.spec.sections import Augment, Dataset, Finetune, Pretraining, Teacher

_VERSION = 2  # raise it when the same recipe begins to give other weights
_KNOWN_BY_NAME = ("digits", *TORCHVISION_DATASETS)
_WITH_MOMENTUM = {name for name, facts in OPTIMIZERS.items() if "momentum" in facts.takes}
_OWN_CODE = ("optimizer", "schedule")  # what a training may take of a user's modules
_SOURCES = {"weights", "checkpoint", "dataset", "epochs", "finetune_epochs"}


@dataclass(frozen=True)
class TeacherRecipe:
    """How a network is made: its data, its views, its start and its finetuning.

    A student's starting weights that are trained beforehand are made by a recipe too. `in_channels`
    converts the data set's images; None leaves them as they are. `role` decides nothing: it says by
    which paths errors name the settings.
    """

    dataset: Dataset
    augment: Augment
    teacher: Teacher
    in_channels: int | None = None
    role: Role = "teacher"

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as plain values. Files count by their contents, beside their paths."""
        trained = self.teacher.finetune.epochs + self.teacher.finetune.head_epochs > 0
        return {
            "version": _VERSION,
            "dataset": _dataset_values(self.dataset),
            "in_channels": self.in_channels,
            "augment": self.augment.model_dump(mode="json") if trained else None,
            "teacher": {
                **self.teacher.model_dump(mode="json"),
                **_known("code", code_fingerprint(self.teacher.arch)),
                "pretraining": _pretraining_values(self.teacher.pretraining, self.dataset),
                "finetune": _finetune_values(self.teacher.finetune),
            },
        }

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of all that decides the weights. Where a file lies does not."""
        with errors_about(self.role):
            values = self.to_dict()
        if isinstance(values["teacher"]["pretraining"], dict):
            values["teacher"]["pretraining"].pop("checkpoint")
            _forget_place(values["teacher"]["pretraining"])
        if "labels_sha256" in values["dataset"]:
            values["dataset"].pop("labels")
        _forget_place(values["dataset"])
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def with_epochs(self, epochs: int) -> "TeacherRecipe":
        """Return the same recipe finetuned for another number of epochs."""
        finetune = self.teacher.finetune.model_copy(update={"epochs": epochs})
        return replace(self, teacher=self.teacher.model_copy(update={"finetune": finetune}))

    def is_like(self, recipe: Mapping[str, Any]) -> bool:
        """Return whether a recorded recipe says the same. The data or the code may be others."""
        return bool(_said(self.to_dict()) == _said(recipe))

    @property
    def pretraining_data_are_unknown(self) -> bool:
        """Whether a pretraining's data files are missing here. Then the digest lacks them."""
        pretraining = self.teacher.pretraining
        if not isinstance(pretraining, Pretraining) or pretraining.dataset is None:
            return False
        first = pretraining_data(pretraining, self.dataset)
        return not is_known_by_name(first.name) and data_fingerprint(first) is None


def recipe_of(spec: TrainingSpec) -> TeacherRecipe:
    """Return the recipe of a spec's teacher."""
    return TeacherRecipe(spec.dataset, spec.augment, spec.teacher)


def contents_of(spec: TrainingSpec) -> list[str | None]:
    """Return digests of what a training's names and paths stand for: data, weights and a user's code."""
    init, objective = spec.student.init, spec.objective
    source = init.model_copy(update={"finetune_epochs": 0}) if isinstance(init, Pretraining) else "none"
    student = Teacher(arch=spec.student.arch, pretraining=source, finetune=Finetune(epochs=0))
    return [
        TeacherRecipe(spec.dataset, spec.augment, student, role="student").digest,
        recipe_of(spec).digest if objective.alpha else None,
        *map(code_fingerprint, (objective.name, spec.optimizer.name, spec.training.schedule)),
    ]


def pretraining_data(pretraining: Pretraining, dataset: Dataset) -> Dataset:
    """Return a pretraining's data.

    Of the study's own data set it is the training part alone. What else the study holds out would leak into
    its validation and its test.
    """
    first = Dataset(
        name=pretraining.dataset or dataset.name,
        root=pretraining.root or dataset.root,
        download=dataset.download,
        skip_bad=dataset.skip_bad,
        kind=dataset.kind,
    )
    return dataset.model_copy(update={"labels": "fine"}) if _is_same_data(first, dataset) else first


def _is_same_data(first: Dataset, second: Dataset) -> bool:
    contents = [data_fingerprint(data) for data in (first, second)]
    if contents[0] is not None or contents[1] is not None:
        return contents[0] == contents[1]
    return first.name == second.name and (
        is_known_by_name(first.name) or data_root(first).resolve() == data_root(second).resolve()
    )


def _dataset_values(dataset: Dataset) -> dict[str, Any]:
    """Return what decides the data. The root does only where neither name nor content does."""
    values = dataset.model_dump(mode="json", exclude=dataset.unsaid)
    if dataset.name in _KNOWN_BY_NAME:
        del values["root"]
    values |= _known("content", data_fingerprint(dataset))
    if dataset.labels != "fine":
        values["split_by"] = "fine"
    if dataset.label_file is not None:
        values["labels_sha256"] = file_digest(dataset.label_file, "dataset.labels")
    return values


def is_known_by_name(name: str) -> bool:
    """Return whether a data set's name alone says what it holds: its class checks the files by their md5."""
    return name == "digits" or (name in TORCHVISION_PARTS and not TORCHVISION_PARTS[name].files)


def _known(name: str, value: str | None) -> dict[str, str]:
    return {} if value is None else {name: value}


def _forget_place(values: dict[str, Any]) -> None:
    """Leave out where files are where it is known what they hold."""
    if "content" in values:
        values.pop("root", None)


def _said(recipe: Mapping[str, Any]) -> Any:
    """Return what a recipe says, without what its data and code were."""
    values = json.loads(json.dumps(recipe))
    teacher = values["teacher"]
    for part in (values["dataset"], teacher, teacher["pretraining"], teacher["finetune"]):
        for name in ("content", "code", "root", "labels_sha256", "sha256") if isinstance(part, dict) else ():
            part.pop(name, None)
    return values


def _pretraining_values(pretraining: str | Pretraining, dataset: Dataset) -> str | dict[str, Any]:
    """Return what decides a start. Of its training, only what the spec sets is in it."""
    if not isinstance(pretraining, Pretraining):
        return pretraining
    values = pretraining.model_dump(mode="json", include=_SOURCES) | pretraining.training
    values |= _code_of(pretraining.training)
    if pretraining.dataset is not None:
        with errors_about("pretraining"):
            values |= _first_values(pretraining, dataset)
    if pretraining.checkpoint is not None:
        values["sha256"] = file_digest(pretraining.checkpoint, "pretraining.checkpoint")
    return values


def _first_values(pretraining: Pretraining, dataset: Dataset) -> dict[str, Any]:
    """Return what decides a pretraining's data. What the study's own data decide is left out."""
    first = pretraining_data(pretraining, dataset)
    values: dict[str, Any] = _known("content", data_fingerprint(first))
    root = pretraining.root or dataset.root
    if root is not None and first.name not in _KNOWN_BY_NAME:
        values["root"] = root
    if first == dataset.model_copy(update={"labels": "fine"}):
        values["part"] = "train"
    return values


def _finetune_values(finetune: Finetune) -> dict[str, Any]:
    values = finetune.model_dump(mode="json")
    if finetune.epochs + finetune.head_epochs == 0:
        return {"epochs": 0, "head_epochs": 0}
    if finetune.optimizer not in _WITH_MOMENTUM:
        del values["momentum"]
    return values | _code_of(values)


def _code_of(training: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a user's modules among a training's settings hold. It is nothing where there are none."""
    codes = {name: code_fingerprint(str(training.get(name))) for name in _OWN_CODE}
    found = {name: code for name, code in codes.items() if code is not None}
    return {"code": found} if found else {}


def file_digest(path: str, setting: str) -> str:
    """Return the SHA-256 of what a file holds.

    Raises:
        RequestError: It can't be read; the message names the setting that names it.
    """
    file = Path(path).expanduser()
    try:
        status = file.stat()
        return _sha256(file, status.st_mtime_ns, status.st_size)
    except OSError as error:
        raise RequestError(
            f"`{setting}` must be a readable file, got {path!r} ({error.strerror})."
        ) from error


@lru_cache
def _sha256(file: Path, mtime_ns: int, size_bytes: int) -> str:  # noqa: ARG001 - they tell a changed file
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
