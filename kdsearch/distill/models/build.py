"""From an architecture's name to a network."""

from typing import Literal

import torch
from torch import nn

from kdsearch.distill.models.cifar_resnet import CifarResNet
from kdsearch.distill.models.small import MLP, ConvNet
from kdsearch.distill.randomness import seeded
from kdsearch.errors import RequestError


def build_model(
    arch: str,
    num_classes: int,
    in_channels: int = 3,
    *,
    image_size: int = 32,
    stem: Literal["standard", "small"] = "standard",
    generator: torch.Generator | None = None,
) -> nn.Module:
    """Return a freshly initialised network.

    Args:
        arch: An architecture's name, as in a spec.
        num_classes: How many logits it gives.
        in_channels: 1 for grey images, 3 for colour.
        image_size: Height and width of the images, in pixels.
        stem: `small` suits small images: no early loss of resolution.
        generator: Decides the weights; None stands for one seeded with 0. Global generators stay untouched.

    Raises:
        RequestError: The architecture is unknown or does not fit the images.
    """
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    seed = int(torch.randint(2**62, (), generator=generator))
    with seeded(seed):
        return _build(arch, num_classes, in_channels, image_size, stem)


def _build(arch: str, num_classes: int, in_channels: int, image_size: int, stem: str) -> nn.Module:
    family, *sizes = arch.split("_")
    if family == "convnet":
        return ConvNet([int(size) for size in sizes], num_classes, in_channels)
    if family == "mlp":
        return MLP([int(size) for size in sizes], num_classes, in_channels * image_size**2)
    if arch in ("resnet8", "resnet14", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110"):
        return CifarResNet(int(arch.removeprefix("resnet")), (16, 16, 32, 64), num_classes, in_channels)
    raise RequestError(f"`arch` must be a known architecture, got {arch!r}.")
