"""The benchmark of widened ranges: what it counts."""

from kdsearch.bench.search.widening import BEYOND, score_widening


def test_a_range_that_holds_not_the_best_costs_regret_until_it_is_widened() -> None:
    kept, wider = (
        score_widening("shared", [1], widen=widen, lr_beyond=BEYOND, n_trials=96) for widen in (False, True)
    )
    assert (kept.widened, kept.warned) == (0, 1.0)
    assert wider.widened in (1, 2)  # trials spread over rates may find the new end near as well
    assert wider.regret < 0.1 < kept.regret
