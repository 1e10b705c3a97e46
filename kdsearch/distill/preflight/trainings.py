"""What is known of a study's trainings before one is begun."""

import json
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from kdsearch.distill.data.dataset import ImageData, load_dataset
from kdsearch.distill.devices import chosen_device
from kdsearch.distill.factories import place_of, words_of
from kdsearch.distill.preflight.checks import (
    check_networks,
    check_weights,
    class_notes,
    has_temperature,
    objective_notes,
)
from kdsearch.distill.preflight.expected import N_STEPS, expected_seconds
from kdsearch.distill.preflight.feeding import check_feeding
from kdsearch.distill.randomness import stream
from kdsearch.distill.training.size import PackForecast, forecast
from kdsearch.distill.weights.prepared_networks import build_prepared
from kdsearch.errors import KDSearchError, RequestError
from kdsearch.spec import TrainingSpec
from kdsearch.spec.sections import Dataset, Student, Teacher

_N_TIMED = 16  # examples of the step that is measured: few enough for a large network on a CPU
_N_STEPS = 3
"""The least of three: other programs only add to it."""

_QUICK_S = 0.1  # a step that is shorter shows how long calls take, not how long computing does
_LONG_S = 10.0  # by hand: a step this long is not taken again, and what torch does once is little of it
_MOST_TIMED = 1024
"""By hand: more examples at once are no faster each, and take memory."""
_CHEAP_S = 2.0  # a CPU measures a pack's epoch only where that takes no longer


@dataclass(frozen=True)
class Cost:
    """What a training costs here: seconds of each example's step, by network, and the data's bytes."""

    student_s: float
    teacher_s: float
    data_bytes: int


