"""Callbacks that report from Lightning's and Hugging Face's loops to a search."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Report: TypeAlias = Callable[[int, Mapping[str, float]], bool]
"""What an own trainer is given: it takes an epoch, from 1, and metrics; it returns whether to stop."""


def lightning_callback(report: Report, accuracy: str = "val_acc") -> Any:
    """Return a callback for Lightning: it reports validations, and stops.

    Args:
        report: What the trainer was given.
        accuracy: The name under which the module logs its validation accuracy, a fraction.

    Raises:
        ImportError: Neither `lightning` nor `pytorch_lightning` is installed.

    Example:
        `lightning.Trainer(callbacks=[lightning_callback(report)])`
    """
    try:
        from lightning.pytorch.callbacks import Callback
    except ImportError:
        from pytorch_lightning.callbacks import Callback

    class Reporting(Callback):  # type: ignore[misc]  # Lightning is not installed where types are checked
        def on_validation_epoch_end(self, trainer: Any, _module: Any) -> None:
            if trainer.sanity_checking:  # Lightning's trial run before the first epoch
                return
            metrics = {"val_accuracy": _number(trainer.callback_metrics, accuracy)}
            if report(trainer.current_epoch + 1, metrics):
                trainer.should_stop = True

    return Reporting()


def transformers_callback(report: Report, accuracy: str = "eval_accuracy") -> Any:
    """Return a callback for Hugging Face's Trainer: it reports evaluations, and stops.

    Args:
        report: What the trainer was given.
        accuracy: The name of the validation accuracy, a fraction, among the metrics of an evaluation.

    Raises:
        ImportError: `transformers` is not installed.

    Example:
        `transformers.Trainer(..., callbacks=[transformers_callback(report)])`
    """
    from transformers import TrainerCallback

    class Reporting(TrainerCallback):  # type: ignore[misc]  # as above
        def on_evaluate(
            self, _args: Any, state: Any, control: Any, metrics: Mapping[str, Any], **_others: Any
        ) -> None:
            told = {"val_accuracy": _number(metrics, accuracy)}
            if report(max(1, round(state.epoch or 0)), told):
                control.should_training_stop = True

    return Reporting()


def _number(metrics: Mapping[str, Any], name: str) -> float:
    """Return a metric by its name.

    Raises:
        KeyError: There is none of this name.
    """
    if name not in metrics:
        raise KeyError(f"`accuracy` must be the name of a metric, got {name!r}. Known: {', '.join(metrics)}.")
    return float(metrics[name])
