"""What each pruner does to the answers: its regret, its bias in temperature, and the epochs it saves.

Simulated students rise slower the higher their temperature, as under SGD, and end where the truth says.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import click
import numpy as np

from kdsearch.analysis import best
from kdsearch.bench.simulated_record import SimulatedRecord
from kdsearch.bench.simulation import SimulatedStudy, simulated_study
from kdsearch.search import Pack, PackAsker, build_proposer
from kdsearch.search.pruning import under_floor
from kdsearch.spec import TEMPERATURE, Params, Setup
from kdsearch.spec.catalogue import PRUNERS
from kdsearch.storage import HOPELESS, TrialRow
from kdsearch.trial import Trial

_CHANCE = 0.05
_SPEEDS = (8.0, 2.5)  # of the rise over a training, at the lowest and the highest temperature
_WIGGLE = 0.003


class CurvedStudy(SimulatedRecord):
    """A simulated study whose trials have accuracy curves; what is started is still to be trained."""

    def __init__(self, study: SimulatedStudy) -> None:
        super().__init__(study)
        self._curves: dict[int, dict[int, float]] = {}
        self._rng = np.random.default_rng(study.spec.search.seed)

    @property
    def epochs_spent(self) -> int:
        """How many epochs all trials trained."""
        return sum(len(curve) for curve in self._curves.values())

    def curves(self, numbers: Sequence[int]) -> Mapping[int, Mapping[int, float]]:
        """Return the validation accuracy by epoch of the trials with these numbers."""
        return {number: self._curves[number] for number in numbers}

    def start(self, setup: Setup, params: Sequence[Params], pack: str) -> list[Trial]:  # noqa: ARG002
        """Return trials of a setup, still to be trained."""
        spec = self.study.spec
        first = len(self.study.rows)
        return [
            Trial(first + k, first + k, setup, own, spec.resolve(setup, own)) for k, own in enumerate(params)
        ]

    def train(self, pack: Pack) -> None:
        """Train a pack under its floors."""
        for trial in pack.trials:
            row = self.study.run(trial.setup, trial.params)
            curve = self._curve(trial, row.val_accuracy or 0.0)
            under = [e for e, value in curve.items() if under_floor(pack.floors, e, {"val_accuracy": value})]
            if under:
                curve = {epoch: value for epoch, value in curve.items() if epoch <= under[0]}
                self.study.rows[-1] = self._pruned(row, under[0])
            self._curves[row.number] = curve

    def _pruned(self, row: TrialRow, epoch: int) -> TrialRow:
        pruner = self.study.spec.search.pruner
        reason = f"{HOPELESS if pruner == 'hopeless' else pruner} at epoch {epoch}"
        return replace(row, state="pruned", reason=reason, epochs=epoch, val_accuracy=None)

    def _curve(self, trial: Trial, final: float) -> dict[int, float]:
        n_epochs = trial.epochs
        unit = self.study.position(trial.setup, float(trial.params[TEMPERATURE]))
        speed = _SPEEDS[0] + (_SPEEDS[1] - _SPEEDS[0]) * unit
        epochs = np.arange(1, n_epochs + 1)
        risen = np.expm1(-speed * epochs / n_epochs) / math.expm1(-speed)
        values = _CHANCE + (final - _CHANCE) * risen + _WIGGLE * self._rng.standard_normal(n_epochs)
        values[-1] = final
        return dict(zip(epochs.tolist(), np.clip(values, 0, 1).tolist(), strict=True))


@dataclass(frozen=True)
class PrunerScore:
    """What one pruner does to the answers.

    `regret` is the mean in points, `bias` the mean log ratio of the recommended to the true best temperature;
    the others are the shares of trials pruned, of epochs trained, and of setups without an answer.
    """

    pruner: str
    regret: float
    bias: float
    pruned: float
    epochs: float
    silent: float


def score_pruner(pruner: str, n_trials: int, seeds: Sequence[int], *, pack: int = 4) -> PrunerScore:
    """Return a pruner's score on simulated studies of 12 setups, one for each seed."""
    regrets: list[float] = []
    ratios: list[float] = []
    pruned, spent, wanted, n_silent = 0, 0, 0, 0
    for seed in seeds:
        study = simulated_study("shared", seed, n_trials=n_trials, pack=pack)
        search = study.spec.search.model_copy(update={"pruner": pruner})
        study.spec = study.spec.model_copy(update={"search": search})
        record = CurvedStudy(study)
        asker = PackAsker(study.spec, record, build_proposer(study.spec))
        while (room := n_trials - len(study.rows)) and (asked := asker.ask(f"p{len(study.rows)}", room)):
            record.train(asked)
        pruned += sum(row.state == "pruned" for row in study.rows)
        spent += record.epochs_spent
        wanted += n_trials * study.spec.training.epochs
        for answer in best(study.spec, study.rows).setups:
            if answer.temperature is None:
                n_silent += 1
                continue
            dimension = study.spec.dimensions(answer.setup)[TEMPERATURE]
            regrets.append(study.regret(answer.setup, answer.temperature))
            truth = dimension.from_unit(study.truth(answer.setup).best)
            ratios.append(math.log(answer.temperature / float(truth)))  # type: ignore[arg-type]  # a number
    return PrunerScore(
        pruner=pruner,
        regret=float(np.mean(regrets)),
        bias=float(np.mean(ratios)),
        pruned=pruned / (n_trials * len(seeds)),
        epochs=spent / wanted,
        silent=n_silent / (n_silent + len(regrets)),
    )


@click.command("pruning")
@click.option("--trials", default=144, show_default=True, help="Trials of each study, of 12 setups.")
@click.option("--studies", default=20, show_default=True, help="Simulated studies for each pruner.")
@click.option("--format", "output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def pruning_command(trials: int, studies: int, output: str) -> None:
    """Measure what pruners do to the answers, where early accuracy favours low temperatures."""
    scores = [score_pruner(pruner, trials, range(studies)) for pruner in PRUNERS]
    if output == "json":
        click.echo(json.dumps([asdict(score) for score in scores]))
        return
    click.echo("pruner    regret, points  bias, log T  pruned  epochs spent  silent")
    for s in scores:
        click.echo(
            f"{s.pruner:<9} {s.regret:14.3f} {s.bias:+12.3f} {s.pruned:7.0%} {s.epochs:13.0%} {s.silent:7.0%}"
        )
