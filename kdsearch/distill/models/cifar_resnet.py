"""CIFAR residual networks: three stages of basic blocks with 1×1 convolution shortcuts."""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kdsearch.distill.models.initialisation import initialise_for_relu


class BasicBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.downsample: nn.Module | None = None
        if stride != 1 or n_in != n_out:
            self.downsample = nn.Sequential(
                nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out)
            )

    def forward(self, features: Float[Tensor, "B I H W"]) -> Float[Tensor, "B O h w"]:
        """Return the block's output."""
        shortcut = features if self.downsample is None else self.downsample(features)
        features = F.relu(self.bn1(self.conv1(features)))
        return F.relu(self.bn2(self.conv2(features)) + shortcut)


class CifarResNet(nn.Module):
    """A stem of 3×3, three stages, a pooled linear head; `depth` is 6n + 2.

    References:
        He, Zhang, Ren & Sun, 2016, arXiv:1512.03385, section 4.2.
    """

    def __init__(self, depth: int, widths: Sequence[int], num_classes: int, in_channels: int) -> None:
        super().__init__()
        stem, *stages = widths
        n_blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(in_channels, stem, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.layer1 = _stage(stem, stages[0], 1, n_blocks)
        self.layer2 = _stage(stages[0], stages[1], 2, n_blocks)
        self.layer3 = _stage(stages[1], stages[2], 2, n_blocks)
        self.fc = nn.Linear(stages[2], num_classes)
        initialise_for_relu(self)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        """Return logits."""
        features = F.relu(self.bn1(self.conv1(images)))
        features = self.layer3(self.layer2(self.layer1(features)))
        logits: Tensor = self.fc(features.mean((2, 3)))
        return logits


def _stage(n_in: int, n_out: int, stride: int, n_blocks: int) -> nn.Sequential:
    later = [BasicBlock(n_out, n_out, 1) for _ in range(n_blocks - 1)]
    return nn.Sequential(BasicBlock(n_in, n_out, stride), *later)
