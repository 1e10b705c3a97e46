import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdsearch.distill.data.splits import split_indices
from kdsearch.errors import RequestError
from kdsearch.spec.sections import Dataset

LABELS = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)


def split(labels=LABELS, n_test=None, **sizes):
    return split_indices(labels, n_test, Dataset(**sizes))


@settings(max_examples=50)
@given(
    labels=st.lists(st.integers(0, 4), min_size=30, max_size=80),
    n_train=st.integers(1, 12),
    n_validation=st.integers(1, 8),
    seed=st.integers(0, 1000),
    n_test=st.none() | st.integers(0, 8),
)
def test_parts_have_their_sizes_and_share_nothing(labels, n_train, n_validation, seed, n_test):
    train, validation, test = split(
        torch.tensor(labels), n_test, train_size=n_train, validation_size=n_validation, split_seed=seed
    )
    together = [*train.tolist(), *validation.tolist(), *test.tolist()]
    assert (len(train), len(validation)) == (n_train, n_validation)
    assert len(set(together)) == len(together)
    if n_test is None:
        assert len(together) == len(labels)
    else:
        assert test.tolist() == list(range(len(labels) - n_test, len(labels)))


def test_training_split_takes_the_same_number_of_every_class():
    train, _, _ = split(train_size=30, validation_size=10)
    assert LABELS[train].bincount().tolist() == [10, 10, 10]


def test_classes_that_run_out_are_made_up_for_by_the_others():
    labels = torch.tensor([0] * 90 + [1] * 10)
    train, _, _ = split(labels, 0, train_size=60, validation_size=10)
    assert labels[train].bincount().tolist() == [51, 9]


def test_validation_split_is_proportional():
    _, validation, _ = split(LABELS, 0, validation_size=20)
    assert LABELS[validation].bincount().tolist() == [10, 6, 4]


def test_larger_training_split_holds_the_smaller_and_leaves_validation_alone():
    small, validation, _ = split(train_size=15, validation_size=10)
    large, same_validation, _ = split(train_size=45, validation_size=10)
    assert set(small.tolist()) < set(large.tolist())
    assert torch.equal(validation, same_validation)


def test_seed_changes_the_split_but_not_the_kept_test_fifth():
    splits = [split(split_seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(splits[0][0], splits[1][0])
    assert not torch.equal(splits[0][0], splits[2][0])
    assert torch.equal(splits[0][2], splits[2][2])
    assert LABELS[splits[0][2]].bincount().tolist() == [10, 6, 4]


def test_fractions_are_of_the_training_part():
    train, validation, test = split(LABELS, 20, train_size=0.5, validation_size=0.25)
    assert (len(train), len(validation), len(test)) == (40, 20, 20)


@pytest.mark.parametrize("sizes", [{"train_size": 75, "validation_size": 6}, {"validation_size": 80}])
def test_too_large_a_split_names_what_there_is(sizes):
    with pytest.raises(RequestError, match=r"`dataset\.train_size` .* at most 80 samples"):
        split(**sizes)
