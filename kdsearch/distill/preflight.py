"""What can be known of trainings before one is begun: that data, networks, weights and losses fit."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdsearch.distill.artifact_store import Place
from kdsearch.distill.checks import check_training
from kdsearch.distill.data import ImageData, load_dataset
from kdsearch.distill.factories import place_of, words_of
from kdsearch.distill.initial_students import starting_recipe
from kdsearch.distill.objectives import objective
from kdsearch.distill.prepared_networks import build_prepared
from kdsearch.distill.recipes import TeacherRecipe, recipe_of
from kdsearch.distill.setting_names import settings_of
from kdsearch.distill.teachers import load_start
from kdsearch.errors import KDSearchError, RequestError
from kdsearch.spec import TrainingSpec
from kdsearch.spec.sections import Dataset, Pretraining, Student, Teacher

_N_CHECKED = 4  # examples of the batch that an objective gets
_N_TIMED = 16  # examples of the step that is measured: few enough for a large network on a CPU
_N_STEPS = 3
_QUICK_S = 0.1  # a step that is shorter shows how long calls take, not how long computing does
_LONG_S = 10.0
_MOST_TIMED = 1024


@dataclass(frozen=True)
class Cost:
    """What a training costs here: seconds of each example's step, by network, and the data's bytes."""

    student_s: float
    teacher_s: float
    data_bytes: int


class Preflight:
    """Checks trainings one after another, and what they share once.

    Args:
        artifacts: Where trained networks are kept; nothing is written there.
    """

    def __init__(self, artifacts: Place) -> None:
        self._artifacts = artifacts
        self._data: dict[str, ImageData] = {}
        self._networks: dict[str, nn.Module] = {}
        self._checked: set[str] = set()
        self.unknown: dict[str, None] = {}
        self.notes: dict[str, None] = {}

    def check_all(self, trainings: Iterable[TrainingSpec]) -> None:
        """Check that each training could begin.

        Raises:
            RequestError: Data can't be read, a network can't be built or its weights don't fit it, or an
                objective can't take a batch.
        """
        for training in trainings:
            self.check(training)

    def check(self, training: TrainingSpec) -> None:
        """Check that a training could begin; see `check_all`."""
        data = self.data_of(training.dataset)
        self._student(training, data)
        if training.objective.alpha > 0:
            self._teacher(training, data)
            self._objective(training, data)
        self._look(training, data)

    def _look(self, training: TrainingSpec, data: ImageData) -> None:
        """Note what a user should know of the networks' images, their weights and the objective."""
        parts = (training.dataset, training.student, training.teacher, training.objective)
        key = f"notes {[part.model_dump_json() for part in parts]}"
        if key not in self._checked:
            self.notes |= dict.fromkeys(check_training(training, data))
            self._checked.add(key)

    def cost(self, training: TrainingSpec, pack: int) -> Cost:
        """Return what a training costs on this machine's CPU in packs of a size, by steps of each network."""
        data = self.data_of(training.dataset)
        batch, tuned = training.training.batch_size, training.teacher.finetune.batch_size
        together = min(pack * batch, _MOST_TIMED)
        student = _example_s(self._student(training, data), data, together)
        teacher = 0.0
        if training.objective.alpha > 0:
            teacher = _example_s(self._teacher(training, data), data, min(tuned, _MOST_TIMED))
        n_images = len(data.train) + len(data.validation) + len(data.test)
        return Cost(student, teacher, n_images * data.in_channels * data.image_size**2)

    def data_of(self, dataset: Dataset) -> ImageData:
        """Return a data set, read once."""
        key = dataset.model_dump_json()
        if key not in self._data:
            with _own_code("dataset.name", dataset.name):
                self._data[key] = load_dataset(dataset)
        return self._data[key]

    def _student(self, training: TrainingSpec, data: ImageData) -> nn.Module:
        key = f"student {training.dataset.model_dump_json()} {training.student.model_dump_json()}"
        if key not in self._networks:
            with settings_of("student"), _own_code("student.arch", training.student.arch):
                model = _built(training.student, data)
                recipe = starting_recipe(training, model, 0)
                if recipe is not None:
                    self._load(model, recipe, data)
            self._networks[key] = model
        return self._networks[key]

    def _teacher(self, training: TrainingSpec, data: ImageData) -> nn.Module:
        teacher = training.teacher
        parts = (
            teacher.arch,
            teacher.stem,
            teacher.pretraining,
            teacher.preprocessing,
            training.dataset.model_dump_json(),
        )
        key = f"teacher {parts}"
        if key not in self._networks:
            with settings_of("teacher"), _own_code("teacher.arch", teacher.arch):
                model = _built(teacher, data)
                self._load(model, recipe_of(training), data)
            self._networks[key] = model
        return self._networks[key]

    def _load(self, model: nn.Module, recipe: TeacherRecipe, data: ImageData) -> None:
        """Load a checkpoint as its teacher will; what is fetched or trained first is not known yet."""
        source = recipe.teacher.pretraining
        if not isinstance(source, Pretraining):
            return
        if source.checkpoint is None:
            what = f"weights {source.weights!r} are fetched" if source.weights else "the pretraining runs"
            self.unknown[f"{recipe.role}: {what} only when the study starts"] = None
            return
        load_start(model, recipe, data, self._artifacts, "cpu")
        broken = [name for name, value in model.state_dict().items() if not _is_finite(value)]
        if broken:
            raise RequestError(
                f"`pretraining.checkpoint` must hold finite weights, got {source.checkpoint!r} with NaN or "
                f"infinity in {', '.join(broken[:3])}. Save it again from a training that did not diverge."
            )

    def _objective(self, training: TrainingSpec, data: ImageData) -> None:
        asked = training.objective
        key = f"{data.num_classes} {asked.name} {sorted(asked.options.items())}"
        if key in self._checked:
            return
        with _own_code("objective.name", asked.name):
            random = torch.Generator().manual_seed(0)
            logits = torch.randn(2, _N_CHECKED, data.num_classes, generator=random)
            student = logits[0].requires_grad_()
            targets = torch.arange(_N_CHECKED) % data.num_classes
            loss: Any = objective(asked.name, **asked.options)(student, logits[1], targets, asked.temperature)
            _check_loss(loss, student, asked.name)
        self._checked.add(key)


