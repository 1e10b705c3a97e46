"""A study scripted with Ray Tune and Optuna, whatever is trained.

It is as a user scripts it from their documentation.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from optuna import Trial
from ray import tune
from ray.tune.search.optuna import OptunaSearch

from kdsearch.spec import Choices, StudySpec, encode_level, load_spec


class Space:
    """The define-by-run space of a study. A class, because Tune pickles its searcher."""

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


def tune_plainly(train: Callable[[dict[str, Any]], None], spec: StudySpec, folder: Path) -> int:
    """Run the spec's budget of trials and return how many ended.

    A trial has one student.

    Args:
        train: Trains one student at a point and reports `val_accuracy` after each epoch.
        spec: The study; `OptunaSearch` samples setups and tuned parameters at once.
        folder: Where Tune keeps its files.
    """
    tuner = tune.Tuner(
        tune.with_resources(train, {"cpu": 1}),
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearch(Space(spec), metric="val_accuracy", mode="max"),
            num_samples=spec.search.trials,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(verbose=0, storage_path=str(folder)),
    )
    results = tuner.fit()
    ended: int = len(results) - results.num_errors
    return ended


def run_file(words: Sequence[str], run: Callable[[StudySpec, Path], int]) -> str | int:
    """Run the plain study of a file; return what a process ends with.

    Args:
        words: The study file, a folder for Tune's files, and what the file's values are replaced by.
        run: Runs its trials and returns how many ended.
    """
    spec = load_spec(Path(words[0]), overrides=words[2:])
    ended = run(spec, Path(words[1]))
    return 0 if ended == spec.search.trials else f"{ended} of {spec.search.trials} trials ended."
