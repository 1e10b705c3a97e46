import pytest

from kdsearch.analysis.labels import (
    duration_text,
    factor_label,
    level_text,
    number_text,
    points_text,
    setup_names,
    temperature_text,
    value_text,
    varied_factors,
    wrapped,
)


def test_only_what_varies_is_in_a_setups_name():
    setups = [
        {"optimizer.name": name, "student.arch": "resnet8", "teacher.finetune.epochs": epochs}
        for name in ("sgd", "adamw")
        for epochs in (2, 20)
    ]
    assert varied_factors(setups) == ["optimizer.name", "teacher.finetune.epochs"]
    assert setup_names(setups) == [
        "sgd · finetune epochs 2",
        "sgd · finetune epochs 20",
        "adamw · finetune epochs 2",
        "adamw · finetune epochs 20",
    ]


def test_a_single_setup_is_named_by_its_levels_and_a_study_without_factors_by_its_trials():
    assert setup_names([{"student.arch": "resnet8"}]) == ["student resnet8"]
    assert setup_names([{}]) == ["all trials"]
    assert setup_names([]) == []


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("optimizer.lr", "optimizer lr"),
        ("teacher.finetune.lr", "finetune lr"),
        ("teacher.finetune.optimizer", "finetune optimizer"),
        ("objective.temperature", "temperature"),
        ("dataset.train_size", "train size"),
        ("options.depth", "depth"),
    ],
)
def test_a_factors_label_is_the_shortest_that_is_not_another_factors(path, label):
    assert factor_label(path) == label


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"weights": "IMAGENET1K_V1", "checkpoint": None}, "IMAGENET1K_V1"),
        ({"dataset": "MNIST", "epochs": 5}, "dataset MNIST, epochs 5"),
        (0.0316227766, "0.0316"),
        (0.9999, "0.9999"),
        (0.99876543, "0.99877"),
        (20, "20"),
        (True, "true"),
        (None, "none"),
    ],
)
def test_values_read_as_a_person_writes_them(value, text):
    assert value_text(value) == text


def test_levels_that_differ_have_names_that_differ():
    levels = [0.999, 0.9999, 0.99995, 1e-7, 0.1 + 0.2, 1000.0, ""]
    texts = ["0.999", "0.9999", "0.99995", "1e-07", "0.3", "1000", "''"]
    assert [level_text("optimizer.beta2", level) for level in levels] == texts
    assert setup_names([{"optimizer.beta2": level} for level in levels]) == [f"beta2 {t}" for t in texts]


def test_temperatures_have_the_digits_that_their_uncertainty_deserves():
    assert [temperature_text(t) for t in (0.5, 6.3246, 12.06)] == ["0.5", "6.3", "12"]


def test_long_names_break_between_levels():
    name = "training epochs 50 · sgd · finetune epochs 2"
    assert wrapped(name, 100) == [name]
    assert wrapped(name, 26) == ["training epochs 50 · sgd", "finetune epochs 2"]
    assert wrapped("a_level_that_is_far_too_long", 10) == ["a_level_t…"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.000123, "0.000123"), (0.5, "0.5"), (99.4, "99.4"), (999.7, "1000"), (1e6, "1000000")],
)
def test_a_number_has_three_digits_and_all_before_the_point(value, text):
    assert number_text(value) == text


@pytest.mark.parametrize(
    ("temperature", "text"),
    [(0.27, "0.27"), (0.996, "1.0"), (1, "1.0"), (3.04, "3.0"), (9.96, "10"), (17.2, "17"), (120, "120")],
)
def test_a_temperature_has_two_digits(temperature, text):
    assert temperature_text(temperature) == text


@pytest.mark.parametrize(
    ("hours", "text"),
    [
        *((None, "–"), (0.0, "0 s"), (7.9e-06, "under 1 s"), (0.0015, "5.4 s"), (0.9999 / 60, "1 min")),
        *((0.5, "30 min"), (0.9999, "1 h"), (3.0, "3 h"), (480.0, "480 h")),
    ],
)
def test_a_duration_is_in_the_unit_that_people_take(hours, text):
    assert duration_text(hours) == text


def test_points_are_never_a_negative_zero():
    assert points_text(-0.0004) == "0.0"
    assert points_text(-0.00004, 2) == "0.00"
    assert points_text(-0.004) == "-0.4"
