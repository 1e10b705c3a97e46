"""Texts as tokens: rows of ids, of the mask that tells words from padding, and maybe of segments."""

import hashlib

from jaxtyping import Int32, Int64
from torch import Tensor

from kdsearch.distill.data.images import Form


class TokenArray:
    """All texts of a data set, in memory.

    Args:
        tokens: Ids, mask and maybe segments of each text.
        vocabulary: How many tokens there are.
    """

    def __init__(self, tokens: Int32[Tensor, "N R L"], vocabulary: int) -> None:
        self._tokens = tokens
        self.vocabulary = vocabulary

    def __len__(self) -> int:
        return len(self._tokens)

    def native_form(self) -> Form:
        """Return the rows of a text, and its length."""
        return Form(self._tokens.shape[1], self._tokens.shape[2])

    def load(self, index: Int64[Tensor, " M"], form: Form) -> Int32[Tensor, "M R L"]:
        """Return the texts at `index`; they have one form."""
        del form
        return self._tokens[index]

    def add_to(self, digest: "hashlib._Hash") -> None:
        """Add all texts to a digest."""
        digest.update(repr((*self._tokens.shape, self.vocabulary)).encode())
        digest.update(self._tokens.contiguous().numpy().reshape(-1).data)


class TokenRows:
    """Texts on a device, taken in batches. They have no views."""

    def __init__(self, tokens: Int32[Tensor, "N R L"]) -> None:
        self._tokens = tokens

    def plain(self, index: Int64[Tensor, " B"]) -> Int64[Tensor, "B R L"]:
        """Return the texts at `index`."""
        return self._tokens[index].long()

    def crops(self, index: Int64[Tensor, " B"], corner: Tensor | None) -> Int64[Tensor, "B R L"]:
        """Return the texts at `index`; nothing is drawn for them."""
        del corner
        return self.plain(index)
