import json
import math
from pathlib import Path

import pytest
import torch
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy
from torch.nn import functional as F

from kdsearch.distill.objectives import OBJECTIVES, objective, pack_term
from kdsearch.distill.objectives.relational import batch_alignment, class_alignment
from kdsearch.distill.objectives.softened import adversity, ctkd, kd, standardized
from kdsearch.errors import RequestError
from kdsearch.spec import catalogue

REFERENCE = json.loads((Path(__file__).parent / "kd_reference_values.json").read_text())
NAMED = {
    "kd": ("kd.mdistiller.kd_loss", {}),
    "dkd": ("dkd.mdistiller.a1b8", {}),
    "dkd target": ("dkd.mdistiller.tckd", {"alpha": 1, "beta": 0}),
    "dkd others": ("dkd.mdistiller.nckd", {"alpha": 0, "beta": 1}),
    "dist": ("dist.hunto.b1g1", {}),
    "dist by example": ("dist.hunto.inter", {"beta": 1, "gamma": 0}),
    "dist by class": ("dist.hunto.intra", {"beta": 0, "gamma": 1}),
    "logit_standardization": ("ls_kd.sunshangquan", {}),
    "logit_standardization dkd": ("ls_dkd.sunshangquan.a1b8", {"base": "dkd"}),
    "nkd": ("nkd.cls_kd.gamma1.5", {}),
    "nkd target": ("nkd.cls_kd.target_only", {"gamma": 0}),
}
SETS = list(REFERENCE["values"])
TEMPERATURES = [1, 2, 4, 10, 40]  # the usual range, with both of its ends
ALL_NAMES = [*OBJECTIVES, "logit_standardization"]


def test_a_study_file_names_what_the_engine_has_and_each_option_of_it() -> None:
    named = dict(catalogue.OBJECTIVES)
    assert named.pop("logit_standardization") == ("base",)
    options = {name: set(term.option_names()) for name, term in OBJECTIVES.items()}
    assert {name: set(own) - set(catalogue.WORDS) for name, own in named.items()} == options


def logits_of(name, dtype=torch.float64):
    values = REFERENCE["logit_sets"][name]
    student, teacher = (torch.tensor(values[side], dtype=dtype) for side in ("student", "teacher"))
    return student.requires_grad_(), teacher, torch.tensor(values["targets"])


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("logit_set", SETS)
@pytest.mark.parametrize("case", NAMED)
def test_value_and_gradient_are_the_reference(case, logit_set, temperature):
    key, options = NAMED[case]
    expected = REFERENCE["values"][logit_set][key][str(temperature)]
    student, teacher, targets = logits_of(logit_set)
    loss = objective(case.split()[0], **options)(student, teacher, targets, temperature)
    loss.backward()
    assert loss.item() == pytest.approx(expected["loss"], rel=1e-9)
    assert student.grad.norm().item() == pytest.approx(expected["grad_l2"], rel=1e-9)
    assert student.grad.abs().max().item() == pytest.approx(expected["grad_linf"], rel=1e-9)
    if "grad" in expected:
        reference = torch.tensor(expected["grad"], dtype=torch.float64)
        assert (student.grad - reference).norm() <= 1e-9 * reference.norm()


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("logit_set", SETS)
@pytest.mark.parametrize(("part", "key"), [(class_alignment, "cc_loss"), (batch_alignment, "bc_loss")])
def test_alignment_is_the_reference(part, key, logit_set, temperature):
    expected = REFERENCE["values"][logit_set][f"mlkd.{key}"][str(temperature)]
    student, teacher, _ = logits_of(logit_set)
    at = torch.tensor([temperature], dtype=torch.float64)
    loss = part(student[None], teacher[None], at).sum()
    loss.backward()
    assert loss.item() == pytest.approx(expected["loss"], rel=1e-9)
    assert student.grad.norm().item() == pytest.approx(expected["grad_l2"], rel=1e-9)


@pytest.mark.parametrize(
    ("code", "on"),
    [("KD_ours(Jin-Ying)", lambda z: z), ("MLKD(sunshangquan, LOGIT_STAND=True)", standardized)],
)
def test_the_parts_of_mlkd_make_up_the_published_loss(code, on):
    """The published loss masks half of each weak term.

    It mixes weak and strong views.
    """
    reference = REFERENCE["mlkd_full"]
    sides = ("student_weak", "teacher_weak", "student_strong", "teacher_strong")
    sw, tw, ss, ts = (torch.tensor(reference[side], dtype=torch.float64)[None] for side in sides)
    levels = [torch.tensor([t], dtype=torch.float64) for t in (4, 3, 5, 2, 6)]
    targets = torch.tensor(reference["targets"])
    weak = [kd(on(sw), on(tw), targets, t).mean() for t in levels]
    strong = [kd(on(ss), on(ts), targets, t).mean() for t in levels[:3]]
    total = 0.5 * sum(weak) + sum(strong) + sum(weak[3:])
    assert total.item() == pytest.approx(reference[code]["loss_kd"], rel=1e-9)
    aligned = 0.5 * sum(class_alignment(sw, tw, t) for t in levels)
    assert aligned.item() == pytest.approx(reference[code]["loss_cc"], rel=1e-9)
    aligned = 0.5 * sum(batch_alignment(sw, tw, t) for t in levels)
    assert aligned.item() == pytest.approx(reference[code]["loss_bc"], rel=1e-9)


