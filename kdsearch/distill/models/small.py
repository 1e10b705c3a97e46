"""Small networks of any width: convolutional nets and multilayer perceptrons."""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kdsearch.distill.models.layers import halved


class ConvNet(nn.Module):
    """3×3 convolutions with BatchNorm and ReLU, then one linear head.

    Images are halved in size between layers and pooled at the end.
    """

    def __init__(self, widths: Sequence[int], num_classes: int, in_channels: int) -> None:
        super().__init__()
        inputs = [in_channels, *widths[:-1]]
        self.convs = nn.ModuleList(
            nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)
            for n_in, n_out in zip(inputs, widths, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.fc = nn.Linear(widths[-1], num_classes)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        """Return logits."""
        features = images
        for layer, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            if layer and min(features.shape[-2:]) > 1:
                features = halved(features)
            features = F.relu(norm(conv(features)))
        logits: Tensor = self.fc(features.mean((2, 3)))
        return logits


class MLP(nn.Module):
    """Linear layers with ReLU on the flattened image."""

    def __init__(self, widths: Sequence[int], num_classes: int, n_inputs: int) -> None:
        super().__init__()
        inputs = [n_inputs, *widths[:-1]]
        self.layers = nn.ModuleList(
            nn.Linear(n_in, n_out) for n_in, n_out in zip(inputs, widths, strict=True)
        )
        self.fc = nn.Linear(widths[-1], num_classes)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        """Return logits."""
        features = images.flatten(1)
        for layer in self.layers:
            features = F.relu(layer(features))
        logits: Tensor = self.fc(features)
        return logits
