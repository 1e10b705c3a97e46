"""A small vision transformer whose position code has no parameters."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

_HEAD_WIDTH = 16
"""By hand: narrow networks for small images still get several heads."""

_MLP_RATIO = 4
"""Dosovitskiy et al. (2021)."""

_LONGEST_WAVE = 100.0
"""By hand, in patches over 2 pi: longer than any small image."""


class Attention(nn.Module):
    """Multi-head self-attention, written out so that it can be vectorised over students."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self._n_heads = max(1, width // _HEAD_WIDTH)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Float[Tensor, "B N W"]) -> Float[Tensor, "B N W"]:
        """Return the attended tokens."""
        split = torch.unflatten(self.qkv(tokens), -1, (3, self._n_heads, -1))
        query, key, value = split.movedim(-3, 0).transpose(-2, -3).unbind(0)
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        attended = scores.softmax(-1) @ value
        result: Tensor = self.proj(attended.transpose(-2, -3).flatten(-2))
        return result


class Layer(nn.Module):
    """Attention, then a perceptron; each normalised before and added to its input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width)
        self.norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, _MLP_RATIO * width)
        self.fc2 = nn.Linear(_MLP_RATIO * width, width)

    def forward(self, tokens: Float[Tensor, "B N W"]) -> Float[Tensor, "B N W"]:
        """Return the layer's output."""
        tokens = tokens + self.attention(self.norm1(tokens))
        result: Tensor = tokens + self.fc2(F.gelu(self.fc1(self.norm2(tokens))))
        return result


class ViT(nn.Module):
    """Patches as tokens, transformer layers, mean pooling and a linear head.

    A sine and cosine code gives each token its place.

    References:
        Beyer, Zhai & Kolesnikov, 2022, arXiv:2205.01580.
    """

    positions: Tensor

    def __init__(
        self, width: int, depth: int, patch: int, num_classes: int, in_channels: int, image_size: int
    ) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(in_channels, width, patch, stride=patch)
        self.register_buffer("positions", position_code(image_size // patch, width), persistent=False)
        self.layers = nn.ModuleList(Layer(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, images: Float[Tensor, "B C S S"]) -> Float[Tensor, "B K"]:
        """Return logits."""
        tokens = self.patch_embed(images).flatten(2).transpose(1, 2) + self.positions
        for layer in self.layers:
            tokens = layer(tokens)
        logits: Tensor = self.fc(self.norm(tokens).mean(1))
        return logits


def position_code(n_patches: int, width: int) -> Float[Tensor, "N W"]:
    """Return a code of each patch's row and column. `width` must be a multiple of 4."""
    place = torch.arange(n_patches, dtype=torch.float32)
    waves = _LONGEST_WAVE ** -(torch.arange(width // 4) / max(1, width // 4 - 1))
    phases = place[:, None] * waves
    code = torch.cat([phases.sin(), phases.cos()], 1)
    rows = code[:, None, :].expand(-1, n_patches, -1)
    columns = code[None, :, :].expand(n_patches, -1, -1)
    return torch.cat([rows, columns], -1).flatten(0, 1)