@pytest.mark.parametrize("temperature", [1, 4])
@pytest.mark.parametrize("logit_set", SETS)
def test_divergences_are_those_of_torch_and_scipy(logit_set, temperature):
    student, teacher, targets = logits_of(logit_set)
    p, q = (F.softmax(z.detach() / temperature, dim=-1) for z in (teacher, student))
    forward, reverse = entropy(p, q, axis=1).mean(), entropy(q, p, axis=1).mean()
    js = (jensenshannon(p, q, axis=1) ** 2).mean()
    expected = {"forward": forward, "reverse": reverse, "jeffreys": forward + reverse, "js": js}
    for name, value in expected.items():
        found = objective("kd", divergence=name)(student, teacher, targets, temperature)
        assert found.item() == pytest.approx(temperature**2 * value, rel=1e-9)
        assert torch.autograd.grad(found, student)[0].isfinite().all()


def test_divergences_are_alike_where_temperature_is_high():
    student, teacher, targets = logits_of(SETS[0])
    at = {
        name: objective("kd", divergence=name)(student, teacher, targets, 1e4).item()
        for name in ("forward", "reverse", "jeffreys", "js")
    }
    assert [at[name] / at["forward"] for name in at] == pytest.approx([1, 1, 2, 0.25], rel=1e-3)


def test_a_divergence_acts_on_standardised_logits_too():
    student, teacher, targets = logits_of(SETS[0])
    ready = standardized(student[None])[0], standardized(teacher[None])[0]
    expected = objective("kd", divergence="reverse")(*ready, targets, 3.0)
    found = objective("logit_standardization", base="kd", divergence="reverse")(
        student, teacher, targets, 3.0
    )
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("base", ["plain", "standardised"])
def test_mlkd_sums_kd_and_both_alignments_from_2_to_6_at_temperature_4(base):
    student, teacher, targets = logits_of("rand8x10")
    on = standardized if base == "standardised" else (lambda z: z)
    name, options = ("mlkd", {}) if base == "plain" else ("logit_standardization", {"base": "mlkd"})
    expected = 0.0
    for level in (2, 3, 4, 5, 6):
        at = torch.tensor([level], dtype=torch.float64)
        expected += kd(on(student[None]), on(teacher[None]), targets, at).mean()
        expected += batch_alignment(student[None], teacher[None], at).sum()
        expected += class_alignment(student[None], teacher[None], at).sum()
    assert objective(name, **options)(student, teacher, targets, 4).item() == pytest.approx(
        expected.item(), rel=1e-12
    )


@pytest.mark.parametrize("logit_set", list(REFERENCE["ctkd"]["cases"]))
@pytest.mark.parametrize(("epoch", "factor"), [(5, "-0.5"), (10, "-1.0"), (12, "-1.0")])
def test_ctkd_learns_against_the_student(logit_set, epoch, factor):
    expected = REFERENCE["ctkd"]["cases"][logit_set][factor]
    student, teacher, targets = logits_of(logit_set)
    theta = torch.ones(1, dtype=torch.float64, requires_grad=True)
    loops = torch.full((1,), 10.0, dtype=torch.float64)
    unused = torch.ones(1, dtype=torch.float64)
    losses = ctkd(student[None], teacher[None], targets, unused, epoch=epoch, theta=theta, loops=loops)
    losses.mean().backward()
    assert losses.mean().item() == pytest.approx(expected["loss"], rel=1e-9)
    assert theta.grad.item() == pytest.approx(expected["grad_theta"], rel=1e-9)
    assert student.grad.norm().item() == pytest.approx(expected["grad_student_l2"], rel=1e-9)


def test_adversity_is_the_reference():
    loops = torch.tensor([10.0], dtype=torch.float64)
    for epoch, factor in REFERENCE["ctkd"]["lambda_by_epoch"].items():
        assert adversity(int(epoch), loops).item() == pytest.approx(factor, abs=1e-12)


@pytest.mark.parametrize("logit_set", SETS)
def test_mse_is_the_limit_of_kd(logit_set):
    properties = list(REFERENCE["properties"][logit_set].values())
    student, teacher, targets = logits_of(logit_set)
    limit = objective("mse")(student, teacher, targets, 3.0).item()
    assert limit == pytest.approx(properties[0], rel=1e-12)
    assert objective("kd")(student, teacher, targets, 1e4).item() == pytest.approx(properties[1], rel=1e-6)
    assert objective("kd")(student, teacher, targets, 1e5).item() == pytest.approx(limit, rel=1e-3)


