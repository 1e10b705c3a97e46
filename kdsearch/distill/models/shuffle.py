"""ShuffleNets for small images, with the names that published CIFAR checkpoints use."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kdsearch.distill.models.layers import conv, depthwise, shuffled

_N_STEM = 24
"""The papers' number of channels after the first convolution."""

_GROUPS = 3
"""The variant of ShuffleNet v1 with three groups, as in published checkpoints."""


class ShuffleV1Block(nn.Module):
    """Grouped 1×1 convolutions around a depthwise one. A halving block keeps its input beside it."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        width = n_out // 4
        self._first_groups = 1 if n_in == _N_STEM else _GROUPS
        self._halves = stride == 2
        self.conv1 = conv(n_in, width, 1, groups=self._first_groups)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = depthwise(width, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = conv(width, n_out, 1, groups=_GROUPS)
        self.bn3 = nn.BatchNorm2d(n_out)

    def forward(self, features: Float[Tensor, "B I H W"]) -> Float[Tensor, "B O h w"]:
        """Return the block's output."""
        inner = F.relu(self.bn1(self.conv1(features)))
        inner = F.relu(self.bn2(self.conv2(shuffled(inner, self._first_groups))))
        inner = self.bn3(self.conv3(inner))
        if not self._halves:
            return F.relu(inner + features)
        return F.relu(torch.cat([inner, F.avg_pool2d(features, 3, stride=2, padding=1)], 1))


class ShuffleNetV1(nn.Module):
    """A 1×1 stem, three stages of grouped, shuffled blocks, a linear head.

    The head's input is pooled.

    References:
        Zhang, Zhou, Lin & Sun, 2018, arXiv:1707.01083.
    """

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, _N_STEM, 1)
        self.bn1 = nn.BatchNorm2d(_N_STEM)
        self.layer1 = _v1_stage(_N_STEM, 240, 4)
        self.layer2 = _v1_stage(240, 480, 8)
        self.layer3 = _v1_stage(480, 960, 4)
        self.linear = nn.Linear(960, num_classes)

    def forward(self, images: Float[Tensor, "B C S S"]) -> Float[Tensor, "B K"]:
        """Return logits."""
        features = F.relu(self.bn1(self.conv1(images)))
        features = self.layer3(self.layer2(self.layer1(features)))
        logits: Tensor = self.linear(features.mean((2, 3)))
        return logits


class ShuffleV2Block(nn.Module):
    """Half of the channels pass, half are convolved; then both are shuffled."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        width = n_channels // 2
        self.conv1 = conv(width, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = depthwise(width, 1)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = conv(width, width, 1)
        self.bn3 = nn.BatchNorm2d(width)

    def forward(self, features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Return the block's output."""
        passing, inner = features.chunk(2, 1)
        inner = F.relu(self.bn1(self.conv1(inner)))
        inner = self.bn2(self.conv2(inner))
        inner = F.relu(self.bn3(self.conv3(inner)))
        return shuffled(torch.cat([passing, inner], 1), 2)


class ShuffleV2HalvingBlock(nn.Module):
    """Two branches that halve the image, side by side and shuffled."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        width = n_out // 2
        self.conv1 = depthwise(n_in, 2)
        self.bn1 = nn.BatchNorm2d(n_in)
        self.conv2 = conv(n_in, width, 1)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = conv(n_in, width, 1)
        self.bn3 = nn.BatchNorm2d(width)
        self.conv4 = depthwise(width, 2)
        self.bn4 = nn.BatchNorm2d(width)
        self.conv5 = conv(width, width, 1)
        self.bn5 = nn.BatchNorm2d(width)

    def forward(self, features: Float[Tensor, "B I H W"]) -> Float[Tensor, "B O h w"]:
        """Return the block's output."""
        left = self.bn1(self.conv1(features))
        left = F.relu(self.bn2(self.conv2(left)))
        right = F.relu(self.bn3(self.conv3(features)))
        right = self.bn4(self.conv4(right))
        right = F.relu(self.bn5(self.conv5(right)))
        return shuffled(torch.cat([left, right], 1), 2)


class ShuffleNetV2(nn.Module):
    """A 1×1 stem, three stages of split, shuffled blocks, a linear head.

    The head's input is pooled.

    References:
        Ma, Zhang, Zheng & Sun, 2018, arXiv:1807.11164.
    """

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, _N_STEM, 1)
        self.bn1 = nn.BatchNorm2d(_N_STEM)
        self.layer1 = _v2_stage(_N_STEM, 116, 3)
        self.layer2 = _v2_stage(116, 232, 7)
        self.layer3 = _v2_stage(232, 464, 3)
        self.conv2 = conv(464, 1024, 1)
        self.bn2 = nn.BatchNorm2d(1024)
        self.linear = nn.Linear(1024, num_classes)

    def forward(self, images: Float[Tensor, "B C S S"]) -> Float[Tensor, "B K"]:
        """Return logits."""
        features = F.relu(self.bn1(self.conv1(images)))
        features = self.layer3(self.layer2(self.layer1(features)))
        features = F.relu(self.bn2(self.conv2(features)))
        logits: Tensor = self.linear(features.mean((2, 3)))
        return logits


def _v1_stage(n_in: int, n_out: int, n_blocks: int) -> nn.Sequential:
    later = [ShuffleV1Block(n_out, n_out, 1) for _ in range(n_blocks - 1)]
    return nn.Sequential(ShuffleV1Block(n_in, n_out - n_in, 2), *later)


def _v2_stage(n_in: int, n_out: int, n_blocks: int) -> nn.Sequential:
    return nn.Sequential(
        ShuffleV2HalvingBlock(n_in, n_out), *(ShuffleV2Block(n_out) for _ in range(n_blocks))
    )
