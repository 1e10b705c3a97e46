"""Terms that compare relations between examples or classes of a whole batch: DIST and MLKD."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from kdsearch.distill.objectives.softened import Epoch, Term, kd

_EPSILON = 1e-8
"""The authors' code of DIST; it keeps a constant row from dividing by 0."""

_MLKD_TEMPERATURES = (2, 3, 4, 5, 6)
"""The authors' own (Jin et al., 2023), around their T = 4."""

_MLKD_BASE = 4
"""The authors' own temperature: ours scales all five in proportion."""


def dist(
    student_logits: Float[Tensor, "K B C"],
    teacher_logits: Float[Tensor, "#K B C"],
    targets: Int64[Tensor, " B"],  # noqa: ARG001 - terms share one signature
    temperature: Float[Tensor, " K"],
    *,
    epoch: Epoch | None = None,  # noqa: ARG001
    beta: Float[Tensor, " K"],
    gamma: Float[Tensor, " K"],
) -> Float[Tensor, " K"]:
    """Return one minus the correlation of student and teacher, times T².

    The correlations are by example and by class. `beta` weighs the correlation over an example's classes,
    `gamma` that over a class's examples. The correlation has no scale, so with the factor T² the gradient
    grows with the temperature.

    References:
        Huang et al., 2022, arXiv:2205.10536, equations 8 to 10.
    """
    student = F.softmax(student_logits / temperature[:, None, None], dim=-1)
    teacher = F.softmax(teacher_logits / temperature[:, None, None], dim=-1)
    by_example = 1 - _correlation(student, teacher, dim=2).mean(1)
    by_class = 1 - _correlation(student, teacher, dim=1).mean(1)
    return (beta * by_example + gamma * by_class) * temperature**2


def mlkd(
    student_logits: Float[Tensor, "K B C"],
    teacher_logits: Float[Tensor, "#K B C"],
    targets: Int64[Tensor, " B"],
    temperature: Float[Tensor, " K"],
    *,
    epoch: Epoch | None = None,  # noqa: ARG001
    on_instances: Term = kd,
) -> Float[Tensor, " K"]:
    """Return alignment of instances, batch and classes, summed over five temperatures.

    The temperatures are the paper's 2 to 6 at T = 4, and in proportion at another T. Every example
    counts: the published code's confidence masks, which scale whole terms by about a half, are left
    out, as is its second, weakly augmented view.

    References:
        Jin, Wang & Lin, 2023, "Multi-Level Logit Distillation", CVPR.
    """
    total = torch.zeros_like(temperature)
    for level in _MLKD_TEMPERATURES:
        at = temperature * (level / _MLKD_BASE)
        total = total + on_instances(student_logits, teacher_logits, targets, at, epoch=None).mean(-1)
        total = total + batch_alignment(student_logits, teacher_logits, at)
        total = total + class_alignment(student_logits, teacher_logits, at)
    return total


def batch_alignment(
    student_logits: Float[Tensor, "K B C"],
    teacher_logits: Float[Tensor, "#K B C"],
    temperature: Float[Tensor, " K"],
) -> Float[Tensor, " K"]:
    """Return how far two B × B Gram matrices of probabilities differ.

    It is their squared difference, divided by B.
    """
    student = F.softmax(student_logits / temperature[:, None, None], dim=-1)
    teacher = F.softmax(teacher_logits / temperature[:, None, None], dim=-1)
    difference = teacher @ teacher.mT - student @ student.mT
    return difference.square().sum((1, 2)) / student_logits.shape[1]


def class_alignment(
    student_logits: Float[Tensor, "K B C"],
    teacher_logits: Float[Tensor, "#K B C"],
    temperature: Float[Tensor, " K"],
) -> Float[Tensor, " K"]:
    """Return how far two C × C Gram matrices of probabilities differ.

    It is their squared difference, divided by C.
    """
    student = F.softmax(student_logits / temperature[:, None, None], dim=-1)
    teacher = F.softmax(teacher_logits / temperature[:, None, None], dim=-1)
    difference = teacher.mT @ teacher - student.mT @ student
    return difference.square().sum((1, 2)) / student_logits.shape[2]


def _correlation(a: Tensor, b: Tensor, dim: int) -> Tensor:
    """Return Pearson's correlation along one dimension, 0 where either side is constant."""
    a = a - a.mean(dim, keepdim=True)
    b = b - b.mean(dim, keepdim=True)
    norms = torch.linalg.vector_norm(a, dim=dim) * torch.linalg.vector_norm(b, dim=dim)
    correlation: Tensor = (a * b).sum(dim) / (norms + _EPSILON)
    return correlation
