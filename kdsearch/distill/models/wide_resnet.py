"""Wide residual networks, with the names that published CIFAR checkpoints use."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kdsearch.distill.models.layers import conv, initialise_for_relu


class WideBlock(nn.Module):
    """Normalise, rectify, convolve, twice; a 1×1 shortcut where the width changes."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(n_in)
        self.conv1 = conv(n_in, n_out, 3, stride)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.conv2 = conv(n_out, n_out, 3)
        self.convShortcut = None if n_in == n_out else conv(n_in, n_out, 1, stride)

    def forward(self, features: Float[Tensor, "B I H W"]) -> Float[Tensor, "B O h w"]:
        """Return the block's output."""
        active = F.relu(self.bn1(features))
        shortcut = features if self.convShortcut is None else self.convShortcut(active)
        result: Tensor = self.conv2(F.relu(self.bn2(self.conv1(active)))) + shortcut
        return result


class WideStage(nn.Module):
    """Blocks of one width."""

    def __init__(self, n_in: int, n_out: int, stride: int, n_blocks: int) -> None:
        super().__init__()
        later = [WideBlock(n_out, n_out, 1) for _ in range(n_blocks - 1)]
        self.layer = nn.Sequential(WideBlock(n_in, n_out, stride), *later)

    def forward(self, features: Float[Tensor, "B I H W"]) -> Float[Tensor, "B O h w"]:
        """Return the stage's output."""
        result: Tensor = self.layer(features)
        return result


class WideResNet(nn.Module):
    """A CIFAR residual network with three stages `widen` times as wide.

    `depth` is 6n + 4.

    References:
        Zagoruyko & Komodakis, 2016, arXiv:1605.07146.
    """

    def __init__(self, depth: int, widen: int, num_classes: int, in_channels: int) -> None:
        super().__init__()
        n_blocks = (depth - 4) // 6
        self.conv1 = conv(in_channels, 16, 3)
        self.block1 = WideStage(16, 16 * widen, 1, n_blocks)
        self.block2 = WideStage(16 * widen, 32 * widen, 2, n_blocks)
        self.block3 = WideStage(32 * widen, 64 * widen, 2, n_blocks)
        self.bn1 = nn.BatchNorm2d(64 * widen)
        self.fc = nn.Linear(64 * widen, num_classes)
        initialise_for_relu(self)

    def forward(self, images: Float[Tensor, "B C S S"]) -> Float[Tensor, "B K"]:
        """Return logits."""
        features = self.block3(self.block2(self.block1(self.conv1(images))))
        features = F.relu(self.bn1(features))
        logits: Tensor = self.fc(features.mean((2, 3)))
        return logits
