"""The rules that need no search, against formulas by hand.

They are written out in NumPy and SciPy.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.special import softmax
from scipy.stats import entropy

from kdsearch.distill.objectives import objective, pack_term
from kdsearch.distill.training.loss import PackLoss
from kdsearch.distill.views.batches import Batch
from kdsearch.errors import RequestError
from kdsearch.spec import load_spec
from kdsearch.spec.sections import Objective

SETS = json.loads((Path(__file__).parent / "kd_reference_values.json").read_text())["logit_sets"]
DRAW = np.random.default_rng(0)
STUDENT, TEACHER = DRAW.normal(size=(3, 6, 5)), 4 * DRAW.normal(size=(6, 5))
LABELS = torch.tensor([0, 1, 2, 3, 4, 0])
BATCH = Batch(torch.zeros(6, 1, 2, 2), LABELS, None, None, torch.arange(6))
RULES = {"entropy_rule": {"target": 0.3}, "max_logit_rule": {"ratio": 2.0}}


def by_hand(name, logits, value):
    """Return one example's temperature."""
    n = len(logits)
    if name == "max_logit_rule":
        return (logits.max() - logits.mean()) / (value * np.log(n))
    return brentq(lambda t: entropy(softmax(logits / t)) - value * np.log(n), 0.01, 1e4, xtol=1e-12)


def kd_by_hand(student, teacher, temperatures):
    """Return the mean over examples of T² KL.

    Each example has its own temperature.
    """
    rows = zip(student, teacher, temperatures, strict=True)
    return np.mean([t**2 * entropy(softmax(b / t), softmax(a / t)) for a, b, t in rows])


@pytest.mark.parametrize("value", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("logit_set", SETS)
@pytest.mark.parametrize("name", RULES)
def test_the_loss_is_kd_at_each_examples_own_temperature(name, logit_set, value):
    student, teacher = (np.array(SETS[logit_set][side]) for side in ("student", "teacher"))
    expected = kd_by_hand(student, teacher, [by_hand(name, row, value) for row in teacher])
    (option,) = RULES[name]
    given = [torch.tensor(student, requires_grad=True), torch.tensor(teacher)]
    loss = objective(name, **{option: value})(*given, torch.tensor(SETS[logit_set]["targets"]), 7.0)
    loss.backward()
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert given[0].grad.isfinite().all()


@pytest.mark.parametrize("name", RULES)
def test_a_rule_does_not_depend_on_the_scale_and_shift_of_the_teachers_logits(name):
    student, teacher = torch.tensor(STUDENT[0]), torch.tensor(TEACHER)
    at = pack_term(name, {}).rule
    options = {key: torch.tensor([v]).double() for key, v in pack_term(name, {}).defaults.items()}
    found, scaled = at(teacher[None], **options), at(3 * teacher[None] + 20, **options)
    torch.testing.assert_close(scaled, 3 * found, rtol=1e-5, atol=0)
    assert objective(name)(teacher, teacher, LABELS, 1.0).item() == pytest.approx(0, abs=1e-12)
    assert objective(name)(student, teacher, LABELS, 1.0) == objective(name)(student, teacher, LABELS, 40.0)


def test_half_of_the_probability_is_the_first_classs_at_a_ratio_of_1():
    teacher = torch.zeros(1, 1, 100, dtype=torch.float64)
    teacher[..., 3] = 12
    at = pack_term("max_logit_rule", {}).rule(teacher, ratio=torch.ones(1).double())
    assert (teacher / at[..., None]).softmax(-1)[0, 0, 3].item() == pytest.approx(0.51, abs=0.01)


def test_classes_that_tie_leave_a_finite_loss():
    for name in RULES:
        student = torch.tensor(STUDENT[0], requires_grad=True)
        loss = objective(name)(student, torch.ones(6, 5).double(), LABELS, 4.0)
        loss.backward()
        assert loss.isfinite()
        assert student.grad.isfinite().all()


@pytest.mark.parametrize("name", RULES)
def test_students_of_a_pack_may_have_rules_of_their_own(name):
    """Loss and soft distributions; the last student has no teacher at all."""
    (option,) = RULES[name]
    values = [0.3, 0.6, 0.5]
    alphas = [1.0, 0.4, 0.0]
    sections = [
        Objective(name=name, alpha=alpha, options={option: value})
        for alpha, value in zip(alphas, values, strict=True)
    ]
    loss = PackLoss(sections, dtype=torch.float64)
    found, _ = loss(loss.on(BATCH, torch.tensor(TEACHER), 1), torch.tensor(STUDENT))
    of_student, of_teacher = loss.softened(torch.tensor(STUDENT), torch.tensor(TEACHER))
    for k, (alpha, value) in enumerate(zip(alphas, values, strict=True)):
        temperatures = np.array([by_hand(name, row, value) if alpha else 4.0 for row in TEACHER])
        supervised = -np.mean(np.log(softmax(STUDENT[k], axis=1)[range(6), LABELS]))
        expected = alpha * kd_by_hand(STUDENT[k], TEACHER, temperatures) + (1 - alpha) * supervised
        assert found[k].item() == pytest.approx(expected, rel=1e-5)
        np.testing.assert_allclose(of_student[k], STUDENT[k] / temperatures[:, None], rtol=1e-5)
        np.testing.assert_allclose(of_teacher[k], TEACHER / temperatures[:, None], rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("entropy_rule", {"target": 1.0}, "options.target` must be between 0 and 1, got 1"),
        ("max_logit_rule", {"ratio": 0.0}, "options.ratio` must be above 0, got 0"),
        ("max_logit_rule", {"target": 0.5}, "options.target` is not an option of 'max_logit_rule'"),
    ],
)
def test_an_option_out_of_its_bounds_is_named(name, options, message):
    with pytest.raises(RequestError, match=message):
        objective(name, **options)
    with pytest.raises(ValueError, match=message):
        Objective(name=name, options=options)


def test_the_studies_ask_for_the_rules():
    for study in ("f1-small", "f1"):
        spec = load_spec(f"studies/paper/{study}.yaml")
        assert {*RULES, "kd"} <= set(spec.setup["objective.name"])
