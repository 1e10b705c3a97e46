"""Which samples train, validate and test: stratified by class, by a seed and nothing else."""

import torch
from jaxtyping import Int64
from torch import Tensor

from kdsearch.distill.randomness import hash_key, hashed
from kdsearch.errors import RequestError
from kdsearch.spec.sections import Dataset
from kdsearch.spec.values import Size

_TEST_FRACTION = 0.2  # by hand: a usual share, for data sets without a test part
_TEST_KEY = hash_key(0x7E57)  # one for all seeds, so that the test part is the same in every study


def split_indices(
    labels: Int64[Tensor, " N"], n_test: int | None, dataset: Dataset
) -> tuple[Int64[Tensor, " T"], Int64[Tensor, " V"], Int64[Tensor, " E"]]:
    """Return the indices of the training, validation and test samples.

    The validation split is drawn first, in proportion to the classes, so that it is the same for every
    `train_size`; the training split then takes the same number from every class, as far as they last,
    and a larger one holds a smaller one. Where the data set has no test part, a fixed stratified fifth
    is kept for it, and what training and validation leave joins it.

    Args:
        labels: The classes of the training part, then of the test part.
        n_test: How many samples at the end are the data set's own test part; None where it has none.
        dataset: The sizes and the seed.

    Raises:
        RequestError: There are too few samples for the sizes.
    """
    everything = torch.arange(len(labels))
    if n_test is None:
        fifth = _proportional(labels, everything, round(_TEST_FRACTION * len(labels)), _TEST_KEY)
        pool = _without(everything, fifth)
    else:
        pool = everything[: len(labels) - n_test]
    n_validation, n_train = _sizes(dataset, len(pool))
    key = hash_key(dataset.split_seed)
    validation = _proportional(labels, pool, n_validation, key)
    rest = _without(pool, validation)
    train = rest if n_train == len(rest) else _balanced(labels, rest, n_train, key)
    if n_test is None:
        test = _without(_without(everything, validation), train)
    else:
        test = everything[len(labels) - n_test :]
    return train, validation, test


def _sizes(dataset: Dataset, n_pool: int) -> tuple[int, int]:
    n_validation = _count(dataset.validation_size, n_pool)
    n_train = n_pool - n_validation if dataset.train_size is None else _count(dataset.train_size, n_pool)
    if n_train < 1 or n_train + n_validation > n_pool:
        raise RequestError(
            f"`dataset.train_size` and `dataset.validation_size` must be at most {n_pool} samples together, "
            f"got {max(n_train, 1)} and {n_validation}. Ask for fewer."
        )
    return n_validation, n_train


def _count(size: Size, n_pool: int) -> int:
    return size if isinstance(size, int) else max(1, round(size * n_pool))


def _proportional(
    labels: Int64[Tensor, " N"], pool: Int64[Tensor, " P"], count: int, key: int
) -> Int64[Tensor, " M"]:
    """Return a stratified draw: sorted by position within the class, relative to its size."""
    rank, sizes = _class_ranks(labels[pool], pool, key)
    return _first(pool, (rank.double() + 0.5) / sizes.double(), count, key)


def _balanced(
    labels: Int64[Tensor, " N"], pool: Int64[Tensor, " P"], count: int, key: int
) -> Int64[Tensor, " M"]:
    """Return a draw with equally many samples per class, while they last."""
    rank, _ = _class_ranks(labels[pool], pool, key)
    return _first(pool, rank.double(), count, key)


def _first(pool: Int64[Tensor, " P"], priority: Tensor, count: int, key: int) -> Int64[Tensor, " M"]:
    by_hash = torch.argsort(hashed(key, pool), stable=True)
    order = by_hash[torch.argsort(priority[by_hash], stable=True)]
    return pool[order[:count]].sort().values


def _class_ranks(
    labels: Int64[Tensor, " P"], pool: Int64[Tensor, " P"], key: int
) -> tuple[Int64[Tensor, " P"], Int64[Tensor, " P"]]:
    """Return each sample's place in its class and the class's size.

    Places are in the order of the samples' hashes.
    """
    by_hash = torch.argsort(hashed(key, pool), stable=True)
    order = by_hash[torch.argsort(labels[by_hash], stable=True)]
    counts = torch.bincount(labels)
    starts = counts.cumsum(0) - counts
    rank = torch.empty_like(labels)
    rank[order] = torch.arange(len(labels)) - starts[labels[order]]
    return rank, counts[labels]


def _without(pool: Int64[Tensor, " P"], taken: Int64[Tensor, " M"]) -> Int64[Tensor, " R"]:
    return pool[~torch.isin(pool, taken)]
