"""Terms on softened distributions: Hinton's divergence, its limit, and its standardised and learned forms."""

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

Term: TypeAlias = Callable[..., Tensor]
"""A distillation term of a pack of K students, on B examples of C classes.

`(student_logits [K, B, C], teacher_logits [1 or K, B, C], targets [B], temperature [K], *, epoch, **options)`
gives losses `[K, B]`, or `[K]` where they can't be split by example. The epoch counts from 1; None stands for
past every warm-up. Each option is a tensor `[K]`.
"""
Epoch: TypeAlias = int | Tensor
"""An epoch's number, from 1; in a tensor of no dimension where the step is recorded."""


def kd(
    student_logits: Float[Tensor, "K B C"],
    teacher_logits: Float[Tensor, "#K B C"],
    targets: Int64[Tensor, " B"],  # noqa: ARG001 - terms share one signature
    temperature: Float[Tensor, " K"],
    *,
    epoch: Epoch | None = None,  # noqa: ARG001
    student_temperature: Float[Tensor, " K"] | None = None,
    divergence: str = "forward",
) -> Float[Tensor, "K B"]:
    """Return the divergence between softened teacher and softened student, times T².

    The factor T² keeps the gradient's size comparable across temperatures. It stays the square of
    `temperature` where the student has a temperature of its own. As T grows, `reverse` tends to `forward`,
    `jeffreys` to twice and `js` to a quarter of it. `closed_form.py` computes `forward` with its gradient for
    training: change both, the tests hold one against the other.

    References:
        Hinton, Vinyals & Dean, 2015, arXiv:1503.02531, section 2, whose divergence is `forward`.
    """
    of_student = temperature if student_temperature is None else student_temperature
    student = F.log_softmax(student_logits / of_student[:, None, None], dim=-1)
    teacher = F.log_softmax(teacher_logits / temperature[:, None, None], dim=-1)
    return DIVERGENCES[divergence](teacher, student) * temperature[:, None] ** 2


def mse(
    student_logits: Float[Tensor, "K B C"],
    teacher_logits: Float[Tensor, "#K B C"],
    targets: Int64[Tensor, " B"],  # noqa: ARG001
    temperature: Float[Tensor, " K"],  # noqa: ARG001
    *,
    epoch: Epoch | None = None,  # noqa: ARG001
) -> Float[Tensor, "K B"]:
    """Return half the mean squared difference of centred logits: the limit of `kd` as T grows.

    References:
        Kim et al., 2021, arXiv:2105.08919.
    """
    difference = student_logits - teacher_logits
    return difference.var(dim=-1, correction=0) / 2


def ctkd(
    student_logits: Float[Tensor, "K B C"],
    teacher_logits: Float[Tensor, "#K B C"],
    targets: Int64[Tensor, " B"],
    temperature: Float[Tensor, " K"],  # noqa: ARG001 - the learned one takes its place
    *,
    epoch: Epoch | None = None,
    theta: Float[Tensor, " K"],
    loops: Float[Tensor, " K"],
) -> Float[Tensor, "K B"]:
    """Return `kd` at a temperature that is learned against the student.

    It is T = 1 + 20 sigmoid(theta). The gradient of theta is multiplied by a factor that falls from 0 to -1
    on a cosine over the first `loops` epochs, so theta climbs the loss that the student descends.

    References:
        Li et al., 2023, arXiv:2211.16231.
    """
    if epoch is not None:
        theta = _scale_gradient(theta, adversity(epoch, loops))
    return kd(student_logits, teacher_logits, targets, learned_temperature(theta))


def learned_temperature(theta: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
    """Return CTKD's temperature, between 1 and 21."""
    return 1 + 20 * theta.sigmoid()


def adversity(epoch: Epoch, loops: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
    """Return the factor on theta's gradient in an epoch: 0 at the start, -1 from `loops` epochs on."""
    progress = (epoch / loops.clamp(min=1)).clamp(max=1.0)
    return ((torch.pi * progress).cos() + 1) / 2 - 1


def standardized(logits: Float[Tensor, "K B C"]) -> Float[Tensor, "K B C"]:
    """Return each example's logits with mean 0 and standard deviation 1.

    References:
        Sun et al., 2024, arXiv:2403.01427.
    """
    return (logits - logits.mean(-1, keepdim=True)) / (logits.std(-1, keepdim=True) + 1e-7)


def kl_divergence(
    log_target: Float[Tensor, "#K B C"], log_input: Float[Tensor, "#K B C"]
) -> Float[Tensor, "K B"]:
    """Return the KL divergence, in nats, from log-probabilities `log_target` to `log_input`."""
    return (log_target.exp() * (log_target - log_input)).sum(-1)


def reverse_kl(
    log_target: Float[Tensor, "#K B C"], log_input: Float[Tensor, "K B C"]
) -> Float[Tensor, "K B"]:
    """Return the KL divergence, in nats, from log-probabilities `log_input` to `log_target`."""
    return kl_divergence(log_input, log_target)


def jeffreys(log_target: Float[Tensor, "#K B C"], log_input: Float[Tensor, "K B C"]) -> Float[Tensor, "K B"]:
    """Return the sum of both KL divergences, in nats (Jeffreys, 1946)."""
    return kl_divergence(log_target, log_input) + kl_divergence(log_input, log_target)


def jensen_shannon(
    log_target: Float[Tensor, "#K B C"], log_input: Float[Tensor, "K B C"]
) -> Float[Tensor, "K B"]:
    """Return the Jensen-Shannon divergence in nats.

    It is the mean KL divergence to the mean of both distributions (Lin, 1991).
    """
    middle = torch.logaddexp(log_target, log_input) - math.log(2)
    return (kl_divergence(log_target, middle) + kl_divergence(log_input, middle)) / 2


DIVERGENCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "forward": kl_divergence,
    "reverse": reverse_kl,
    "jeffreys": jeffreys,
    "js": jensen_shannon,
}


def _scale_gradient(value: Tensor, factor: Tensor) -> Tensor:
    scaled = value * factor
    return scaled + (value - scaled).detach()
