"""From an architecture's name to a network."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import nn

from kdsearch.distill.models.cifar_resnet import CifarResNet, WideStageResNet
from kdsearch.distill.models.foreign_networks import (
    build_from_factory,
    build_timm,
    build_torchvision,
    check_fits,
    use_small_stem,
)
from kdsearch.distill.models.heads import note_head
from kdsearch.distill.models.hugging_face import build_hugging_face
from kdsearch.distill.models.inputs import Inputs
from kdsearch.distill.models.mobile import MobileNetV2
from kdsearch.distill.models.shuffle import ShuffleNetV1, ShuffleNetV2
from kdsearch.distill.models.small import MLP, ConvNet
from kdsearch.distill.models.vgg import VGG
from kdsearch.distill.models.vit import ViT
from kdsearch.distill.models.wide_resnet import WideResNet
from kdsearch.distill.randomness import seeded
from kdsearch.errors import RequestError
from kdsearch.spec.catalogue import is_factory, problem_with_architecture, takes_texts

# Stem and stages of CIFAR residual networks (He et al., 2016), and of the "x4" ones of published checkpoints.
_NARROW, _FOURFOLD = (16, 16, 32, 64), (32, 64, 128, 256)
_SMALL_IMAGE = 16
"""By hand: patches of 4 would leave images of 8 pixels four tokens."""

_LIBRARIES: dict[str, Callable[[str, int, int, int], nn.Module]] = {
    "torchvision": build_torchvision,
    "timm": build_timm,
}

# Each is called with the number of classes and of input channels.
_CIFAR_FAMILIES: dict[str, Callable[[int, int], nn.Module]] = {
    **{f"resnet{depth}": partial(CifarResNet, depth, _NARROW) for depth in (8, 14, 20, 32, 44, 56, 110)},
    **{f"resnet{depth}x4": partial(CifarResNet, depth, _FOURFOLD) for depth in (8, 32)},
    "resnet18": partial(WideStageResNet, (2, 2, 2, 2), 1),
    "resnet50": partial(WideStageResNet, (3, 4, 6, 3), 4),
    **{f"wrn_{depth}_{k}": partial(WideResNet, depth, k) for depth in (16, 40) for k in (1, 2)},
    "vgg8": partial(VGG, (1, 1, 1, 1, 1)),
    "vgg11": partial(VGG, (1, 1, 2, 2, 2)),
    "vgg13": partial(VGG, (2, 2, 2, 2, 2)),
    "vgg16": partial(VGG, (2, 2, 3, 3, 3)),
    "vgg19": partial(VGG, (2, 2, 4, 4, 4)),
    "mobilenet_v2_half": partial(MobileNetV2, 0.5),
    "shufflenet_v1": ShuffleNetV1,
    "shufflenet_v2": ShuffleNetV2,
}


def build_model(
    arch: str,
    num_classes: int,
    in_channels: int = 3,
    *,
    image_size: int = 32,
    stem: Literal["standard", "small"] = "standard",
    generator: torch.Generator | None = None,
    vocabulary: int | None = None,
) -> nn.Module:
    """Return a freshly initialised network.

    Args:
        arch: An architecture's name, as in a spec.
        num_classes: How many logits it gives.
        in_channels: 1 for grey images, 3 for colour; of texts the rows: token ids, mask, maybe segments.
        image_size: Height and width of the images, in pixels; of texts their length in tokens.
        stem: `small` suits an ImageNet residual network to small images: no early loss of resolution.
        generator: Decides the weights, and is advanced by it; None stands for one seeded with 0. Global
            generators stay untouched.
        vocabulary: How many tokens there are, for a network that takes texts [B, R, L]; None for images.

    Raises:
        RequestError: The architecture is unknown or does not fit the images.

    Example:
        >>> import torch
        >>> build_model("resnet8", num_classes=10)(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 10])
    """
    if problem := problem_with_architecture(arch):
        raise RequestError(f"`arch` {problem}")
    inputs = Inputs(in_channels, image_size, vocabulary)
    if vocabulary is not None and not takes_texts(arch):
        raise RequestError(f"`arch` must be hf:NAME or package.module:factory for texts, got {arch!r}.")
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    seed = int(torch.randint(2**62, (), generator=generator, device="cpu"))
    with seeded(seed):
        if ":" in arch:
            return _from_library(arch, num_classes, inputs, stem)
        if stem == "small":
            use_small_stem(nn.Module(), arch)
        if arch in _CIFAR_FAMILIES:
            return _CIFAR_FAMILIES[arch](num_classes, in_channels)
        return _of_any_width(arch, num_classes, in_channels, image_size)


def is_users(arch: str) -> bool:
    """Return whether an architecture is a user's own `package.module:factory`."""
    return is_factory(arch)


def is_unvetted(arch: str) -> bool:
    """Return whether nobody here knows how an architecture's code behaves: a user's, or one of the Hub's."""
    return takes_texts(arch)


def layout_of(arch: str) -> torch.memory_format:
    """Return the layout in which a teacher runs: the faster one on CPUs, where its code is known to take it.

    Other networks may flatten by `view`, which channels that lie innermost do not allow, or take texts.
    """
    return torch.contiguous_format if is_unvetted(arch) else torch.channels_last


def _from_library(arch: str, num_classes: int, inputs: Inputs, stem: str) -> nn.Module:
    library, _, name = arch.partition(":")
    if library == "hf":
        model = build_hugging_face(name, num_classes, inputs)
    elif library in _LIBRARIES:
        model = _LIBRARIES[library](name, num_classes, inputs.in_channels, inputs.size)
    else:
        model = build_from_factory(arch, num_classes, inputs)
    if stem == "small":
        use_small_stem(model, arch)
    check_fits(model, arch, num_classes, inputs)
    note_head(model, inputs.zeros())
    return model


def _of_any_width(arch: str, num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    family, *texts = arch.split("_")
    sizes = [int(text) for text in texts]
    if family == "convnet":
        return ConvNet(sizes, num_classes, in_channels)
    if family == "mlp":
        return MLP(sizes, num_classes, in_channels * image_size**2)
    width, depth = sizes
    patch = 2 if image_size < _SMALL_IMAGE else 4
    if width % 4 or (width > 16 and width % 16):
        raise RequestError(
            f"`arch` must be a vit of a width of 4, 8, 12 or a multiple of 16, got {arch!r}. "
            f"Take vit_{max(16, round(width / 16) * 16)}_{depth}."
        )
    if image_size % patch:
        raise RequestError(
            f"`dataset.image_size` must be a multiple of {patch} for {arch!r}, got {image_size}. "
            f"Set it to {image_size + patch - image_size % patch}."
        )
    return ViT(width, depth, patch, num_classes, in_channels, image_size)
