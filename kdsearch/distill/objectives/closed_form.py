"""Hinton's distillation beside cross-entropy in closed form: loss and gradient in one pass.

The same as autograd's result, at a third of its cost: on small networks the loss would otherwise take
as long as the network.
"""

import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor


def kd_with_cross_entropy(
    student_logits: Float[Tensor, "K B C"],
    teacher_logits: Float[Tensor, "1 B C"],
    labels: Int64[Tensor, " B"],
    temperature: Float[Tensor, " K"],
    alpha: Float[Tensor, " K"],
) -> tuple[Float[Tensor, " K"], Float[Tensor, "K B C"]]:
    """Return `alpha * kd + (1 - alpha) * cross-entropy` for each student, and its gradient by the logits.

    With p the student's and q the teacher's softened probabilities, d(T² KL)/dz = T (p - q).
    """
    n_students, batch, _ = student_logits.shape
    # Over a middle dimension torch's softmax of a few classes is ten times faster than over the last.
    student = student_logits.transpose(1, 2).contiguous()
    teacher = teacher_logits.transpose(1, 2).contiguous()
    at = temperature[:, None, None]
    log_p, log_q = F.log_softmax(student / at, 1), F.log_softmax(teacher / at, 1)
    q = log_q.exp()
    soft_weight, hard_weight = alpha * temperature / batch, (1 - alpha) / batch
    soft = log_q.sub_(log_p).mul_(q).sum((1, 2)).mul_(temperature)
    log_plain = F.log_softmax(student, 1)
    index = labels[None, None].expand(n_students, 1, -1)
    hard = log_plain.gather(1, index).sum((1, 2))
    gradient = log_plain.exp_().scatter_(1, index, -1.0, reduce="add").mul_(hard_weight[:, None, None])
    gradient.addcmul_(log_p.exp_().sub_(q), soft_weight[:, None, None])
    return soft * soft_weight - hard * hard_weight, gradient.transpose(1, 2).contiguous()
