"""VGG with BatchNorm for small images. Its names are those of published CIFAR checkpoints."""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kdsearch.distill.models.layers import halved, initialise_for_relu

_WIDTHS = (64, 128, 256, 512, 512)  # Simonyan & Zisserman (2015)
_N_POOLED_ALWAYS = 3  # times: images of 32 pixels come to 4, as in published CIFAR checkpoints
_LARGE_IMAGE = 64  # pixels: these come to 4 with one halving more


class VGG(nn.Module):
    """Five blocks of 3×3 convolutions and a pooled linear head.

    The size is halved between the first four blocks. Images of 64 pixels and more are halved once more.

    References:
        Simonyan & Zisserman, 2015, arXiv:1409.1556.
    """

    def __init__(self, n_layers: Sequence[int], num_classes: int, in_channels: int) -> None:
        super().__init__()
        inputs = (in_channels, *_WIDTHS[:-1])
        for number, sizes in enumerate(zip(inputs, _WIDTHS, n_layers, strict=True)):
            self.add_module(f"block{number}", _block(*sizes))
        self.classifier = nn.Linear(_WIDTHS[-1], num_classes)
        initialise_for_relu(self)

    def forward(self, images: Float[Tensor, "B C S S"]) -> Float[Tensor, "B K"]:
        """Return logits."""
        n_pooled = _N_POOLED_ALWAYS + (images.shape[-1] >= _LARGE_IMAGE)
        features = images
        for number in range(len(_WIDTHS)):
            features = F.relu(self.get_submodule(f"block{number}")(features))
            if number < n_pooled and features.shape[-1] > 1:
                features = halved(features)
        logits: Tensor = self.classifier(features.mean((2, 3)))
        return logits


def _block(n_in: int, width: int, n_layers: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for layer in range(n_layers):
        convolution = nn.Conv2d(n_in if layer == 0 else width, width, 3, padding=1)
        layers += [convolution, nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
