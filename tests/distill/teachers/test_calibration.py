import math

import numpy as np
import pytest
import torch

from kdsearch.distill.teachers.calibration import accuracy, calibration_error, soft_target_entropy

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(200, 5)) * 3
LABELS = RNG.integers(0, 5, 200)


def test_accuracy_is_the_share_of_highest_logits():
    assert accuracy(torch.tensor([[2.0, 1], [0, 3], [5, 4]]), torch.tensor([0, 1, 1])) == pytest.approx(2 / 3)


def test_calibration_error_is_the_sum_over_bins():
    probabilities = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
    confidence, hit = probabilities.max(1), probabilities.argmax(1) == LABELS
    expected = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15)
        if inside.any():
            expected += inside.mean() * abs(hit[inside].mean() - confidence[inside].mean())
    assert calibration_error(torch.from_numpy(LOGITS), torch.from_numpy(LABELS)) == pytest.approx(expected)


def test_a_certain_and_right_network_is_calibrated():
    logits = 1e4 * torch.eye(5)
    assert calibration_error(logits, torch.arange(5)) == 0.0


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 40.0])
def test_entropy_is_that_of_the_softened_distribution(temperature):
    softened = np.exp(LOGITS / temperature)
    softened /= softened.sum(1, keepdims=True)
    expected = -(softened * np.log(softened)).sum(1).mean()
    assert soft_target_entropy(torch.from_numpy(LOGITS), temperature) == pytest.approx(expected)


def test_entropy_at_its_limits():
    assert soft_target_entropy(1e4 * torch.eye(5), 1.0) == 0.0
    assert soft_target_entropy(torch.from_numpy(LOGITS), 1e9) == pytest.approx(math.log(5))
