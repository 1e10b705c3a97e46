"""How many trials it takes to know every setup's best temperature, and whether the intervals hold.

Simulated studies with a known truth go through the samplers and the answers that ship; only the training is
computed instead of run. Regret is the accuracy, in points, that the recommended temperature truly loses
against the best one, both with the other parameters at their best.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import click
import numpy as np

from kdsearch.analysis import SetupAnswer, best
from kdsearch.bench.baselines import GridProposer, joint_gp, joint_tpe
from kdsearch.bench.simulation import SCENARIOS, Scenario, SimulatedStudy, simulated_study
from kdsearch.search import Proposer, build_proposer
from kdsearch.spec import TEMPERATURE, Setup, StudySpec, setup_key

Answering: TypeAlias = Literal["model", "best trial"]

JOINT: dict[str, Callable[[StudySpec], Proposer]] = {"tpe joint": joint_tpe, "gp joint": joint_gp}
SAMPLERS = ("profile", "random", "tpe", "gp", "grid at default", *JOINT)
HEADER = (
    "scenario  sampler         answer by  trials regret  worst silent  cover  width   near   flat  wrong\n"
    + "-" * 98
)
TOLERANCE_POINTS = 0.5
_GRID = np.linspace(0.0, 1.0, 401)


@dataclass(frozen=True)
class SetupScore:
    """How good one answer was: regret and width in points and shares of the temperature's range.

    `covered`, `near_found` (the share of the truly near-optimal range that was reported), `flat` and
    `truly_flat` are None where only the best trial answers.
    """

    regret: float
    covered: bool | None = None
    width: float | None = None
    near_found: float | None = None
    flat: bool | None = None
    truly_flat: bool | None = None


@dataclass(frozen=True)
class Score:
    """All answers of some studies after so many trials; `silent` is the share of setups without one."""

    scenario: str
    sampler: str
    answered_by: Answering
    trials: int
    studies: int
    regret: float
    worst: float
    silent: float
    covered: float | None
    width: float | None
    near_found: float | None
    flat_said: float | None
    flat_said_wrongly: float | None

    def to_dict(self) -> dict[str, object]:
        """Return the score as plain values."""
        return asdict(self)


def score_sampler(
    scenario: Scenario,
    sampler: str,
    checkpoints: Sequence[int],
    seeds: Sequence[int],
    *,
    levels: Sequence[int] = (2, 3, 2),
    lr_off: float = 0.0,
    pack: int = 4,
) -> list[Score]:
    """Return a sampler's scores on studies of one scenario, at each number of trials.

    Args:
        scenario: What the truth is like.
        sampler: One of `SAMPLERS`.
        checkpoints: Numbers of trials in a study, in rising order.
        seeds: One study for each.
        levels: Levels of the three factors; their product is the number of setups.
        lr_off: How many decades the best learning rate lies above the default.
        pack: Trials in a pack.
    """
    answered: dict[tuple[Answering, int], list[SetupScore | None]] = {}
    for seed in seeds:
        study = simulated_study(
            scenario, seed, levels=levels, lr_off=lr_off, pack=pack, n_trials=checkpoints[-1]
        )
        proposer = proposer_of(sampler, study.spec)
        for n_trials in checkpoints:
            study.search(proposer, n_trials)
            for by, scores in (("model", model_scores(study)), ("best trial", best_trial_scores(study))):
                answered.setdefault((by, n_trials), []).extend(scores)  # type: ignore[arg-type]
    return [
        _score(scenario, sampler, by, n_trials, len(seeds), scores)
        for (by, n_trials), scores in sorted(answered.items())
    ]


def proposer_of(sampler: str, spec: StudySpec) -> Proposer:
    """Return the proposer that goes by a name in `SAMPLERS`."""
    if sampler in JOINT:
        return JOINT[sampler](spec)
    if sampler == "grid at default":
        return GridProposer(spec)
    search = spec.search.model_copy(update={"sampler": sampler})
    return build_proposer(spec.model_copy(update={"search": search}))


def model_scores(study: SimulatedStudy) -> Iterator[SetupScore | None]:
    """Yield the score of the model's answer for each setup; None where there is no answer."""
    for answer in best(study.spec, study.rows, tolerance=TOLERANCE_POINTS / 100).setups:
        yield None if answer.temperature is None else _model_score(study, answer, answer.temperature)


