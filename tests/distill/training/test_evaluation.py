import math

import numpy as np
import pytest
import torch

from kdsearch.distill.training.evaluation import agreement, mean_entropy, score

LOGITS = torch.tensor([[[2.0, 0.0, -1.0], [0.0, 3.0, 1.0]], [[0.0, 0.0, 0.0], [-5.0, 1.0, 4.0]]])
LABELS = torch.tensor([0, 2])


def softmax(row):
    exponentials = np.exp(np.asarray(row, dtype=float))
    return exponentials / exponentials.sum()


def test_score_is_accuracy_and_cross_entropy_of_each_member():
    scores = score(LOGITS, LABELS)
    assert scores.accuracy == [0.5, 1.0]
    for member, loss in zip(LOGITS.tolist(), scores.loss, strict=True):
        rows = zip(member, LABELS.tolist(), strict=True)
        assert loss == pytest.approx(np.mean([-np.log(softmax(row)[label]) for row, label in rows]))


def test_entropy_is_in_nats_at_each_members_own_temperature():
    found = mean_entropy(LOGITS / torch.tensor([1.0, 1e6])[:, None, None])
    expected = np.mean([-(softmax(row) * np.log(softmax(row))).sum() for row in LOGITS[0].tolist()])
    assert found == pytest.approx([expected, math.log(3)], rel=1e-6)


def test_agreement_is_the_share_of_equal_answers():
    assert agreement(LOGITS, torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])) == [1.0, 0.5]


def test_a_diverged_member_scores_without_an_error():
    scores = score(torch.full((1, 2, 3), math.nan), LABELS)
    assert math.isnan(scores.loss[0])
