"""Randomness that depends on names and numbers alone."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from jaxtyping import Int64
from torch import Tensor

from kdsearch.seeds import named_seed

_WORD = 0xFFFFFFFF  # 32 bits
_GOLDEN = 0x9E3779B9  # 2**32 over the golden ratio, the usual constant to set hashed words apart
# The multipliers of the lowbias32 hash; the second is written modulo 2**32 as a negative number,
# so that no product of a 32-bit word leaves the range of int64.
_FIRST_MULTIPLIER = 0x7FEB352D
_SECOND_MULTIPLIER = 0x846CA68B - 2**32
Word = TypeVar("Word", int, Tensor, int | Tensor)


def stream(seed: int, *name: str | int) -> torch.Generator:
    """Return a CPU generator decided by a seed and a name. It is the same in any process."""
    return torch.Generator().manual_seed(named_seed(seed, *name))


@contextmanager
def seeded(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Seed the global generators inside, and restore them after.

    They are those of the CPU and of a CUDA device. For code that knows no generators: modules' initialisation
    and dropout.
    """
    device = torch.device(device)
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(seed)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def hash_key(*numbers: int) -> int:
    """Return 32 bits that depend on the numbers and their order."""
    return lengthened_key(0, *numbers)


def lengthened_key(key: Word, *numbers: int) -> Word:
    """Return the key of more numbers: with `hash_key(a)`, that of `hash_key(a, *numbers)`."""
    for number in numbers:
        for word in (number & _WORD, (number >> 32) & _WORD):
            key = _mix((key ^ word) + _GOLDEN & _WORD)
    return key


def hashed(key: int | Tensor, index: Int64[Tensor, " N"]) -> Int64[Tensor, " N"]:
    """Return 32 random-looking bits for each index. Exactly the same on every device.

    Args:
        key: From `hash_key`, or a tensor with such a key; another key gives unrelated values.
        index: Values in [0, 2**32).
    """
    second_key = _mix(key ^ _GOLDEN)
    words: Tensor = _mix((_mix(index ^ key) + second_key) & _WORD)
    return words


def hashed_each(keys: Sequence[int], index: Int64[Tensor, " N"]) -> Int64[Tensor, "M N"]:
    """Return what `hashed` gives for each of several keys, at once."""
    both = torch.tensor([keys, [_mix(key ^ _GOLDEN) for key in keys]], device=index.device)
    first, second = both[:, :, None]
    words: Tensor = _mix((_mix(index ^ first) + second) & _WORD)
    return words


def uniform_integers(hashes: Int64[Tensor, " N"], n: int) -> Int64[Tensor, " N"]:
    """Return hashes as integers that are uniform over [0, n)."""
    return (hashes * n) >> 32


def hashed_order(key: int, n: int) -> Int64[Tensor, " N"]:
    """Return a permutation of [0, n) on the CPU: the indices sorted by their hash."""
    index = torch.arange(n)
    distinct = hashed(key, index) * n + index
    return torch.from_numpy(distinct.numpy().argsort())  # for a small set four times faster than torch's


def _mix(words: Word) -> Word:
    """Return words of 32 bits scrambled by lowbias32: a number, or each value of a tensor."""
    words = ((words ^ (words >> 16)) * _FIRST_MULTIPLIER) & _WORD
    words = ((words ^ (words >> 15)) * _SECOND_MULTIPLIER) & _WORD
    return words ^ (words >> 16)
