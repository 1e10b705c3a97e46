"""Layers that several families share."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


def conv(n_in: int, n_out: int, size: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """Return a convolution without bias. It keeps the image's size, but for its stride."""
    return nn.Conv2d(n_in, n_out, size, stride, padding=size // 2, groups=groups, bias=False)


def depthwise(n_channels: int, stride: int) -> nn.Conv2d:
    """Return a 3×3 convolution of each channel alone."""
    return conv(n_channels, n_channels, 3, stride, groups=n_channels)


def shuffled(features: Float[Tensor, "B C H W"], groups: int) -> Float[Tensor, "B C H W"]:
    """Return the channels dealt out from one group after the other."""
    return torch.unflatten(features, 1, (groups, -1)).transpose(1, 2).flatten(1, 2)


def halved(features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
    """Return the largest of every 2×2 pixels. An odd last row or column is left out.

    Without gradients torch's own pooling notes all the same where each maximum was: on a CPU two maxima of
    strided views take from a seventeenth (contiguous) to a half (channels_last) of its time.
    """
    if torch.is_grad_enabled():
        return F.max_pool2d(features, 2)
    height, width = (size - size % 2 for size in features.shape[-2:])
    rows = torch.maximum(features[..., :height:2, :width], features[..., 1:height:2, :width])
    return torch.maximum(rows[..., ::2], rows[..., 1::2])


def initialise_for_relu(model: nn.Module) -> None:
    """Draw every convolution from He's normal distribution over its outputs, without bias.

    References:
        He, Zhang, Ren & Sun, 2015, arXiv:1502.01852, section 2.2.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
