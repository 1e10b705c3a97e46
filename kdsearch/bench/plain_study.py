"""The study that a user scripts from the documentation of Ray Tune and Optuna: the baseline of `study`.

One student a Ray trial, sampled by `OptunaSearch` over setups, temperature and learning rate at once. The
teachers are trained beforehand; each trial has one thread.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from optuna import Trial
from ray import tune
from ray.tune.search.optuna import OptunaSearch

from kdsearch.bench.plain_loop import PlainLoop
from kdsearch.distill.data import load_dataset
from kdsearch.distill.models import build_model
from kdsearch.distill.teachers import ensure_teacher, load_teacher, recipe_of
from kdsearch.spec import Choices, StudySpec, encode_level, load_spec


class Space:
    """The define-by-run space of a study; a class, because Tune pickles its searcher."""

    def __init__(self, spec: StudySpec) -> None:
        self._spec = spec

    def __call__(self, trial: Trial) -> None:
        """Suggest a setup, and then the tuned parameters in its ranges."""
        setup = {
            path: trial.suggest_categorical(path, [encode_level(level) for level in levels])
            for path, levels in self._spec.setup.items()
        }
        for path, dimension in self._spec.dimensions(setup).items():
            if isinstance(dimension, Choices):
                trial.suggest_categorical(path, dimension.choices)
            else:
                trial.suggest_float(path, dimension.low, dimension.high, log=dimension.log)


def run_plain_study(spec: StudySpec, artifacts: Path) -> int:
    """Run the spec's budget of trials and return how many ended."""

    def train(config: dict[str, Any]) -> None:
        torch.set_num_threads(1)
        training = spec.with_values(config)
        data = load_dataset(training.dataset)
        student = build_model(
            training.student.arch, data.num_classes, data.in_channels, image_size=data.image_size
        )
        teacher = load_teacher(ensure_teacher(recipe_of(training), artifacts))
        loop = PlainLoop(training, data, student, teacher, torch.device("cpu"))
        for _ in range(training.training.epochs):
            loop.run_epoch()
            tune.report({"val_accuracy": loop.validation_accuracy()})

    tuner = tune.Tuner(
        tune.with_resources(train, {"cpu": 1}),
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearch(Space(spec), metric="val_accuracy", mode="max"),
            num_samples=spec.search.trials,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(verbose=0, storage_path=str(artifacts / "tune")),
    )
    results = tuner.fit()
    ended: int = len(results) - results.num_errors
    return ended


if __name__ == "__main__":
    study = load_spec(Path(sys.argv[1]), overrides=sys.argv[3:])
    ended = run_plain_study(study, Path(sys.argv[2]))
    sys.exit(0 if ended == study.search.trials else f"{ended} of {study.search.trials} trials ended.")
