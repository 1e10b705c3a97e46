"""The pruning benchmark: what it counts, on a study small enough to check."""

import pytest

from kdsearch.bench.pruning import score_pruner


def test_no_pruner_spends_every_epoch_and_asha_spends_fewer() -> None:
    none, asha = (score_pruner(pruner, 144, [0]) for pruner in ("none", "asha"))
    assert (none.pruned, none.epochs) == (0.0, 1.0)
    assert asha.pruned > 0.1
    assert asha.epochs < 1 - 0.5 * asha.pruned
    assert none.silent == pytest.approx(0)
