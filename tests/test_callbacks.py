"""Callbacks for loops of others, on stand-ins for these.

The stand-ins have their names and calls.
"""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from kdsearch.callbacks import lightning_callback, transformers_callback


@pytest.fixture(params=["lightning.pytorch", "pytorch_lightning"])
def lightning(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lightning", "lightning.pytorch", "lightning.pytorch.callbacks"):
        monkeypatch.setitem(sys.modules, name, None)  # not installed
    module = ModuleType(f"{request.param}.callbacks")
    module.Callback = type("Callback", (), {})  # type: ignore[attr-defined]
    for name in (request.param, request.param.split(".", maxsplit=1)[0]):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)


def test_lightnings_validations_are_reported_and_it_stops_when_told(lightning: None) -> None:
    told: list[tuple[int, dict]] = []

    def report(epoch: int, metrics: Any) -> bool:
        told.append((epoch, dict(metrics)))
        return epoch == 2

    callback = lightning_callback(report)
    for epoch in range(2):
        trainer = SimpleNamespace(
            sanity_checking=False,
            current_epoch=epoch,
            callback_metrics={"val_acc": 0.5 + epoch / 4},
            should_stop=False,
        )
        callback.on_validation_epoch_end(trainer, None)
        assert trainer.should_stop == (epoch == 1)
    assert told == [(1, {"val_accuracy": 0.5}), (2, {"val_accuracy": 0.75})]
    callback.on_validation_epoch_end(SimpleNamespace(sanity_checking=True), None)
    assert len(told) == 2


def test_a_metric_of_another_name_is_refused(lightning: None) -> None:
    trainer = SimpleNamespace(sanity_checking=False, current_epoch=0, callback_metrics={"val/acc": 0.5})
    with pytest.raises(KeyError, match=r"got 'val_acc'\. Known: val/acc"):
        lightning_callback(lambda *_: False).on_validation_epoch_end(trainer, None)


def test_evaluations_of_hugging_face_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("transformers")
    module.TrainerCallback = type("TrainerCallback", (), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "transformers", module)
    told = []
    callback = transformers_callback(
        lambda epoch, metrics: bool(told.append((epoch, dict(metrics)))) or epoch == 3
    )
    control = SimpleNamespace(should_training_stop=False)
    callback.on_evaluate(None, SimpleNamespace(epoch=2.0), control, {"eval_accuracy": 0.25, "eval_loss": 1.0})
    assert not control.should_training_stop
    callback.on_evaluate(None, SimpleNamespace(epoch=2.9999), control, {"eval_accuracy": 0.5}, model=None)
    assert control.should_training_stop
    assert told == [(2, {"val_accuracy": 0.25}), (3, {"val_accuracy": 0.5})]
