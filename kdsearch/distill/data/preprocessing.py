"""What a network is fed with: whose mean and deviation its images are normalised by, and at which size.

Views are normalised by the study's own data. A network that was made for other images gets them made over:
normalisation is affine, so a scale and a shift for each channel lead from the one to the other.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdsearch.distill.data.dataset import ImageData

_PREPARATION = "_kdsearch_preparation"
_ANTIALIASED = ("bilinear", "bicubic")


@dataclass(frozen=True)
class Preparation:
    """How images are prepared for a network.

    Args:
        mean: Each channel's mean, of pixels in [0, 1]; one value stands for all channels.
        std: Each channel's standard deviation.
        size: Height and width in pixels.
        interpolation: How they are resized: nearest, bilinear or bicubic.
        crop: The middle part of an image's side that is seen; the rest is cut off, as evaluations often do.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int
    interpolation: str = "bilinear"
    crop: float = 1.0

    def for_channels(self, n: int) -> "Preparation":
        """Return it with one value a channel. Grey images take the colours' mean."""
        mean, std = (values * n if len(values) == 1 else values for values in (self.mean, self.std))
        if len(mean) != n:
            mean, std = ((sum(values) / len(values),) * n for values in (mean, std))
        return replace(self, mean=mean, std=std)


def prepare(
    model: nn.Module, preparation: Preparation, mean: tuple[float, ...], std: tuple[float, ...], size: int
) -> None:
    """Let a network take images of another normalisation or size.

    Nothing is changed where its images are of that kind already; its weights keep their names.

    Args:
        model: The network.
        preparation: What it is made for.
        mean: By which the images that come are normalised.
        std: Likewise.
        size: Their height and width.
    """
    wanted = preparation.for_channels(len(mean))
    if (wanted.mean, wanted.std) == (mean, std) and wanted.size == size and wanted.crop == 1:
        return
    scale = [given / own for given, own in zip(std, wanted.std, strict=True)]
    shift = [(given - own) / by for given, own, by in zip(mean, wanted.mean, wanted.std, strict=True)]
    step = _Prepare(scale, shift, wanted)
    model.register_module(_PREPARATION, step)
    model.register_forward_pre_hook(_prepare_input)


def described(name: str, preparation: Preparation, data: ImageData) -> str | None:
    """Return in words how a network's images differ from the data's. It is None where they don't."""
    found = []
    if (preparation.mean, preparation.std) != (data.mean, data.std):
        mean, std = (", ".join(f"{value:.3g}" for value in v) for v in (preparation.mean, preparation.std))
        found.append(f"normalised by mean {mean} and deviation {std}, not by the data's own")
    if preparation.crop != 1:
        found.append(f"cut to the middle {preparation.crop:.3g} of their side")
    if preparation.size != data.image_size:
        found.append(
            f"resized from {data.image_size} to {preparation.size} pixels ({preparation.interpolation})"
        )
    if not found:
        return None
    return f"{name}: images are {' and '.join(found)}. `{name}.preprocessing` says otherwise"


class _Prepare(nn.Module):
    """Resizes images, cuts out their middle, then changes their normalisation."""

    scale: Tensor
    shift: Tensor

    def __init__(self, scale: list[float], shift: list[float], wanted: Preparation) -> None:
        super().__init__()
        self.size = wanted.size
        self.whole = max(wanted.size, int(wanted.size / wanted.crop))  # as evaluations count it
        self.interpolation = wanted.interpolation
        # Not persistent: a network's weights are the same whatever it is fed with.
        self.register_buffer("scale", torch.tensor(scale)[:, None, None], persistent=False)
        self.register_buffer("shift", torch.tensor(shift)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the images as the network wants them."""
        if images.shape[-1] != self.whole:
            smooth = {"align_corners": False, "antialias": True} if self.interpolation in _ANTIALIASED else {}
            images = F.interpolate(images, (self.whole, self.whole), mode=self.interpolation, **smooth)
        if self.whole > self.size:
            first = round((self.whole - self.size) / 2)
            images = images[..., first : first + self.size, first : first + self.size]
        return images * self.scale + self.shift


def _prepare_input(model: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    step = model.get_submodule(_PREPARATION)
    return (step(inputs[0]), *inputs[1:])
