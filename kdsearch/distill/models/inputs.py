"""What a network takes: images, or texts as tokens."""

from dataclasses import dataclass

import torch
from torch import Tensor

ROWS = ("input_ids", "attention_mask", "token_type_ids")
"""What the rows of a text's tokens are called; the third is not there where it would be 0 throughout."""


@dataclass(frozen=True)
class Inputs:
    """The form of a network's inputs: images [B, C, S, S], or tokens [B, R, S] of a vocabulary.

    Args:
        in_channels: Channels of an image, or rows of a text.
        size: Height and width in pixels, or the length of a text in tokens.
        vocabulary: How many tokens there are; None for images.
    """

    in_channels: int
    size: int
    vocabulary: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return (self.in_channels, *(self.size,) * (2 if self.vocabulary is None else 1))

    def zeros(self) -> Tensor:
        """Return a batch of one example without content: a grey image, or the first token throughout."""
        if self.vocabulary is None:
            return torch.zeros(1, *self.shape)
        return self._tokens(torch.zeros(1, self.size, dtype=torch.int64))

    def random(self, n: int, generator: torch.Generator) -> Tensor:
        """Return examples of noise. Each text ends in the last token of the vocabulary."""
        if self.vocabulary is None:
            return torch.randn(n, *self.shape, generator=generator)
        ids = torch.randint(self.vocabulary, (n, self.size), generator=generator)
        ids[:, -1] = self.vocabulary - 1
        return self._tokens(ids)

    def __str__(self) -> str:
        if self.vocabulary is None:
            return f"images of {self.in_channels}×{self.size}×{self.size}"
        return f"texts of {self.size} tokens of a vocabulary of {self.vocabulary}"

    def _tokens(self, ids: Tensor) -> Tensor:
        """Return texts without padding, each of one segment."""
        rows = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        return torch.stack([rows.get(row, torch.zeros_like(ids)) for row in ROWS[: self.in_channels]], 1)
