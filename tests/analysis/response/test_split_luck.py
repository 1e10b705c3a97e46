"""The luck of the validation images: how many they are, and how much it is."""

import numpy as np
import pytest

from kdsearch.analysis.response.split_luck import draw_split_luck, held_out_images


@pytest.mark.parametrize("n_images", [97, 300, 900, 5000, 10000])
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_accuracies_tell_of_how_many_images_they_are_shares(n_images: int, kind: type):
    right = np.random.default_rng(0).integers(n_images // 2, n_images, 40)
    accuracies = (right.astype(kind) / kind(n_images)).astype(float)
    found = held_out_images(accuracies)
    assert found is not None
    assert n_images % found == 0  # a divisor says the same of the same accuracies
    assert found == n_images or len(np.unique(right)) < 20


def test_accuracies_that_are_no_shares_tell_nothing():
    assert held_out_images(np.random.default_rng(0).random(40)) is None
    assert held_out_images(np.ones(40)) is None
    assert held_out_images(np.array([0.5, 0.25, 0.75])) is None


def test_its_size_is_what_was_measured_on_real_students():
    """500 images at 76% move curves by 0.2 to 0.33 points.

    They are validation images, and the curves, over temperature, move about their mean.
    """
    rng = np.random.default_rng(0)
    accuracies = [rng.integers(370, 390, 60) / 500]
    luck = draw_split_luck(np.linspace(0, 1, 41), accuracies, 4000, rng).at(0, np.arange(41))
    centred = luck - luck.mean(axis=1, keepdims=True)
    assert 0.2 < np.sqrt((centred**2).mean()) < 0.33
    assert abs(luck.mean(axis=0)).max() < 1e-9


def test_all_setups_share_it():
    rng = np.random.default_rng(0)
    accuracies = [rng.integers(370, 390, 60) / 500, rng.integers(470, 490, 60) / 500]
    luck = draw_split_luck(np.linspace(0, 1, 5), accuracies, 100, rng)
    one, other = (luck.at(s, np.arange(5)) for s in range(2))
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] == pytest.approx(1.0)
    assert one.std() > other.std()


def test_splits_share_it_out():
    accuracies = [np.random.default_rng(0).integers(370, 390, 60) / 500]
    one, four = (
        draw_split_luck(np.linspace(0, 1, 5), accuracies, 10, np.random.default_rng(0), n_splits=n)
        for n in (1, 4)
    )
    assert four.sd == pytest.approx(one.sd / 2)
