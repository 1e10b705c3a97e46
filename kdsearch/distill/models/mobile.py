"""MobileNetV2 at half width for small images. Its names are those of published checkpoints."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kdsearch.distill.models.layers import conv, depthwise, initialise_for_relu

# Of each stage: expansion, width, blocks, stride of the first block.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_N_FEATURES = 1280
"""Sandler et al. (2018), whatever the width."""


class InvertedResidual(nn.Module):
    """A block that is wide in the middle. It has a shortcut where its ends agree."""

    def __init__(self, n_in: int, n_out: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = n_in * expansion
        self.conv = nn.Sequential(
            *(conv(n_in, width, 1), nn.BatchNorm2d(width), nn.ReLU()),
            *(depthwise(width, stride), nn.BatchNorm2d(width), nn.ReLU()),
            *(conv(width, n_out, 1), nn.BatchNorm2d(n_out)),
        )
        self._has_shortcut = stride == 1 and n_in == n_out

    def forward(self, features: Float[Tensor, "B I H W"]) -> Float[Tensor, "B O h w"]:
        """Return the block's output."""
        result: Tensor = self.conv(features)
        return features + result if self._has_shortcut else result


class MobileNetV2(nn.Module):
    """Inverted residual blocks, `multiplier` times the usual width, a pooled linear head.

    References:
        Sandler, Howard, Zhu, Zhmoginov & Chen, 2018, arXiv:1801.04381.
    """

    def __init__(self, multiplier: float, num_classes: int, in_channels: int) -> None:
        super().__init__()
        n_in = int(32 * multiplier)
        self.conv1 = nn.Sequential(conv(in_channels, n_in, 3, 2), nn.BatchNorm2d(n_in))
        self.blocks = nn.ModuleList()
        for expansion, full_width, n_blocks, stride in _STAGES:
            width = int(full_width * multiplier)
            strides = (stride, *(1,) * (n_blocks - 1))
            inputs = (n_in, *(width,) * (n_blocks - 1))
            self.blocks.append(
                nn.Sequential(
                    *(InvertedResidual(i, width, s, expansion) for i, s in zip(inputs, strides, strict=True))
                )
            )
            n_in = width
        self.conv2 = nn.Sequential(conv(n_in, _N_FEATURES, 1), nn.BatchNorm2d(_N_FEATURES))
        self.classifier = nn.Sequential(nn.Linear(_N_FEATURES, num_classes))
        initialise_for_relu(self)

    def forward(self, images: Float[Tensor, "B C S S"]) -> Float[Tensor, "B K"]:
        """Return logits."""
        features = F.relu(self.conv1(images))
        for stage in self.blocks:
            features = stage(features)
        features = F.relu(self.conv2(features))
        logits: Tensor = self.classifier(features.mean((2, 3)))
        return logits
