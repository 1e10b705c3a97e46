"""How soft and how honest a network's predictions are."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

_N_BINS = 15
"""Guo et al. (2017)."""


def accuracy(logits: Float[Tensor, "N C"], labels: Int64[Tensor, " N"]) -> float:
    """Return the share of examples whose highest logit is the label's."""
    return float((logits.argmax(1) == labels).double().mean())


def calibration_error(logits: Float[Tensor, "N C"], labels: Int64[Tensor, " N"]) -> float:
    """Return the expected calibration error over 15 bins of equal width.

    References:
        Guo, Pleiss, Sun & Weinberger, 2017, arXiv:1706.04599, equation 3.
    """
    confidence, predicted = logits.double().softmax(1).max(1)
    gap = confidence - (predicted == labels).double()
    bins = (confidence * _N_BINS).ceil().long() - 1
    gaps = torch.zeros(_N_BINS, dtype=torch.float64, device=logits.device).index_add_(0, bins, gap)
    return float(gaps.abs().sum() / len(labels))


def soft_target_entropy(logits: Float[Tensor, "N C"], temperature: float) -> float:
    """Return the mean entropy of softmax(logits / T), in nats."""
    log_probabilities = (logits.double() / temperature).log_softmax(1)
    return float(-(log_probabilities.exp() * log_probabilities).sum(1).mean())
