"""Settings that do nothing are refused: whoever gave one meant something else."""

from typing import Any

import pytest

from kdsearch.errors import SpecError
from kdsearch.spec import TEMPERATURE, load_spec, load_stored_spec, spec_document

TEMPERATURES = {TEMPERATURE: {"low": 1, "high": 40, "log": True}}


def study(**sections: Any) -> dict[str, Any]:
    return {"name": "s", **sections, "tune": {**TEMPERATURES, **sections.get("tune", {})}}


def setup(path: str, *levels: Any) -> dict[str, Any]:
    return {"setup": {path: list(levels)}}


@pytest.mark.parametrize(
    ("sections", "path", "heals"),
    [
        ({"training": {"gamma": 0.5}}, "training.gamma", setup("training.schedule", "cosine", "step")),
        ({"training": {"milestones": [0.3]}}, "training.milestones", setup("training.schedule", "step")),
        (
            {"training": {"schedule": "my.rates:make", "gamma": 0.5}},
            "training.gamma",
            {"training": {"schedule": "step", "gamma": 0.5}},
        ),
        (
            {"tune": {"training.gamma": {"low": 0.1, "high": 0.5}}},
            "tune.training.gamma",
            {"training": {"schedule": "step"}},
        ),
        ({"training": {"splits": 8}}, "training.splits", {"training": {"splits": 8, "vary": ["split"]}}),
        ({"options": {"width": 8}}, "options.width", {"trainer": "mine:train"}),
        (setup("options.width", 8, 16), "setup.options.width", {"trainer": "mine:train"}),
        ({"tune": {"options.lr": {"low": 0.1, "high": 1}}}, "tune.options.lr", {"trainer": "mine:train"}),
        (
            {"teacher": {"finetune": {"optimizer": "adamw", "momentum": 0.5}}},
            "teacher.finetune.momentum",
            setup("teacher.finetune.optimizer", "adamw", "rmsprop"),
        ),
        (
            {"optimizer": {"name": "my.steps:make", "beta1": 0.5}},
            "optimizer.beta1",
            setup("optimizer.name", "my.steps:make", "adam"),
        ),
        (
            {"teacher": {"finetune": {"epochs": 0}}, **setup("teacher.finetune.lr", 0.1, 0.2)},
            "setup.teacher.finetune.lr",
            {"teacher": {"finetune": {"epochs": 0, "head_epochs": 2}}},
        ),
        (
            {"augment": {"mixup": 0.0}, **setup("training.view_seed", 0, 1)},
            "setup.training.view_seed",
            {"augment": {"flip": True}},
        ),
        (
            {"tune": {"training.view_seed": {"choices": [0, 1]}}},
            "tune.training.view_seed",
            {"tune": {"training.view_seed": {"choices": [0, 1]}, "augment.cutout": {"choices": [0, 4]}}},
        ),
    ],
)
def test_a_setting_that_does_nothing_is_refused(
    sections: dict[str, Any], path: str, heals: dict[str, Any]
) -> None:
    with pytest.raises(SpecError) as refused:
        load_spec(study(**sections))
    (problem,) = refused.value.problems
    assert problem.startswith(f"`{path}` does nothing: ")
    load_spec(study(**{**sections, **heals}))


@pytest.mark.parametrize(
    "sections",
    [
        {"teacher": {"finetune": {"epochs": 0, "lr": 0.2}}},
        {"objective": {"alpha": 0}, **setup("teacher.finetune.epochs", 5, 40)},
    ],
)
def test_a_baseline_of_a_study_leaves_the_rest_of_its_file_as_it_is(sections: dict[str, Any]) -> None:
    load_spec(study(**sections))


def test_what_an_earlier_version_took_stays_readable() -> None:
    stored = {**spec_document(load_spec(study())), "options": {"width": 8}}
    assert load_stored_spec(stored, changed=True).options == {"width": 8}


@pytest.mark.parametrize("path", ["dataset.download", "dataset.skip_bad"])
def test_levels_that_are_the_same_data_are_refused(path: str) -> None:
    with pytest.raises(SpecError, match=f"`setup.{path}` holds for the whole study"):
        load_spec(study(**setup(path, True, False)))


def test_a_pretraining_takes_its_momentum() -> None:
    start = {"dataset": "digits", "epochs": 2, "optimizer": "adamw", "momentum": 0.5}
    with pytest.raises(SpecError, match="must have no `momentum` beside `optimizer: adamw`"):
        load_spec(study(student={"init": start}))
    load_spec(study(student={"init": {**start, "optimizer": "rmsprop"}}))


@pytest.mark.parametrize(
    "sections",
    [
        {"tune": {"options.lr": {"low": 0, "high": 1}}},
        {"tune": {"options.learning-rate": {"choices": [0.1, 0]}}},
        {
            **setup("options.kind", "a", "b"),
            "tune": {
                "options.lr": {
                    "by": "options.kind",
                    "a": {"low": 0.1, "high": 1, "log": True},
                    "b": {"low": 0, "high": 1},
                }
            },
        },
        setup("options.LR", 0.1, 0.0),
        {"options": {"max_lr": -1}},
    ],
)
def test_a_learning_rate_of_ones_own_trainer_is_above_0(sections: dict[str, Any]) -> None:
    with pytest.raises(
        SpecError, match=r"must be above 0: at a learning rate of (0|-1) a student learns noth"
    ):
        load_spec(study(trainer="mine:train", **sections))
    load_spec(study(trainer="mine:train", tune={"options.lr_decay": {"low": 0, "high": 1}}))
