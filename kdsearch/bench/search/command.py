"""How many trials every setup's best temperature takes to find.

It is also checked whether the intervals hold. Simulated studies with a known truth go through the samplers
and the answers that ship; only the training is computed instead of run. Regret is the accuracy, in points,
that the recommended temperature truly loses against the best one, both with the other parameters at their
best.
"""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import click

from kdsearch.bench.campaigns import results_of
from kdsearch.bench.options import jobs_option, results_option
from kdsearch.bench.search.baselines import BASELINES, SAMPLERS
from kdsearch.bench.search.campaign import Case, Result, Through, run_case
from kdsearch.bench.search.simulation import SCENARIOS, Scenario
from kdsearch.bench.search.summaries import summaries_of, table
from kdsearch.bench.search.targets import targets_of
from kdsearch.bench.search.times import times_of

TIMED = (100, 500, 2000)  # trials on record: a small, a large and a very large study


@click.command("search")
@click.option("--scenario", "scenarios", multiple=True, type=click.Choice(SCENARIOS), help="Default: all.")
@click.option("--sampler", "samplers", multiple=True, type=click.Choice(SAMPLERS), default=["profile"])
@click.option("--trials", "checkpoints", multiple=True, type=int, default=[48, 60, 96, 144, 192])
@click.option("--levels", nargs=3, type=int, default=(2, 3, 2), help="Levels of the three factors.")
@click.option("--lr-off", default=0.0, help="Decades between the best learning rate and the default.")
@click.option("--pack", default=4, help="Trials in a pack.")
@click.option("--studies", default=20, help="Simulated studies of each kind.")
@click.option("--seed", default=0, help="Seed of the first study.")
@click.option(
    "--through",
    type=click.Choice(["sampler", "launch"]),
    default="sampler",
    help="`launch` runs each study by `kdsearch launch`, with a trainer that computes: 20 s or so each.",
)
@jobs_option
@click.option("--times", is_flag=True, help=f"Time ask and answers with {TIMED} trials on record as well.")
@results_option
def search_command(
    scenarios: Sequence[Scenario],
    samplers: Sequence[str],
    checkpoints: Sequence[int],
    levels: tuple[int, int, int],
    lr_off: float,
    pack: int,
    studies: int,
    seed: int,
    through: Through,
    jobs: int,
    times: bool,
    out: Path | None,
) -> None:
    """Measure samplers and answers on simulated studies whose truth is known."""
    if through == "launch" and (alone := set(samplers) & set(BASELINES)):
        raise click.UsageError(
            f"`--through launch` takes samplers that ship, got {', '.join(sorted(alone))}."
        )
    cases = [
        Case(scenario, sampler, one, tuple(sorted(checkpoints)), levels, lr_off, pack, through)
        for scenario, sampler, one in product(scenarios or SCENARIOS, samplers, range(seed, seed + studies))
    ]
    results = results_of(cases, run_case, Result.from_line, jobs=jobs, out=out)
    summaries = summaries_of(results)
    click.echo("\n".join(table(summaries)))
    targets = targets_of(summaries, [times_of(n_trials) for n_trials in TIMED] if times else ())
    click.echo("\n".join(["", "Targets:", *(target.line() for target in targets)]))
