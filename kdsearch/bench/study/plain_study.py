"""The study that a user scripts from the documentation.

It is that of Ray Tune and Optuna, and the baseline of `study`. One student a Ray trial. The teachers are
trained beforehand; each trial has one thread.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from ray import tune

from kdsearch.bench.engine.plain_loop import PlainLoop
from kdsearch.bench.study.plain_tune import run_file, tune_plainly
from kdsearch.distill.data.dataset import load_dataset
from kdsearch.distill.models import build_model
from kdsearch.distill.teachers.made import ensure_teacher, load_teacher, recipe_of
from kdsearch.spec import StudySpec


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

    return tune_plainly(train, spec, artifacts / "tune")


if __name__ == "__main__":
    sys.exit(run_file(sys.argv[1:], run_plain_study))