class Preflight:
    """Checks trainings one after another. Data that they share are read once.

    Args:
        device: Where packs will train; None stands for CUDA where there is one.
    """

    def __init__(self, device: str | None = None) -> None:
        self._device = device
        self._data: dict[str, ImageData] = {}
        self._notes: dict[str, None] = {}
        self._costs: dict[str, Cost] = {}
        self._fed: dict[str, list[str]] = {}
        self._epochs_s: dict[str, float | None] = {}

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of the trainings that were checked."""
        return tuple(self._notes)

    def check_all(self, trainings: Iterable[tuple[TrainingSpec, Sequence[float]]]) -> None:
        """Check that each training could begin.

        Args:
            trainings: Each with some temperatures that are tried, the lowest and the highest among them.

        Raises:
            RequestError: Data can't be read, a network can't be built or its weights don't fit it, or a
                user's objective can't take a batch or does not use the temperature.
        """
        for training, temperatures in trainings:
            data = self.data_of(training.dataset)
            notes = [*class_notes(data), *check_networks(training, data), *check_weights(training, data)]
            has_effect = has_temperature(training, data.num_classes, temperatures)
            if not has_effect:
                refuse_own_objective(training, temperatures)
            notes += objective_notes(training, has_effect=has_effect)
            notes += self._feeding_notes(training)
            self._notes |= dict.fromkeys(notes)
            self.forecast(training)

    def _feeding_notes(self, training: TrainingSpec) -> list[str]:
        """Return what is known of how a teacher is fed. Each is looked at once."""
        teacher, dataset = training.teacher.model_dump_json(), training.dataset.model_dump_json()
        key = f"{teacher} {dataset} {training.objective.alpha > 0}"
        if key not in self._fed:
            self._fed[key] = check_feeding(training, self.data_of(training.dataset))
        return self._fed[key]

    def forecast(self, training: TrainingSpec) -> PackForecast:
        """Return what a pack of a training takes."""
        return forecast(training, self.data_of(training.dataset))

    def cost(self, training: TrainingSpec, pack: int, threads: int) -> Cost:
        """Return a training's cost on this CPU, from each network's steps.

        `pack` is the number of students in a pack.
        """
        key = f"{_kind(training)} {training.teacher.model_dump_json()} {training.objective.alpha > 0} {pack}"
        if key not in self._costs:
            with _threads(threads):
                self._costs[key] = self._measured_cost(training, pack)
        return self._costs[key]

    def student_epoch_s(self, training: TrainingSpec, pack: int, threads: int) -> float:
        """Return about how long a student's share of a pack's epoch takes.

        By a few steps of the pack, or of the network alone where a pack's take long.
        """
        epoch_s = self.epoch_s(training, pack, threads)
        if epoch_s is not None:
            return epoch_s / pack
        n_images = len(self.data_of(training.dataset).train)
        return n_images * self.cost(training, pack, threads).student_s

    def epoch_s(self, training: TrainingSpec, pack: int, threads: int) -> float | None:
        """Return about how long a pack's epoch takes where packs train.

        None where that can't be known cheaply: on a CPU a large network takes long to measure.
        """
        key = f"{_kind(training)} {pack}"
        if key not in self._epochs_s:
            self._epochs_s[key] = self._measured_epoch_s(training, pack, threads)
        return self._epochs_s[key]

    def _measured_epoch_s(self, training: TrainingSpec, pack: int, threads: int) -> float | None:
        device = chosen_device(self._device)
        examples = N_STEPS * training.training.batch_size * pack
        if device.type == "cpu" and examples * self.cost(training, pack, threads).student_s > _CHEAP_S:
            return None
        with _threads(threads):
            return expected_seconds(training, pack, device, self.data_of(training.dataset))

    def _measured_cost(self, training: TrainingSpec, pack: int) -> Cost:
        data = self.data_of(training.dataset)
        batch, tuned = training.training.batch_size, training.teacher.finetune.batch_size
        student = _example_s(training.student, data, min(pack * batch, _MOST_TIMED))
        teacher = 0.0
        if training.objective.alpha > 0:
            teacher = _example_s(training.teacher, data, min(tuned, _MOST_TIMED))
        n_images = len(data.train) + len(data.validation) + len(data.test)
        return Cost(student, teacher, n_images * math.prod(data.inputs.shape) * _value_bytes(data))

    def data_of(self, dataset: Dataset) -> ImageData:
        """Return a data set, read once."""
        key = dataset.model_dump_json()
        if key not in self._data:
            with _own_code("dataset.name", dataset.name):
                self._data[key] = load_dataset(dataset)
        return self._data[key]


def refuse_own_objective(training: TrainingSpec, temperatures: Sequence[float]) -> None:
    """Refuse a user's objective for which no temperature is best: answers could not know of it later.

    Args:
        training: One on which the temperature has no effect.
        temperatures: Those that were compared.

    Raises:
        RequestError: It is a user's objective, and has a weight.
    """
    objective = training.objective
    if ":" in objective.name and objective.alpha:
        tried = " and ".join(f"{temperature:g}" for temperature in (min(temperatures), max(temperatures)))
        raise RequestError(
            f"`objective.name` {objective.name!r} must use the temperature, got the same loss and gradient "
            f"at {tried}: a study would answer with luck. Let it divide the logits by its fourth argument."
        )


def _kind(training: TrainingSpec) -> str:
    """Return what decides a student's speed."""
    sections = (training.student, training.dataset, training.augment, training.optimizer, training.training)
    own = [section.model_dump(mode="json") for section in sections]
    del own[-1]["epochs"]
    return json.dumps(own)


@contextmanager
def _threads(n: int) -> Iterator[None]:
    """Compute with so many threads, as a pack's process does."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _example_s(network: Student | Teacher, data: ImageData, n_together: int) -> float:
    """Return one example's seconds, forward and backward, in a large batch.

    They are measured on this machine. A large network is measured on a few, since it gains nothing by more.
    """
    model = build_prepared(network, data)
    few = _step_s(model, data, _N_TIMED)
    if few < _LONG_S:  # the first one also begins what torch does once
        few = _step_s(model, data, _N_TIMED)
    if few > _QUICK_S:
        return few / _N_TIMED
    return min(_step_s(model, data, n_together) for _ in range(_N_STEPS)) / n_together


def _value_bytes(data: ImageData) -> int:
    """Return how many bytes a pixel, or a token, takes in memory."""
    return 1 if data.vocabulary is None else 4


def _step_s(model: nn.Module, data: ImageData, n: int) -> float:
    images = data.inputs.random(n, stream(0))
    labels = torch.arange(n) % data.num_classes
    model.train()
    start = time.perf_counter()
    F.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]  # torch's own lack
    return time.perf_counter() - start


@contextmanager
def _own_code(setting: str, name: str) -> Iterator[None]:
    """Say in one line what breaks in a user's own code. Ours raises errors of its own."""
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
