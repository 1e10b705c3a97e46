"""What `search.widen` does for learning rates beyond a range.

It is measured where the best rate is inside, too. Simulated studies with a known truth go through the asking
and the answers that ship; regret is the accuracy, in points, that the recommended temperature truly loses.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import click
import numpy as np

from kdsearch.analysis import best
from kdsearch.bench.search.record import SimulatedRecord
from kdsearch.bench.search.simulation import SCENARIOS, Scenario, simulated_study
from kdsearch.search import PackAsker

BEYOND = 0.7
"""The best learning rate then lies about a fifth of its range beyond the end."""

_LR = "optimizer.lr"


@dataclass(frozen=True)
class WideningScore:
    """How some studies ended: mean regret, the share of setups warned, and how often a range was widened."""

    regret: float
    warned: float
    widened: int


def score_widening(
    scenario: Scenario, seeds: Sequence[int], *, widen: bool, lr_beyond: float, n_trials: int
) -> WideningScore:
    """Return how studies of 6 setups do, one for each seed.

    Args:
        scenario: What the truth is like.
        seeds: Fix truth and noise.
        widen: Whether ranges may be widened.
        lr_beyond: How far the best learning rate lies above the middle of its range, as a share of it.
        n_trials: The budget of each study.
    """
    regrets, warned, widened = [], [], 0
    for seed in seeds:
        study = simulated_study(scenario, seed, levels=(2, 3, 1), n_trials=n_trials, lr_beyond=lr_beyond)
        search = study.spec.search.model_copy(update={"widen": widen})
        study.spec = study.spec.model_copy(update={"search": search})
        record = SimulatedRecord(study)
        asker = PackAsker(study.spec, record)
        while (room := n_trials - len(study.rows)) > 0:
            asker.ask(f"p{len(study.rows)}", room)
        for answer in best(record.spec, study.rows).setups:
            if answer.temperature is not None:
                regrets.append(study.regret(answer.setup, answer.temperature))
                warned.append(any(f"The best `{_LR}`" in warning for warning in answer.warnings))
        widened += len(record.widenings())
    return WideningScore(float(np.mean(regrets)), float(np.mean(warned)), widened)


@click.command("widening")
@click.option("--studies", default=8, show_default=True, help="Simulated studies of each kind.")
@click.option("--trials", default=96, show_default=True, help="Trials of each study, of 6 setups.")
def widening_command(studies: int, trials: int) -> None:
    """Measure `search.widen` with best learning rates beyond and inside."""
    click.echo("scenario   best rate  widen  regret, points  warned  ranges widened")
    kinds: list[tuple[Scenario, float, bool]] = [("shared", BEYOND, False), ("shared", BEYOND, True)]
    kinds += [(scenario, 0.0, True) for scenario in SCENARIOS]
    for scenario, beyond, widen in kinds:
        found = score_widening(scenario, range(studies), widen=widen, lr_beyond=beyond, n_trials=trials)
        where = "beyond" if beyond else "inside"
        click.echo(
            f"{scenario:<10} {where:<10} {'yes' if widen else 'no':<6} {found.regret:14.3f} "
            f"{found.warned:7.0%} {found.widened:15d}"
        )
