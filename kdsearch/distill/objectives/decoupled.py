"""Terms that treat the target class and the other classes apart: DKD and NKD.

Both depend on the target; under mixup or cutmix that is the label with the larger share.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from kdsearch.distill.objectives.softened import Epoch, kl_divergence


def dkd(
    student_logits: Float[Tensor, "K B C"],
    teacher_logits: Float[Tensor, "#K B C"],
    targets: Int64[Tensor, " B"],
    temperature: Float[Tensor, " K"],
    *,
    epoch: Epoch | None = None,
    alpha: Float[Tensor, " K"],
    beta: Float[Tensor, " K"],
    warmup_epochs: Float[Tensor, " K"],
) -> Float[Tensor, "K B"]:
    """Return the KL on the target and among the others, weighted.

    It is KL over (target, not target) times `alpha` plus KL among the others times `beta`, times T². The
    whole term grows linearly over the first `warmup_epochs`.

    References:
        Zhao et al., 2022, arXiv:2203.08679, equation 7.
    """
    student = student_logits / temperature[:, None, None]
    teacher = teacher_logits / temperature[:, None, None]
    target_part = kl_divergence(_target_or_not(teacher, targets), _target_or_not(student, targets))
    other_part = kl_divergence(_among_others(teacher, targets), _among_others(student, targets))
    term = alpha[:, None] * target_part + beta[:, None] * other_part
    return term * (temperature**2 * _ramp(epoch, warmup_epochs))[:, None]


def nkd(
    student_logits: Float[Tensor, "K B C"],
    teacher_logits: Float[Tensor, "#K B C"],
    targets: Int64[Tensor, " B"],
    temperature: Float[Tensor, " K"],
    *,
    epoch: Epoch | None = None,  # noqa: ARG001 - terms share one signature
    gamma: Float[Tensor, " K"],
) -> Float[Tensor, "K B"]:
    """Return cross-entropy on the target and among the others, weighted.

    It is that on the target at T = 1 plus `gamma` T² times that among the other classes.

    References:
        Yang et al., 2023, arXiv:2303.13005, equation 9.
    """
    student_target = _at_targets(F.log_softmax(student_logits, dim=-1), targets)
    teacher_target = _at_targets(F.softmax(teacher_logits, dim=-1), targets)
    student = _among_others(student_logits / temperature[:, None, None], targets)
    teacher = _among_others(teacher_logits / temperature[:, None, None], targets)
    others = (teacher.exp() * student).sum(-1) * (gamma * temperature**2)[:, None]
    return -teacher_target * student_target - others


def _target_or_not(logits: Float[Tensor, "K B C"], targets: Int64[Tensor, " B"]) -> Float[Tensor, "K B 2"]:
    """Return log-probabilities of the target and of all other classes together."""
    total = logits.logsumexp(-1)
    others = _others(logits, targets).logsumexp(-1)
    return torch.stack([_at_targets(logits, targets) - total, others - total], dim=-1)


def _among_others(logits: Float[Tensor, "K B C"], targets: Int64[Tensor, " B"]) -> Float[Tensor, "K B C-1"]:
    """Return log-probabilities of the classes but the target, renormalised."""
    return F.log_softmax(_others(logits, targets), dim=-1)


def _at_targets(values: Float[Tensor, "K B C"], targets: Int64[Tensor, " B"]) -> Float[Tensor, "K B"]:
    index = targets[None, :, None].expand(values.shape[0], -1, 1)
    return values.gather(-1, index).squeeze(-1)


def _others(values: Float[Tensor, "K B C"], targets: Int64[Tensor, " B"]) -> Float[Tensor, "K B C-1"]:
    classes = torch.arange(values.shape[-1] - 1, device=values.device)
    index = classes + (classes >= targets[:, None])
    return values.gather(-1, index.expand(values.shape[0], -1, -1))


def _ramp(epoch: Epoch | None, warmup_epochs: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
    if epoch is None:
        return torch.ones_like(warmup_epochs)
    return (epoch / warmup_epochs.clamp(min=1)).clamp(max=1.0)
