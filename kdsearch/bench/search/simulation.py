"""Simulated studies whose truth is known: accuracy is computed, not trained."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kdsearch.search import Proposer
from kdsearch.search.balance import is_evidence
from kdsearch.seeds import trial_seed
from kdsearch.spec import TEMPERATURE, Params, Setup, StudySpec, load_spec, setup_key
from kdsearch.storage import DIVERGED, TrialRow

Scenario: TypeAlias = Literal["shared", "unshared", "plateau", "flat", "failures", "uneven"]
SCENARIOS: tuple[Scenario, ...] = ("shared", "unshared", "plateau", "flat", "failures", "uneven")

TRAINER = "kdsearch.bench.search.trainer:train"
LOST = "lost worker"

_LR = "optimizer.lr"
_DECAY = "optimizer.weight_decay"
_PLATEAU = 0.15  # half width, of the range: nearly a third of it is equally good
_COUPLING = 0.2  # by hand: how far the best rate moves over the whole range of T
_DIVERGES_ABOVE = 0.35  # of the range above the best rate; by hand


@dataclass(frozen=True)
class SetupTruth:
    """One setup's response. Positions are shares of the ranges, heights and noise are points.

    Accuracy falls from `top` by up to `depth` away from the best temperature and by up to 8 away from the
    best learning rate, which moves with temperature; `flat_top` is the half width of the plateau. With
    `lr_beyond` the best learning rate lies so much further up, as a share of its range: maybe outside.
    """

    top: float
    depth: float
    best: float
    width: float
    best_lr: float
    noise: float
    flat_top: float
    lr_beyond: float = 0.0

    def profile(self, temperature: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the accuracy in points at positions of temperature.

        Other parameters are at their best.
        """
        apart = np.maximum(np.abs(temperature - self.best) - self.flat_top, 0) / self.width
        return np.asarray(self.top - self.depth * -np.expm1(-0.5 * apart**2))

    def lr_at(self, temperature: float) -> float:
        """Return the best learning rate's position at a temperature's position."""
        inside = np.clip(self.best_lr + _COUPLING * (temperature - 0.5), 0.05, 0.95)
        return float(inside) + self.lr_beyond


@dataclass
class SimulatedStudy:
    """A spec, its truth, and trials drawn from that truth.

    Each trial is drawn by its own seed.
    """

    spec: StudySpec
    truths: dict[str, SetupTruth]
    crashes: float = 0.0
    diverges: bool = False
    rows: list[TrialRow] = field(default_factory=list)

    def truth(self, setup: Setup) -> SetupTruth:
        """Return one setup's truth."""
        return self.truths[setup_key(setup)]

    def run(self, setup: Setup, params: Params) -> TrialRow:
        """Train one simulated student and keep its trial.

        It has the seed that a record would give it.
        """
        number = len(self.rows)
        seed = trial_seed(self.spec.search.seed, number)
        accuracy, reason = self.outcome(setup, params, seed)
        row = TrialRow(
            number=number,
            state="complete" if reason is None else "failed",
            reason=reason,
            setup=setup,
            params=params,
            seed=seed,
            epochs=self.spec.training.epochs,
            val_accuracy=accuracy,
            test_accuracy=accuracy,
        )
        self.rows.append(row)
        return row

    def search(self, proposer: Proposer, n_trials: int) -> Sequence[TrialRow]:
        """Run packs that a proposer asks for, until so many trials count. Lost workers do not."""
        while (room := n_trials - sum(is_evidence(row) for row in self.rows)) > 0:
            proposal = proposer.propose(self.rows, min(room, self.spec.pack_size))
            for params in proposal.params:
                self.run(proposal.setup, params)
        return self.rows

    def regret(self, setup: Setup, temperature: float) -> float:
        """Return the accuracy in points that a temperature truly loses.

        Other parameters are at their best.
        """
        at = self.position(setup, temperature)
        return float(self.truth(setup).top - self.truth(setup).profile(np.array(at)))

    def position(self, setup: Setup, temperature: float) -> float:
        """Return where a temperature lies in its range."""
        dimension = self.spec.dimensions(setup)[TEMPERATURE]
        return dimension.to_unit(temperature)  # type: ignore[union-attr]  # a range by construction

    def outcome(self, setup: Setup, params: Params, seed: int) -> tuple[float | None, str | None]:
        """Return a trial's accuracy, or None and why it failed.

        The accuracy is a fraction; the seed fixes its luck.
        """
        rng = np.random.default_rng([self.spec.search.seed, seed])
        truth, dimensions = self.truth(setup), self.spec.dimensions(setup)
        units = {path: dimensions[path].to_unit(value) for path, value in params.items()}  # type: ignore[union-attr]
        points = float(truth.profile(np.array(units[TEMPERATURE])))
        if _LR in units:
            apart = units[_LR] - truth.lr_at(units[TEMPERATURE])
            if self.diverges and apart > _DIVERGES_ABOVE:
                return None, DIVERGED
            points -= 8 * -np.expm1(-0.5 * (apart / 0.25) ** 2)
        if _DECAY in units:
            points -= 3 * (units[_DECAY] - 0.5) ** 2
        if rng.random() < self.crashes:
            points -= 15 * rng.random()
        if rng.random() < self.crashes:
            return None, LOST
        points += truth.noise * rng.standard_normal()
        return float(np.clip(points / 100, 0, 1)), None


