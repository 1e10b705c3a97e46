"""What each pruner does to the answers: its regret, its bias in temperature, and the epochs it saves.

Simulated students rise slower the higher their temperature, as under SGD, and end where the truth says. The
higher a learning rate is above the best one, the longer a student stays at chance, up to three quarters of
the training, and rises then, as under a schedule that falls. Where the rate is far too high it diverges: half
of those students to NaN, the others fall to chance and stay there.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TypeAlias

import click
import numpy as np

from kdsearch.analysis import best
from kdsearch.bench.search.record import SimulatedRecord
from kdsearch.bench.search.simulation import SimulatedStudy, simulated_study
from kdsearch.bench.search.summaries import Mean, mean_over
from kdsearch.cli.options import format_option
from kdsearch.search import Pack, PackAsker
from kdsearch.search.pruning import FloorWatch
from kdsearch.spec import TEMPERATURE, Params, Range, Setup
from kdsearch.spec.catalogue import PRUNERS
from kdsearch.storage import DIVERGED, HOPELESS, TrialRow
from kdsearch.trial import Trial

SAMPLERS = ("profile", "random", "qmc")
_LR = "optimizer.lr"
_CHANCE = 0.05  # accuracy of a student that learned nothing, as with 20 classes
_SPEEDS = (8.0, 2.5)  # of the rise over a training, at the lowest and the highest temperature
_WIGGLE = 0.003  # by hand: about the sampling error of 14,000 images at 85%
_TO_NAN = 0.5  # of the diverged, by hand; the others fall to chance
_LATEST = 0.75  # of the training: when the last of the late students begin to rise
_LATE_PER_RANGE = 2.2  # how much later, as a share of the training, over a whole range of rates
_BEST_RATE_DECADES = -0.5  # from the default: a third of the range diverges

Curve: TypeAlias = dict[int, float]


class CurvedStudy(SimulatedRecord):
    """A simulated study whose trials have accuracy curves. What is started is still to be trained."""

    def __init__(self, study: SimulatedStudy) -> None:
        super().__init__(study)
        study.diverges = True
        self.collapsed: set[int] = set()
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
        return [Trial.of(spec, setup, own, number=first + k, seed=first + k) for k, own in enumerate(params)]

    def train(self, pack: Pack) -> None:
        """Train a pack under its floors. What is given up ends after one epoch."""
        watch = FloorWatch(pack.floors, pack.audited, pack.line)
        for trial in pack.trials:
            row = self.study.run(trial.setup, trial.params)
            row, curve = self._diverged(trial, row) if row.reason == DIVERGED else self._risen(trial, row)
            if stopped := _stopped(pack, trial, curve, watch):
                curve = {epoch: value for epoch, value in curve.items() if epoch <= stopped}
                row = replace(self._pruned(row, stopped), val_accuracy=curve[stopped])
            elif row.state == "complete":
                row = replace(row, reason=watch.audit_of(trial.number, row.val_accuracy or 0.0))
            self.study.rows[-1] = row
            self._curves[row.number] = curve

    def _risen(self, trial: Trial, row: TrialRow) -> tuple[TrialRow, Curve]:
        curve = self._curve(trial, row.val_accuracy or 0.0)
        return row, {**curve, trial.epochs: row.val_accuracy or 0.0}

    def _diverged(self, trial: Trial, row: TrialRow) -> tuple[TrialRow, Curve]:
        """Return a trial that diverges in its training's first half.

        It ends in NaN, or falls to chance.
        """
        start = int(self._rng.integers(1, trial.epochs // 2 + 1))
        unit = np.array(self.study.position(trial.setup, float(trial.params[TEMPERATURE])))
        curve = self._curve(trial, float(self.study.truth(trial.setup).profile(unit)) / 100)
        before = {epoch: value for epoch, value in curve.items() if epoch < start}
        if self._rng.random() < _TO_NAN:
            return replace(row, epochs=start), before
        self.collapsed.add(row.number)
        after = {epoch: self._near(_CHANCE) for epoch in range(start, trial.epochs + 1)}
        whole = {**before, **after}
        fallen = replace(row, state="complete", reason=None, val_accuracy=whole[trial.epochs])
        return fallen, whole

    def _near(self, accuracy: float) -> float:
        return float(np.clip(accuracy + _WIGGLE * self._rng.standard_normal(), 0, 1))

    def _pruned(self, row: TrialRow, epoch: int) -> TrialRow:
        pruner = self.study.spec.search.pruner
        reason = f"{HOPELESS if pruner == 'hopeless' else pruner} at epoch {epoch}"
        return replace(row, state="pruned", reason=reason, epochs=epoch)

    def _begins(self, trial: Trial, unit: float) -> float:
        """Return when a student begins to rise, as a share of training.

        It is late where its learning rate is high.
        """
        rates = self.study.spec.dimensions(trial.setup)[_LR]
        assert isinstance(rates, Range)  # noqa: S101 - the benchmark's specs tune ranges
        above = rates.to_unit(float(trial.params[_LR])) - self.study.truth(trial.setup).lr_at(unit)
        return float(np.clip(_LATE_PER_RANGE * above, 0.0, _LATEST))

    def _curve(self, trial: Trial, final: float) -> Curve:
        """Return how a student would rise to its final accuracy."""
        n_epochs = trial.epochs
        unit = self.study.position(trial.setup, float(trial.params[TEMPERATURE]))
        speed = _SPEEDS[0] + (_SPEEDS[1] - _SPEEDS[0]) * unit
        done = np.arange(1, n_epochs + 1) / n_epochs
        begins = self._begins(trial, unit)
        risen = np.expm1(-speed * np.maximum(done - begins, 0) / (1 - begins)) / math.expm1(-speed)
        values = _CHANCE + (final - _CHANCE) * risen
        return {epoch: self._near(value) for epoch, value in enumerate(values.tolist(), start=1)}


def _stopped(pack: Pack, trial: Trial, curve: Curve, watch: FloorWatch) -> int | None:
    """Return after which epoch a trial is stopped. None where it is trained to its end."""
    given_up = trial.number in pack.given_up
    for epoch, accuracy in curve.items():
        is_early = given_up and epoch < trial.epochs
        if is_early or watch.stops(trial.number, epoch, {"val_accuracy": accuracy}):
            return epoch
    return None


@dataclass(frozen=True)
class PrunerScore:
    """What one pruner does to the answers of some studies.

    Attributes:
        pruner: Its name.
        regret: Of the recommended temperatures, in points.
        bias: The log ratio of the recommended to the true best temperature.
        pruned: The share of sound trials that were pruned.
        caught: The share of trials fallen to chance that were pruned; None where there were none.
        epochs: The share of the asked epochs that were trained.
        silent: The share of setups without an answer.
    """

    pruner: str
    regret: Mean
    bias: Mean
    pruned: Mean
    caught: Mean | None
    epochs: Mean
    silent: Mean


def score_pruner(
    pruner: str, n_trials: int, seeds: Sequence[int], *, sampler: str = "profile", pack: int = 4
) -> PrunerScore:
    """Return a pruner's score on simulated studies, one for each seed.

    A study has 12 setups.
    """
    studies = [_score_study(_trained(pruner, sampler, n_trials, seed, pack)) for seed in seeds]

    def mean(name: str) -> Mean:
        return mean_over([found[name] for found in studies]) or Mean(math.nan, None)

    return PrunerScore(
        pruner=pruner,
        regret=mean("regret"),
        bias=mean("bias"),
        pruned=mean("pruned"),
        caught=mean_over([found["caught"] for found in studies]),
        epochs=mean("epochs"),
        silent=mean("silent"),
    )


def _trained(pruner: str, sampler: str, n_trials: int, seed: int, pack: int) -> CurvedStudy:
    study = simulated_study(
        "shared", seed, n_trials=n_trials, pack=pack, sampler=sampler, lr_off=_BEST_RATE_DECADES
    )
    search = study.spec.search.model_copy(update={"pruner": pruner})
    study.spec = study.spec.model_copy(update={"search": search})
    record = CurvedStudy(study)
    asker = PackAsker(study.spec, record)
    while (room := n_trials - len(study.rows)) and (asked := asker.ask(f"p{len(study.rows)}", room)):
        record.train(asked)
    return record


def _score_study(record: CurvedStudy) -> dict[str, list[float]]:
    """Return each value of one study under the name of its mean."""
    study = record.study
    answers = best(study.spec, study.rows).setups
    answered = [(found.setup, found.temperature) for found in answers if found.temperature is not None]
    sound = [row for row in study.rows if row.reason != DIVERGED and row.number not in record.collapsed]
    fallen = [row for row in study.rows if row.number in record.collapsed]
    return {
        "regret": [study.regret(setup, temperature) for setup, temperature in answered],
        "bias": [math.log(temperature / _best(study, setup)) for setup, temperature in answered],
        "pruned": [float(row.state == "pruned") for row in sound],
        "caught": [float(row.state == "pruned") for row in fallen],
        "epochs": [record.epochs_spent / (len(study.rows) * study.spec.training.epochs)],
        "silent": [1 - len(answered) / len(answers)],
    }


def _best(study: SimulatedStudy, setup: Setup) -> float:
    dimension = study.spec.dimensions(setup)[TEMPERATURE]
    return float(dimension.from_unit(study.truth(setup).best))  # type: ignore[arg-type]  # a number


@click.command("pruning")
@click.option("--trials", default=144, show_default=True, help="Trials of each study, of 12 setups.")
@click.option("--studies", default=20, show_default=True, help="Simulated studies for each pruner.")
@click.option("--sampler", type=click.Choice(SAMPLERS), default="profile", show_default=True)
@format_option
def pruning_command(trials: int, studies: int, sampler: str, output: str) -> None:
    """Measure what pruners do to the answers.

    Early accuracy favours low temperatures here.
    """
    scores = [score_pruner(pruner, trials, range(studies), sampler=sampler) for pruner in PRUNERS]
    if output == "json":
        click.echo(json.dumps([asdict(score) for score in scores]))
        return
    click.echo(
        "pruner    regret, points  bias, log T  sound pruned  fallen pruned  epochs spent       silent"
    )
    for s in scores:
        columns = [s.regret, s.bias, s.pruned, s.caught or "-", s.epochs, s.silent]
        widths = (14, 12, 13, 14, 13, 12)
        texts = [f"{column!s:>{width}}" for column, width in zip(columns, widths, strict=True)]
        click.echo(f"{s.pruner:<9} {' '.join(texts)}")