def _check_loss(loss: Any, student: Tensor, name: str) -> None:
    rule = f"`objective.name` must give a finite scalar with gradients for the student's logits, got {name!r}"
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        shape = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise RequestError(f"{rule} giving {shape}. Return the mean over the batch.")
    if not bool(torch.isfinite(loss)):
        raise RequestError(f"{rule} giving {float(loss):g} for random logits. Look for a log or a root of 0.")
    if not loss.requires_grad or torch.autograd.grad(loss.sum(), student, allow_unused=True)[0] is None:
        raise RequestError(f"{rule} giving none. Don't detach the student's logits.")


def _built(section: Student | Teacher, data: ImageData) -> nn.Module:
    arch, model = section.arch, build_prepared(section, data)
    with torch.no_grad():
        logits = model.eval()(torch.zeros(2, data.in_channels, data.image_size, data.image_size))
    if not isinstance(logits, Tensor) or logits.shape != (2, data.num_classes):
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise RequestError(
            f"`arch` must give logits of all classes, (2, {data.num_classes}) for two images, "
            f"got {arch!r} giving {shape}. Take `num_classes` for the size of its last layer."
        )
    return model


def _example_s(model: nn.Module, data: ImageData, n_together: int) -> float:
    """Return the seconds that one example's forward and backward pass take here, many together.

    A large network is measured on a few, since it gains nothing by more.
    """
    few = _step_s(model, data, _N_TIMED)
    if few < _LONG_S:  # the first one also begins what torch does once
        few = _step_s(model, data, _N_TIMED)
    if few > _QUICK_S:
        return few / _N_TIMED
    return min(_step_s(model, data, n_together) for _ in range(_N_STEPS)) / n_together


def _step_s(model: nn.Module, data: ImageData, n: int) -> float:
    images = torch.rand(n, data.in_channels, data.image_size, data.image_size)
    labels = torch.arange(n) % data.num_classes
    model.train()
    start = time.perf_counter()
    F.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]  # torch's own lack
    return time.perf_counter() - start


def _is_finite(value: Tensor) -> bool:
    return not value.is_floating_point() or bool(torch.isfinite(value).all())


@contextmanager
def _own_code(setting: str, name: str) -> Iterator[None]:
    """Say in one line what breaks in a user's own code; ours raises errors of its own."""
    try:
        yield
    except (KeyboardInterrupt, KDSearchError):
        raise
    except BaseException as error:
        if ":" not in name:
            raise
        where = place_of(error.__traceback__)
        said = " ".join(words_of(error).split()) + (f" ({where})" if where else "")
        raise RequestError(f"`{setting}` must be something that works, got {name!r}: {said}.") from error