def test_kd_at_temperature_1_is_cross_entropy_less_the_teachers_entropy():
    student, teacher, targets = logits_of("rand8x10")
    p = teacher.softmax(-1)
    expected = F.cross_entropy(student, p) + (p * p.log()).sum(-1).mean()
    assert objective("kd")(student, teacher, targets, 1).item() == pytest.approx(expected.item(), rel=1e-12)


def test_the_student_may_have_a_temperature_of_its_own():
    student, teacher, targets = logits_of("rand8x10")
    expected = 16 * F.kl_div(
        F.log_softmax(student / 2, -1), F.softmax(teacher / 4, -1), reduction="batchmean"
    )
    loss = objective("kd", student_temperature=2.0)(student, teacher, targets, 4.0)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    same = objective("kd", student_temperature=4.0)(student, teacher, targets, 4.0)
    assert same.item() == objective("kd")(student, teacher, targets, 4.0).item()


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("logit_set", SETS)
@pytest.mark.parametrize("case", ["kd", "dkd", "nkd", "logit_standardization", "dist"])
def test_float32_stays_close(case, logit_set, temperature):
    expected = REFERENCE["values"][logit_set][NAMED[case][0]][str(temperature)]["loss"]
    student, teacher, targets = logits_of(logit_set, torch.float32)
    loss = objective(case)(student, teacher, targets, temperature)
    assert loss.item() == pytest.approx(expected, rel=1e-5 if temperature <= 10 else 1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 100.0])
@pytest.mark.parametrize("name", ALL_NAMES)
def test_extreme_logits_stay_finite(name, temperature, dtype):
    case = REFERENCE["float32_underflow_case"]
    rows = [[[-110, 0, 0], [300, -300, 0]], [[5, 0, 0], [-200, 200, 100]]]
    assert [rows[0][0]], [rows[1][0]] == (case["student"], case["teacher"])
    student, teacher = (torch.tensor(row, dtype=dtype) for row in rows)
    student.requires_grad_()
    loss = objective(name)(student, teacher, torch.tensor([0, 1]), temperature)
    loss.backward()
    assert loss.dtype == torch.float32
    assert math.isfinite(loss.item())
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("name", ["kd", "dkd", "logit_standardization", "mlkd", "mse"])
def test_a_perfect_student_has_no_loss(name):
    _, teacher, targets = logits_of("rand8x10")
    assert objective(name)(teacher, teacher, targets, 4.0).item() == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("name", ALL_NAMES)
def test_a_pack_gives_each_student_its_own_loss(name):
    generator = torch.Generator().manual_seed(3)
    students = torch.randn(3, 6, 5, generator=generator, dtype=torch.float64)
    teacher = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    targets = torch.tensor([0, 1, 2, 3, 4, 0])
    temperatures = torch.tensor([1.0, 4.0, 20.0], dtype=torch.float64)
    found = pack_term(name, {})
    options = {key: torch.full((3,), v, dtype=torch.float64) for key, v in found.defaults.items()}
    losses = found.term(students, teacher[None], targets, temperatures, epoch=None, **options)
    losses = losses if losses.ndim == 1 else losses.mean(1)
    alone = [objective(name)(z, teacher, targets, t) for z, t in zip(students, temperatures, strict=True)]
    assert losses.tolist() == pytest.approx([loss.item() for loss in alone], rel=1e-12)


def test_dkd_warms_up():
    student, teacher, targets = logits_of("rand8x10")
    found = pack_term("dkd", {})
    options = {key: torch.tensor([v], dtype=torch.float64) for key, v in found.defaults.items()}
    at = torch.tensor([4.0], dtype=torch.float64)
    full, fifth, late = (
        found.term(student[None], teacher[None], targets, at, epoch=epoch, **options).mean().item()
        for epoch in (None, 5, 40)
    )
    assert fifth == pytest.approx(full / 4, rel=1e-12)
    assert late == full


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("kdd", {}, "`objective.name` must be a known objective, got 'kdd'"),
        ("kd", {"beta": 1.0}, "`objective.options.beta` is not an option of 'kd'"),
        ("logit_standardization", {"base": "nkd"}, "`objective.options.base` must be one of kd, dkd, mlkd"),
        ("dkd", {"divergence": "js"}, "`objective.options.divergence` must be absent for 'dkd'"),
        ("kd", {"divergence": "kl"}, "must be one of forward, reverse, jeffreys, js, got 'kl'"),
        ("kd", {"base": "dkd"}, "`objective.options.base` must be absent for 'kd'"),
        ("nowhere.at_all:factory", {}, "`objective.name` must be importable"),
    ],
)
def test_mistakes_are_named(name, options, message):
    with pytest.raises(RequestError, match=message):
        objective(name, **options)
