"""Temperatures that move, against their formulas by hand.

They are also compared with a loop of a user's own.
"""

import math

import pytest
import torch

from kdsearch.distill import train_pack
from kdsearch.distill.execution import Choice, ChoiceMemory
from kdsearch.distill.objectives import objective, temperature_in
from kdsearch.distill.training.loss import PackLoss
from kdsearch.distill.training.members import pack_key
from kdsearch.distill.views.batches import Batch
from kdsearch.spec import TrainingSpec
from kdsearch.spec.catalogue import TEMPERATURE_SHAPES
from kdsearch.spec.sections import Objective

EPOCHS = 5  # odd, so that one epoch is the middle
ENDS = {"geometric": (2.0, 18.0), "linear": (2.0, 18.0), "cosine": (18.0, 2.0), "step": (2.0, 18.0)}
WAYS = {
    "geometric": [2, 2 * math.sqrt(3), 6, 6 * math.sqrt(3), 18],
    "linear": [2, 6, 10, 14, 18],
    "cosine": [18 / 9 ** ((1 - math.cos(math.pi * k / 4)) / 2) for k in range(5)],
    "step": [2, 2, 6, 18, 18],
}
SPEC = TrainingSpec.model_validate(
    {
        "dataset": {"name": "digits", "train_size": 80, "validation_size": 50},
        "student": {"arch": "mlp_16"},
        "teacher": {"arch": "mlp_32", "finetune": {"epochs": 3}},
        "objective": {"temperature": 6.0},
        "training": {"epochs": EPOCHS, "batch_size": 32},
    }
)


def moving(shape, middle=6.0, name="kd", alpha=0.9):
    first, last = ENDS[shape]
    return Objective(
        name=name, temperature=middle, temperature_ratio=last / first, temperature_shape=shape, alpha=alpha
    )


def by_hand(student, teacher, targets, temperature, epoch, *, shape):
    """A user's term that moves by itself; `temperature` is the middle."""
    at = temperature / 6 * WAYS[shape][epoch - 1]
    student, teacher = (student / at).log_softmax(-1), teacher / at
    return at**2 * (teacher.softmax(-1) * (teacher.log_softmax(-1) - student)).sum(-1).mean()


def geometrically(student_logits, teacher_logits, targets, temperature, epoch):
    return by_hand(student_logits, teacher_logits, targets, temperature, epoch, shape="geometric")


@pytest.mark.parametrize("shape", TEMPERATURE_SHAPES)
def test_it_goes_from_end_to_end_around_its_middle(shape):
    first, last = ENDS[shape]
    middle, ratio = (
        torch.tensor(values, dtype=torch.float64) for values in ([6.0, 4.0], [last / first, 1.0])
    )
    found = torch.stack([temperature_in(e, EPOCHS, middle, ratio, shape) for e in range(1, EPOCHS + 1)])
    assert found[:, 0].tolist() == pytest.approx(WAYS[shape], rel=1e-12)
    assert found[:, 1].tolist() == [4.0] * EPOCHS
    if shape != "linear":
        assert found[:, 0].log().mean().exp().item() == pytest.approx(6, rel=1e-12)
    assert temperature_in(1, 1, middle, ratio, shape) is middle


@pytest.mark.parametrize("name", ["kd", "dkd", "mlkd"])
def test_students_of_a_pack_move_each_by_its_own_ratio(name):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 6, 4, generator=generator).double()
    teacher, labels = 3 * torch.randn(6, 4, generator=generator).double(), torch.tensor([0, 1, 2, 3, 0, 1])
    batch = Batch(torch.zeros(6, 1, 2, 2), labels, None, None, torch.arange(6))
    rising, falling = (
        moving("linear", name=name, alpha=1.0),
        Objective(name=name, temperature=6.0, temperature_ratio=1 / 9, temperature_shape="linear", alpha=1.0),
    )
    still = rising.model_copy(update={"temperature_ratio": 1.0})
    loss = PackLoss([rising, falling, still], epochs=EPOCHS, dtype=torch.float64)
    ways = [WAYS["linear"], WAYS["linear"][::-1], [6] * EPOCHS]
    for epoch in (1, 2, 5, 4):
        found, gradient = loss(loss.on(batch, teacher, epoch), logits)
        for k, way in enumerate(ways):
            own = logits[k].clone().requires_grad_()
            options = {"warmup_epochs": 0.0} if name == "dkd" else {}
            expected = objective(name, **options)(own, teacher, labels, way[epoch - 1])
            expected = expected * (epoch / 20 if name == "dkd" else 1)  # its usual warm-up
            expected.backward()
            assert found[k].item() == pytest.approx(expected.item(), rel=1e-10)
            torch.testing.assert_close(gradient[k], own.grad, rtol=1e-8, atol=1e-12)
    loss.keep([1, 2])
    assert loss.temperatures().tolist() == pytest.approx([2, 6], rel=1e-12)
    kept, _ = loss(loss.on(batch, teacher, 4), logits[1:])
    torch.testing.assert_close(kept, found[1:], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("way", ["looped", "fused"])
def test_a_pack_trains_as_each_student_does_with_a_term_that_moves_by_itself(way, tmp_path, monkeypatch):
    monkeypatch.setattr(ChoiceMemory, "get", lambda *_: Choice(way))
    ratios = {0: 9.0, 1: 1.0}
    members = [{"seed": k, "number": k, "objective.temperature_ratio": ratio} for k, ratio in ratios.items()]
    together = train_pack(SPEC, members, artifacts=tmp_path)
    own = SPEC.with_values({"objective.name": f"{__name__}:geometrically"})
    alone = [
        train_pack(spec, [{"seed": k, "number": k}], artifacts=tmp_path)[0]
        for k, spec in enumerate((own, SPEC))
    ]
    for found, expected in zip(together, alone, strict=True):
        for metric in ("train_loss", "val_loss", "test_accuracy"):
            assert found.metrics[metric] == pytest.approx(expected.metrics[metric], rel=1e-4)
    assert together[0].metrics["teacher_entropy"] > alone[0].metrics["teacher_entropy"]  # of T = 18, and of 6


def test_members_that_move_share_a_pack_and_shapes_do_not():
    keys = [
        pack_key(SPEC.with_values({f"objective.temperature_{leaf}": value}))
        for leaf, value in (("ratio", 1.0), ("ratio", 4.0), ("shape", "step"))
    ]
    assert keys[0] == keys[1] != keys[2]
