"""What a pack will take before it is trained: memory, stored logits, and whether it can be fused."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from kdsearch.distill.data.dataset import ImageData, load_dataset
from kdsearch.distill.execution import Precision, fusing_problem, key_dropout
from kdsearch.distill.models.batches_of_one import check_batch_size
from kdsearch.distill.randomness import stream
from kdsearch.distill.teachers.setting_paths import errors_about
from kdsearch.distill.teachers.soft_targets import soft_target_bytes
from kdsearch.distill.weights.prepared_networks import build_prepared
from kdsearch.spec import TrainingSpec
from kdsearch.spec.catalogue import OPTIMIZERS, OptimizerFacts

_OF_AN_UNKNOWN_OPTIMIZER = OptimizerFacts(takes=(), keeps=2)  # a user's own: most keep two moments


@dataclass(frozen=True)
class PackForecast:
    """What a training takes.

    Args:
        n_train: Training examples in an epoch.
        n_validation: Validation examples.
        validation_error: The standard error that so many examples leave to an accuracy of 90%, a fraction;
            all trials share it.
        n_parameters: Parameters of a student.
        member_bytes: What each further member of a pack adds: weights, gradients, optimizer, buffers.
            A fused pack also holds every member's activations at once; a looped one, on batches that
            are not small, one member's.
        soft_target_bytes: The stored logits of one teacher for the whole training.
        why_looped: Why packs of this student can't be fused; None where they can.
    """

    n_train: int
    n_validation: int
    validation_error: float
    n_parameters: int
    member_bytes: int
    soft_target_bytes: int
    why_looped: str | None


def forecast(spec: TrainingSpec, data: ImageData | None = None) -> PackForecast:
    """Return what a training takes; nothing is trained or written.

    Args:
        spec: The training.
        data: Its data set, where that is read already.

    Raises:
        RequestError: The data set or the architecture can't be had.
    """
    data = data or load_dataset(spec.dataset)
    model = _student(spec, data)
    images = data.inputs.random(4, stream(0))
    n_train, n_validation = len(data.train), len(data.validation)
    _check_batch_sizes(spec, data, model)
    return PackForecast(
        n_train=n_train,
        n_validation=n_validation,
        validation_error=math.sqrt(0.9 * 0.1 / n_validation),
        n_parameters=sum(parameter.numel() for parameter in model.parameters()),
        member_bytes=member_bytes(spec, model),
        soft_target_bytes=soft_target_bytes((n_train, data.num_classes), spec.training.epochs),
        why_looped=fusing_problem(model, images, Precision(torch.device("cpu"))),
    )


def member_bytes(spec: TrainingSpec, model: nn.Module) -> int:
    """Return the bytes of a member's weights, gradients, optimizer state and buffers."""
    optimizer = spec.optimizer
    facts = OPTIMIZERS.get(optimizer.name, _OF_AN_UNKNOWN_OPTIMIZER)
    copies = 2 + facts.keeps + ("momentum" in facts.takes and optimizer.momentum > 0)
    weights = sum(parameter.nbytes for parameter in model.parameters())
    return copies * weights + sum(buffer.nbytes for buffer in model.buffers())


def _check_batch_sizes(spec: TrainingSpec, data: ImageData, student: nn.Module) -> None:
    inputs, n_train = data.inputs, len(data.train)
    check_batch_size(student, inputs, spec.training.batch_size, n_train, "training.batch_size")
    finetune = spec.teacher.finetune
    if finetune.epochs and min(finetune.batch_size, n_train) == 1:
        teacher = build_prepared(spec.teacher, data)
        check_batch_size(teacher, inputs, finetune.batch_size, n_train, "teacher.finetune.batch_size")


def _student(spec: TrainingSpec, data: ImageData) -> nn.Module:
    student = spec.student
    with errors_about("student"):
        model = build_prepared(student, data)
    key_dropout(model, 0)
    return model
