"""`python -m kdsearch.bench verdicts`: how often verdicts on claims are wrong.

Each study has four setups, two lengths under two optimizers, of one family of curves. How the lengths differ
in best temperature, depth and accuracy is as claimed, opposite, or not at all.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from kdsearch.bench.campaigns import results_of
from kdsearch.bench.options import jobs_option, results_option
from kdsearch.bench.search.summaries import Mean
from kdsearch.bench.search.targets import Target
from kdsearch.bench.verdicts.campaign import Case, Judged, JudgedStudy, run_case
from kdsearch.bench.verdicts.worlds import SHAPES, claims

_LINE = "{:20} {:>9} {:>8} {:>10} {:>9} {:>10} {:>13} {:>6} {:>6}"
_HEADER = _LINE.format(
    "quantity", "truth", "studies", "confirmed", "reversed", "no effect", "not resolved", "wrong", "power"
)


@click.command("verdicts")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(SHAPES), default=SHAPES, help="Families.")
@click.option("--trials", "budgets", multiple=True, type=int, default=(128,), help="Budgets of the studies.")
@click.option("--studies", default=27, show_default=True, help="Studies of each family; 27 are balanced.")
@click.option("--seed", default=0, help="Seed of the first study.")
@jobs_option
@results_option
def verdicts_command(
    kinds: Sequence[str], budgets: Sequence[int], studies: int, seed: int, jobs: int, out: Path | None
) -> None:
    """Measure how often verdicts on claims are wrong, on simulated studies."""
    cases = [
        Case(kind, one, budget) for budget in budgets for one in range(seed, seed + studies) for kind in kinds
    ]
    studies_judged = results_of(cases, run_case, JudgedStudy.from_line, jobs=jobs, out=out)
    judged = [one for study in studies_judged for one in study.claims]
    for budget in sorted({one.case.trials for one in judged}):
        of_budget = [one for one in judged if one.case.trials == budget]
        click.echo("\n".join(["", f"{budget} trials:", *table(of_budget)]))
        click.echo("\n".join(["", "Targets:", *(target.line() for target in targets_of(of_budget))]))


def table(judged: Sequence[Judged]) -> list[str]:
    """Return how often each verdict was given, as lines.

    The lines are by quantity and truth.
    """
    lines = [_HEADER]
    for claim in claims():
        for truth in ("true", "opposite", "flat"):
            own = [one for one in judged if (one.quantity, one.truly) == (claim.quantity, truth)]
            if own:
                lines.append(_line(claim.quantity, truth, own))
    return lines


def _line(quantity: str, truth: str, own: Sequence[Judged]) -> str:
    kinds = ("confirmed", "reversed", "no effect that matters", "not resolved")
    shares = [sum(one.verdict == kind for one in own) / len(own) for kind in kinds]
    power = sum(one.power for one in own) / len(own)
    cells = [f"{share:.0%}" for share in shares]
    wrong = f"{sum(one.wrong for one in own) / len(own):.0%}"
    return _LINE.format(quantity, truth, len(own), *cells, wrong, f"{power:.2f}")


def targets_of(judged: Sequence[Judged]) -> list[Target]:
    """Return the stated error rate beside the measured one.

    There is one target for each quantity and one over all.
    """
    return list(_targets(judged))


def _targets(judged: Sequence[Judged]) -> Iterator[Target]:
    for claim in claims():
        own = [one for one in judged if one.quantity == claim.quantity]
        yield from _of_rate(claim.quantity, own, 1 - claim.probability)
    yield from _of_rate("all", judged, 1 - claims()[0].probability)


def _of_rate(name: str, own: Sequence[Judged], stated: float) -> Iterator[Target]:
    resolved = [one for one in own if one.verdict != "not resolved"]
    for among, where in ((own, "claims"), (resolved, "verdicts")):
        if among:
            share = _share(among)
            told = f"{share} ({sum(one.wrong for one in among)} of {len(among)})"
            yield Target(f"at most {stated:.0%} of {where} wrong", name, told, share.value <= stated)


def _share(own: Sequence[Judged]) -> Mean:
    share = sum(one.wrong for one in own) / len(own)
    return Mean(share, (share * (1 - share) / len(own)) ** 0.5)
