"""Measures of a pack's students on a split, in evaluation mode."""

from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor


@dataclass(frozen=True)
class Scores:
    """Accuracy as a fraction and mean cross-entropy in nats, for each member."""

    accuracy: list[float]
    loss: list[float]


def score(logits: Float[Tensor, "K N C"], labels: Int64[Tensor, " N"]) -> Scores:
    """Return each member's accuracy and loss."""
    correct = (logits.argmax(-1) == labels).double().mean(1)
    log_probabilities = logits.double().log_softmax(-1)
    index = labels[None, :, None].expand(len(logits), -1, 1)
    loss = -log_probabilities.gather(-1, index).squeeze(-1).mean(1)
    return Scores(correct.tolist(), loss.tolist())


def mean_entropy(logits: Float[Tensor, "K N C"]) -> list[float]:
    """Return the mean entropy of softmax(z), in nats, for each member."""
    log_probabilities = logits.double().log_softmax(-1)
    entropy = -(log_probabilities.exp() * log_probabilities).sum(-1).mean(1)
    values: list[float] = entropy.tolist()
    return values


def agreement(logits: Float[Tensor, "K N C"], teacher_logits: Float[Tensor, "N C"]) -> list[float]:
    """Return the share of examples where student and teacher agree.

    They agree when they name the same class.
    """
    same = (logits.argmax(-1) == teacher_logits.argmax(-1)).double().mean(1)
    values: list[float] = same.tolist()
    return values
