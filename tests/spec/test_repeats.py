"""Who asks for one training under several names is told."""

from typing import Any

import pytest

from kdsearch.spec import TEMPERATURE, load_spec
from kdsearch.spec.repeats import repeated_baselines

TEACHERS = {"teacher.finetune.epochs": [5, 20, 40]}


def note(**sections: Any) -> str | None:
    return repeated_baselines(
        load_spec({"name": "s", "tune": {TEMPERATURE: {"low": 1, "high": 40}}, **sections})
    )


def test_a_baseline_that_is_trained_for_each_teacher_is_told() -> None:
    told = note(setup={**TEACHERS, "objective.alpha": [0, 0.9]})
    assert told is not None
    assert told.startswith(
        "3 setups have `objective.alpha: 0`, which uses no teacher, and are the same training"
    )
    told = note(setup={**TEACHERS, "objective.alpha": [0, 0.9], "optimizer.name": ["sgd", "adamw"]})
    assert told is not None
    assert "6 setups have" in told
    assert "are only 2 different trainings" in told


@pytest.mark.parametrize(
    "sections",
    [
        {"setup": {**TEACHERS, "objective.alpha": [0.5, 0.9]}},
        {"setup": {"optimizer.name": ["sgd", "adamw"], "objective.alpha": [0, 0.9]}},
        {"setup": {**TEACHERS, "objective.alpha": [0, 0.9]}, "trainer": "mine:train"},
    ],
)
def test_setups_that_differ_are_not(sections: dict[str, Any]) -> None:
    assert note(**sections) is None
