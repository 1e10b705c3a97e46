"""Residual networks for small images. Their names are those of published CIFAR checkpoints."""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kdsearch.distill.models.layers import conv, initialise_for_relu


class CifarBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv(n_in, n_out, 3, stride)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = conv(n_out, n_out, 3)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.downsample: nn.Module | None = None
        if stride != 1 or n_in != n_out:
            self.downsample = nn.Sequential(conv(n_in, n_out, 1, stride), nn.BatchNorm2d(n_out))

    def forward(self, features: Float[Tensor, "B I H W"]) -> Float[Tensor, "B O h w"]:
        """Return the block's output."""
        shortcut = features if self.downsample is None else self.downsample(features)
        features = F.relu(self.bn1(self.conv1(features)))
        return F.relu(self.bn2(self.conv2(features)) + shortcut)


class CifarResNet(nn.Module):
    """A 3×3 stem, three stages of blocks, a pooled linear head.

    `depth` is 6n + 2.

    References:
        He, Zhang, Ren & Sun, 2016, arXiv:1512.03385, section 4.2.
    """

    def __init__(self, depth: int, widths: Sequence[int], num_classes: int, in_channels: int) -> None:
        super().__init__()
        stem, first, second, third = widths
        n_blocks = (depth - 2) // 6
        self.conv1 = conv(in_channels, stem, 3)
        self.bn1 = nn.BatchNorm2d(stem)
        self.layer1 = _cifar_stage(stem, first, 1, n_blocks)
        self.layer2 = _cifar_stage(first, second, 2, n_blocks)
        self.layer3 = _cifar_stage(second, third, 2, n_blocks)
        self.fc = nn.Linear(third, num_classes)
        initialise_for_relu(self)

    def forward(self, images: Float[Tensor, "B C S S"]) -> Float[Tensor, "B K"]:
        """Return logits."""
        features = F.relu(self.bn1(self.conv1(images)))
        features = self.layer3(self.layer2(self.layer1(features)))
        logits: Tensor = self.fc(features.mean((2, 3)))
        return logits


class Bottleneck(nn.Module):
    """A residual block that is narrow in the middle.

    With `expansion` 1 it is a plain pair of convolutions.
    """

    def __init__(self, n_in: int, width: int, stride: int, expansion: int) -> None:
        super().__init__()
        n_out = width * expansion
        narrow = expansion > 1
        self.conv1 = conv(n_in, width, 1) if narrow else conv(n_in, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv(width, width, 3, stride) if narrow else conv(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3: nn.Module | None = conv(width, n_out, 1) if narrow else None
        self.bn3: nn.Module | None = nn.BatchNorm2d(n_out) if narrow else None
        self.shortcut = nn.Sequential()
        if stride != 1 or n_in != n_out:
            self.shortcut = nn.Sequential(conv(n_in, n_out, 1, stride), nn.BatchNorm2d(n_out))

    def forward(self, features: Float[Tensor, "B I H W"]) -> Float[Tensor, "B O h w"]:
        """Return the block's output."""
        shortcut = self.shortcut(features)
        features = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(features)))))
        if self.conv3 is not None and self.bn3 is not None:
            features = self.bn3(self.conv3(F.relu(features)))
        return F.relu(features + shortcut)


class WideStageResNet(nn.Module):
    """ImageNet's four stages on a 3×3 stem without pooling: resnet18 and resnet50 for CIFAR."""

    def __init__(self, n_blocks: Sequence[int], expansion: int, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, 64, 3)
        self.bn1 = nn.BatchNorm2d(64)
        n_in, stages = 64, []
        for stage, (width, n) in enumerate(zip((64, 128, 256, 512), n_blocks, strict=True)):
            blocks = [Bottleneck(n_in, width, 1 if stage == 0 else 2, expansion)]
            n_in = width * expansion
            blocks += [Bottleneck(n_in, width, 1, expansion) for _ in range(n - 1)]
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.linear = nn.Linear(n_in, num_classes)
        initialise_for_relu(self)

    def forward(self, images: Float[Tensor, "B C S S"]) -> Float[Tensor, "B K"]:
        """Return logits."""
        features = F.relu(self.bn1(self.conv1(images)))
        features = self.layer4(self.layer3(self.layer2(self.layer1(features))))
        logits: Tensor = self.linear(features.mean((2, 3)))
        return logits


def _cifar_stage(n_in: int, n_out: int, stride: int, n_blocks: int) -> nn.Sequential:
    later = [CifarBlock(n_out, n_out, 1) for _ in range(n_blocks - 1)]
    return nn.Sequential(CifarBlock(n_in, n_out, stride), *later)
