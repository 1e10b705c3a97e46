"""What a user may bring: an objective, an optimizer, a schedule, and networks that drop out."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_WIDTH, _SHARE = 8, 0.3  # channels, few for speed; of dropout, so that random streams matter


def squared_softened(
    student_logits: Tensor, teacher_logits: Tensor, targets: Tensor, temperature: float
) -> Tensor:
    """Return the squared distance of the softened distributions, an objective."""
    del targets  # the term compares the networks alone
    student = F.softmax(student_logits / temperature, 1)
    teacher = F.softmax(teacher_logits / temperature, 1)
    return temperature**2 * (student - teacher).square().sum(1).mean()


def nesterov(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """Return an optimizer of torch's own."""
    return torch.optim.SGD(groups, momentum=0.8, nesterov=True)


def half_wave(steps: int, warmup_steps: int) -> Callable[[int], float]:
    """Return a schedule that rises and falls."""
    del warmup_steps
    return lambda step: math.sin(math.pi * (step + 1) / (steps + 1))


def layered_dropout(num_classes: int, in_channels: int) -> nn.Module:
    """Return a network with a layer of dropout."""
    return nn.Sequential(*_features(in_channels), nn.Dropout(_SHARE), nn.Linear(_WIDTH, num_classes))


def global_dropout(num_classes: int, in_channels: int) -> nn.Module:
    """Return a network that draws from the global generator."""
    return nn.Sequential(*_features(in_channels), _DrawsGlobally(), nn.Linear(_WIDTH, num_classes))


class _DrawsGlobally(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return F.dropout(features, _SHARE, self.training)


def _features(in_channels: int) -> list[nn.Module]:
    convolution = nn.Conv2d(in_channels, _WIDTH, 3, stride=2, padding=1)
    return [convolution, nn.BatchNorm2d(_WIDTH), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
