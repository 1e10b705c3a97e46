import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from kdsearch.distill.randomness import (
    hash_key,
    hashed,
    hashed_each,
    hashed_order,
    seeded,
    stream,
    uniform_integers,
)

WORD = 2**32 - 1  # 32 bits, as on a GPU


def mix_by_hand(x: int) -> int:
    x ^= x >> 16
    x = x * 0x7FEB352D & WORD
    x ^= x >> 15
    x = x * 0x846CA68B & WORD
    return x ^ x >> 16


def hash_by_hand(key: int, index: int) -> int:
    return mix_by_hand((mix_by_hand(index ^ key) + mix_by_hand(key ^ 0x9E3779B9)) & WORD)


@given(st.integers(0, WORD), st.integers(0, WORD))
def test_hash_is_the_integer_hash_written_out(key, index):
    assert hashed(key, torch.tensor([index])).tolist() == [hash_by_hand(key, index)]


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=3))
def test_key_depends_on_every_number_and_their_order(numbers):
    key = hash_key(*numbers)
    assert 0 <= key <= WORD
    assert hash_key(*numbers, 0) != key
    for place, number in enumerate(numbers):
        assert hash_key(*numbers[:place], number ^ 1, *numbers[place + 1 :]) != key


def test_keys_of_neighbouring_epochs_and_streams_do_not_collide():
    keys = {hash_key(seed, epoch, part) for seed in range(5) for epoch in range(200) for part in range(14)}
    assert len(keys) == 5 * 200 * 14


def test_integers_are_uniform():
    hashes = hashed(hash_key(3, 1, 4), torch.arange(90_000))
    counts = uniform_integers(hashes, 9).bincount(minlength=9).double()
    chi_square = ((counts - 10_000) ** 2 / 10_000).sum()
    assert chi_square < 26.1  # the 99.9% quantile at 8 degrees of freedom


def test_streams_are_uncorrelated():
    index = torch.arange(50_000)
    first, second = (hashed(hash_key(0, 1, part), index).double() for part in (1, 2))
    correlation = np.corrcoef(first.numpy(), second.numpy())[0, 1]
    assert abs(correlation) < 4 / 50_000**0.5


@given(st.integers(0, WORD), st.integers(1, 500))
def test_order_is_a_permutation(key, n):
    assert sorted(hashed_order(key, n).tolist()) == list(range(n))


def test_stream_is_named():
    same, again, other = (
        torch.rand(3, generator=stream(1, name, 2)).tolist() for name in ("student", "student", "teacher")
    )
    assert same == again != other


def test_seeding_leaves_the_global_generator_as_it_was():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with seeded(9):
        first = nn.Linear(3, 3).weight
    with seeded(9):
        second = nn.Linear(3, 3).weight
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)


def test_seeding_is_undone_after_an_error():
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), seeded(9):
        raise ZeroDivisionError
    assert torch.equal(torch.get_rng_state(), before)


def test_several_keys_at_once_give_what_each_gives_alone():
    keys = [hash_key(7, part) for part in range(5)]
    index = torch.arange(1000)
    together = hashed_each(keys, index)
    assert together.shape == (5, 1000)
    for key, own in zip(keys, together, strict=True):
        assert torch.equal(own, hashed(key, index))