def _model_score(study: SimulatedStudy, answer: SetupAnswer, temperature: float) -> SetupScore:
    profile = study.truth(answer.setup).profile(_GRID)
    low, high = _positions(study, answer.setup, answer.interval)
    near_low, near_high = _positions(study, answer.setup, answer.near_optimal)
    are_best = _GRID[profile >= profile.max() - 1e-9]
    are_near = _GRID[profile >= profile.max() - TOLERANCE_POINTS]
    return SetupScore(
        regret=study.regret(answer.setup, temperature),
        covered=bool(((are_best >= low - 1e-9) & (are_best <= high + 1e-9)).any()),
        width=high - low,
        near_found=float(((are_near >= near_low) & (are_near <= near_high)).mean()),
        flat=answer.flat,
        truly_flat=bool(len(are_near) == len(_GRID)),
    )


def _positions(
    study: SimulatedStudy, setup: Setup, interval: tuple[float, float] | None
) -> tuple[float, float]:
    if interval is None:
        return 1.0, 0.0
    return study.position(setup, interval[0]), study.position(setup, interval[1])


def best_trial_scores(study: SimulatedStudy) -> Iterator[SetupScore | None]:
    """Yield the score of each setup's best observed trial; None where a setup has none."""
    for setup in study.spec.setups():
        own = [row for row in study.rows if setup_key(row.setup) == setup_key(setup)]
        measured = [(row.val_accuracy, row) for row in own if row.val_accuracy is not None]
        if not measured:
            yield None
            continue
        _, row = max(measured, key=lambda pair: pair[0])
        yield SetupScore(regret=study.regret(setup, row.params[TEMPERATURE]))


def _score(
    scenario: str,
    sampler: str,
    by: Answering,
    n_trials: int,
    n_studies: int,
    scores: Sequence[SetupScore | None],
) -> Score:
    known = [score for score in scores if score is not None]
    return Score(
        scenario=scenario,
        sampler=sampler,
        answered_by=by,
        trials=n_trials,
        studies=n_studies,
        regret=float(np.mean([s.regret for s in known])) if known else float("nan"),
        worst=max((s.regret for s in known), default=float("nan")),
        silent=1 - len(known) / len(scores),
        covered=_mean([s.covered for s in known]),
        width=_mean([s.width for s in known]),
        near_found=_mean([s.near_found for s in known]),
        flat_said=_mean([s.flat for s in known if s.truly_flat]),
        flat_said_wrongly=_mean([s.flat for s in known if not s.truly_flat]),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


@click.command("search")
@click.option("--scenario", "scenarios", multiple=True, type=click.Choice(SCENARIOS), help="Default: all.")
@click.option("--sampler", "samplers", multiple=True, type=click.Choice(SAMPLERS), default=["profile"])
@click.option("--trials", "checkpoints", multiple=True, type=int, default=[36, 60, 96, 144, 192])
@click.option("--levels", nargs=3, type=int, default=(2, 3, 2), help="Levels of the three factors.")
@click.option("--lr-off", default=0.0, help="Decades between the best learning rate and the default.")
@click.option("--pack", default=4, help="Trials in a pack.")
@click.option("--studies", default=20, help="Simulated studies of each kind.")
@click.option("--seed", default=0, help="Seed of the first study.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the scores to a JSON file.")
def search_command(
    scenarios: Sequence[Scenario],
    samplers: Sequence[str],
    checkpoints: Sequence[int],
    levels: tuple[int, int, int],
    lr_off: float,
    pack: int,
    studies: int,
    seed: int,
    out: Path | None,
) -> None:
    """Measure samplers and answers on simulated studies whose truth is known."""
    scores: list[Score] = []
    click.echo(HEADER)
    for scenario in scenarios or SCENARIOS:
        for sampler in samplers:
            seeds = range(seed, seed + studies)
            found = score_sampler(
                scenario, sampler, sorted(checkpoints), seeds, levels=levels, lr_off=lr_off, pack=pack
            )
            scores += found
            click.echo("\n".join(score_line(score) for score in found))
    if out is not None:
        out.write_text(json.dumps([score.to_dict() for score in scores], indent=1))


def score_line(score: Score) -> str:
    """Return a score as a line of the table under `HEADER`."""
    shares = (score.covered, score.width, score.near_found, score.flat_said, score.flat_said_wrongly)
    texts = ["     -" if share is None else f"{share:6.2f}" for share in shares]
    return (
        f"{score.scenario:9} {score.sampler:15} {score.answered_by:10} {score.trials:6d} "
        f"{score.regret:6.3f} {score.worst:6.2f} {score.silent:6.2f} {' '.join(texts)}"
    )
