"""Hinton's distillation beside cross-entropy in closed form: loss and gradient in one pass.

The same as autograd's result, at a fraction of its cost: on small networks the loss would otherwise
take as long as the network. All that does not depend on the student is computed beforehand, for many
batches at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor


class KDTargets(NamedTuple):
    """What K students learn from a batch of N examples: `alpha * kd + (1 - alpha) * cross-entropy`.

    Both are cross-entropies, of the logits (half 0, against the labels) and of the logits over T
    (half 1, against the teacher's softened probabilities). With the student's probabilities p of a half,
    the loss is the sum of `targets * (references - log p)`, and its gradient by the logits the sum over
    the halves of `weights * p`, less `share * pulls`.

    Classes lie before examples: over the last dimension, torch's softmax of a few classes is ten times
    slower.
    """

    share: float
    scales: Float[Tensor, "K 2 1 1"]
    weights: Float[Tensor, "K 1 2"]
    references: Float[Tensor, "K 2 C N"]
    targets: Float[Tensor, "K 2 C N"]
    pulls: Float[Tensor, "K C N"]

    def members(self, members: slice) -> "KDTargets":
        """Return the targets of some of the students, without copying them."""
        return KDTargets(self.share, *(values[members] for values in self[1:]))

    def loss(
        self, student_logits: Float[Tensor, "K N C"]
    ) -> tuple[Float[Tensor, " K"], Float[Tensor, "K N C"]]:
        """Return each student's loss and its gradient by the logits."""
        log_p = F.log_softmax(student_logits.mT.contiguous()[:, None] * self.scales, 2)
        losses = (self.references - log_p).mul_(self.targets).sum((1, 2, 3))
        pushes = torch.bmm(self.weights, log_p.exp_().flatten(2)).view_as(self.pulls)
        return losses, pushes.sub_(self.pulls, alpha=self.share).mT


class ClosedForm:
    """The objectives of K students, from which targets are made.

    Each is `alpha * kd + (1 - alpha) * cross-entropy`.

    Args:
        temperature: Each student's temperature.
        alpha: Each student's weight of the distillation term.
    """

    def __init__(self, temperature: Float[Tensor, " K"], alpha: Float[Tensor, " K"]) -> None:
        scales = torch.stack([torch.ones_like(temperature), 1 / temperature], 1)
        costs = torch.stack([1 - alpha, alpha * temperature**2], 1)
        self._scales, self._costs = scales[..., None, None], costs[..., None, None]
        self._weights = (costs * scales)[:, None]
        self._shares: dict[tuple[int, ...], _Shares] = {}

    def targets(
        self, teacher_logits: Float[Tensor, "N C"], labels: Int64[Tensor, " N"], sizes: Sequence[int]
    ) -> list[KDTargets]:
        """Return the targets of consecutive batches.

        Args:
            teacher_logits: The teacher's logits on the examples of all batches.
            labels: Their labels.
            sizes: How many examples each batch has.
        """
        log_q = F.log_softmax(teacher_logits.T.contiguous() * self._scales[:, 1], 1)
        references = F.pad(log_q[:, None], (0, 0, 0, 0, 1, 0))
        targets = torch.zeros_like(references)
        targets[:, 0].scatter_(1, labels.expand(len(log_q), 1, -1), 1.0)
        torch.exp(log_q, out=targets[:, 1])
        # By element: a product of matrices rounds one student's otherwise than those of several on a GPU.
        of_labels, of_teacher = self._weights[:, 0, :, None, None].unbind(1)
        pulls = targets[:, 0] * of_labels + targets[:, 1] * of_teacher
        shares = self._shares_of(tuple(sizes))
        targets.mul_(shares.costs)
        parts = zip(
            shares.of_batches,
            *(torch.split_with_sizes(values, sizes, -1) for values in (references, targets, pulls)),
            strict=True,
        )
        return [KDTargets(share, self._scales, weights, *own) for (share, weights), *own in parts]

    def _shares_of(self, sizes: tuple[int, ...]) -> "_Shares":
        """Return the weights of examples in batches of these sizes. The sizes recur in every epoch."""
        if sizes not in self._shares:
            of_examples = torch.cat([self._costs.new_full((n,), 1 / n) for n in sizes])
            of_batches = [(1 / n, self._weights / n) for n in sizes]
            self._shares[sizes] = _Shares(self._costs * of_examples, of_batches)
        return self._shares[sizes]


@dataclass(frozen=True)
class _Shares:
    """What examples weigh: each in the loss, and in each batch's gradient."""

    costs: Float[Tensor, "K 2 1 N"]
    of_batches: list[tuple[float, Float[Tensor, "K 1 2"]]]
