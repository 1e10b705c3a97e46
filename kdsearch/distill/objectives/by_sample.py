"""Rules that give each example a temperature, without any search.

They compute it from the teacher's logits.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from kdsearch.distill.objectives.softened import Epoch, kl_divergence

Rule: TypeAlias = Callable[..., Tensor]
"""`(teacher_logits [1 or K, B, C], **options [K])` gives temperatures [K, B] of students and examples."""

_LOWEST, _HIGHEST = 0.05, 1000.0  # beyond them, soft targets of usual logits are one class or all alike
_HALVINGS = 24  # of log T between both: an error of 6e-7, which float32 can't tell


def entropy_temperatures(
    teacher_logits: Float[Tensor, "#K B C"], *, target: Float[Tensor, " K"]
) -> Float[Tensor, "K B"]:
    """Return the temperatures at which all soft targets are equally uncertain.

    The softened teacher's entropy, which grows with T, is then `target` times that of a uniform guess.
    Where no T does it, as for classes that tie, it is the nearest between 0.05 and 1000.

    References:
        Luong et al., 2026, arXiv:2605.20357, whose aim this is and who come near it by the maximum logit.
        That T is solved for, and the target of a half, are our own reading.
    """
    wanted = (target * math.log(teacher_logits.shape[-1]))[:, None]
    low = torch.full_like(wanted + teacher_logits[..., 0], math.log(_LOWEST))
    high = torch.full_like(low, math.log(_HIGHEST))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_soft = _entropy(teacher_logits / middle.exp()[..., None]) > wanted
        low, high = torch.where(is_soft, low, middle), torch.where(is_soft, middle, high)
    return ((low + high) / 2).exp()


def max_logit_temperatures(
    teacher_logits: Float[Tensor, "#K B C"], *, ratio: Float[Tensor, " K"]
) -> Float[Tensor, "K B"]:
    """Return the temperatures that give all soft targets the same largest logit.

    It is `ratio` times log C, counted from the mean of the example's logits, so that it does not depend on
    their shift. With a ratio of 1, and other classes alike, the first class has about half the probability.

    References:
        Luong et al., 2026, arXiv:2605.20357: the ratio of maximum logit to T is held alike. Matsuyama et al.,
        2025, arXiv:2503.09030: T from the maximum logit of the teacher. Their constants were not at hand:
        the mean as zero, and log C, are our own reading.
    """
    largest = teacher_logits.amax(-1) - teacher_logits.mean(-1)
    share = ratio[:, None] * math.log(teacher_logits.shape[-1])
    return (largest / share).clamp(_LOWEST, _HIGHEST)


def _ruled(
    rule: Rule,
    student_logits: Float[Tensor, "K B C"],
    teacher_logits: Float[Tensor, "#K B C"],
    targets: Int64[Tensor, " B"],  # noqa: ARG001 - terms share one signature
    temperature: Float[Tensor, " K"],  # noqa: ARG001 - the rule's take its place
    *,
    epoch: Epoch | None = None,  # noqa: ARG001
    **options: Float[Tensor, " K"],
) -> Float[Tensor, "K B"]:
    """Return `kd` at a rule's temperatures, one for each example. Student and teacher share it."""
    at = rule(teacher_logits.detach(), **options)
    student = F.log_softmax(student_logits / at[..., None], dim=-1)
    teacher = F.log_softmax(teacher_logits / at[..., None], dim=-1)
    return kl_divergence(teacher, student) * at**2


entropy_rule = partial(_ruled, entropy_temperatures)
max_logit_rule = partial(_ruled, max_logit_temperatures)


def _entropy(logits: Float[Tensor, "K B C"]) -> Float[Tensor, "K B"]:
    log_probabilities = F.log_softmax(logits, dim=-1)
    return -(log_probabilities.exp() * log_probabilities).sum(-1)