def simulated_study(
    scenario: Scenario,
    seed: int,
    *,
    levels: Sequence[int] = (2, 3, 2),
    n_trials: int = 96,
    pack: int = 4,
    sampler: str = "profile",
    lr_off: float = 0.0,
    lr_beyond: float = 0.0,
    n_tuned: int = 2,
) -> SimulatedStudy:
    """Return a study with a known truth and no trials.

    Args:
        scenario: What the truth is like; in `shared` and the last three the factors move the best
            temperature, each by a step of its own; in `unshared` every setup has a place of its own.
        seed: Fixes the truth and the noise.
        levels: Number of levels of the factors optimizer, teacher finetuning and pretraining; by default
            12 setups.
        n_trials: The budget that the spec names; 96 are 8 trials for each of 12 setups.
        pack: Trials in a pack; 4 by hand.
        sampler: The sampler that the spec names.
        lr_off: How many decades the best learning rate lies above the spec's default.
        lr_beyond: How far it lies further up, as a share of its range: beyond the range from about 0.5 on.
        n_tuned: 1: temperature alone; 2: and the learning rate; 3: and the weight decay.
    """
    document = _document(scenario, seed, levels, n_trials, pack, sampler, n_tuned)
    origin = {"scenario": scenario, "seed": seed, "lr_off": lr_off, "n_tuned": n_tuned}
    spec = load_spec(
        {**document, "trainer": TRAINER, "options": {**origin, "levels": "x".join(map(str, levels))}}
    )
    rng = np.random.default_rng([seed, SCENARIOS.index(scenario)])
    steps = [rng.normal(0, 0.15, size=n) for n in levels]
    truths = {}
    for setup in spec.setups():
        indices = [list(spec.setup[path]).index(level) for path, level in setup.items()]
        moved = 0.5 + sum(step[index] for step, index in zip(steps, indices, strict=True))
        own = rng.uniform(0.1, 0.9)
        best = own if scenario == "unshared" else float(np.clip(moved + rng.normal(0, 0.03), 0.1, 0.9))
        truths[setup_key(setup)] = SetupTruth(
            top=70 + 2 * sum(indices) + rng.normal(0, 1),
            depth=0.0 if scenario == "flat" else rng.uniform(2, 6),
            best=best,
            width=rng.uniform(0.25, 0.4),
            best_lr=float(np.clip(0.5 + lr_off / 2 + rng.normal(0, 0.05), 0.1, 0.9)),
            noise=float(np.exp(rng.uniform(*np.log([0.1, 1.5]))))
            if scenario == "uneven"
            else rng.uniform(0.2, 0.4),
            flat_top=_PLATEAU if scenario == "plateau" else 0.0,
            lr_beyond=lr_beyond,
        )
    has_failures = scenario == "failures"
    return SimulatedStudy(spec, truths, 0.1 if has_failures else 0.0, has_failures)


def _document(
    scenario: str, seed: int, levels: Sequence[int], n_trials: int, pack: int, sampler: str, n_tuned: int
) -> dict[str, object]:
    tune = {
        TEMPERATURE: {"low": 1, "high": 40, "log": True},
        _LR: {"low": 0.01, "high": 1.0, "log": True},
        _DECAY: {"low": 1e-5, "high": 1e-2, "log": True},
    }
    factors = {
        "optimizer.name": ["sgd", "adam", "adamw", "lion"][: levels[0]],
        "teacher.finetune.epochs": [2, 5, 20, 50][: levels[1]],
        "teacher.arch": [f"mlp_{width}" for width in (32, 64, 128, 256)][: levels[2]],
    }
    return {
        "name": f"{scenario}-{seed}",
        "optimizer": {"lr": 0.1},
        "setup": factors,
        "tune": dict(list(tune.items())[:n_tuned]),
        "search": {"trials": n_trials, "pack": pack, "sampler": sampler, "seed": seed},
    }
