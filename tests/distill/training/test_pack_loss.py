import pytest
import torch
import torch.nn.functional as F

from kdsearch.distill.objectives import objective
from kdsearch.distill.training import loss as module
from kdsearch.distill.training.loss import PackLoss
from kdsearch.distill.views.batches import Batch, Chunk
from kdsearch.spec.sections import Objective

K, B, C = 3, 6, 4  # unlike each other, so that no axis passes for another
GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(K, B, C, generator=GENERATOR, dtype=torch.float64)
TEACHER = torch.randn(B, C, generator=GENERATOR, dtype=torch.float64)
LABELS = torch.tensor([0, 1, 2, 3, 0, 1])
PARTNERS = torch.tensor([1, 1, 0, 0, 2, 3])
MIX = torch.tensor([1.0, 0.9, 0.6, 0.4, 0.2, 0.5], dtype=torch.float64)
IMAGES, INDEX = torch.zeros(B, 1, 2, 2), torch.arange(B)
PLAIN = Batch(IMAGES, LABELS, None, None, INDEX)
MIXED = Batch(IMAGES, LABELS, PARTNERS, MIX, INDEX)
SECTIONS = [
    Objective(temperature=1.0, alpha=1.0),
    Objective(temperature=4.0, alpha=0.3),
    Objective(temperature=9.0, alpha=0.0),
]


def pack_loss(sections):
    return PackLoss(sections, dtype=torch.float64)


def losses_of(loss, batch, teacher, epoch=1, logits=LOGITS, members=slice(None)):
    return loss(loss.on(batch, teacher, epoch), logits, members)


@pytest.mark.parametrize("options", [{}, {"divergence": "reverse"}, {"divergence": "js"}], ids=str)
def test_alpha_weighs_the_term_against_cross_entropy_for_each_member(options):
    sections = [section.model_copy(update={"options": options}) for section in SECTIONS]
    losses, _ = losses_of(pack_loss(sections), PLAIN, TEACHER)
    for k, section in enumerate(sections):
        term = objective("kd", **options)(LOGITS[k], TEACHER, LABELS, section.temperature)
        expected = section.alpha * term + (1 - section.alpha) * F.cross_entropy(LOGITS[k], LABELS)
        assert losses[k].item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("temperature", [0.5, 4.0, 40.0])
def test_the_closed_form_is_autograds_result(temperature):
    sections = [Objective(temperature=temperature * (k + 1), alpha=k / 2) for k in range(K)]
    closed = losses_of(pack_loss(sections), PLAIN, TEACHER)
    logits = LOGITS.clone().requires_grad_()
    losses = [
        section.alpha * objective("kd")(z, TEACHER, LABELS, section.temperature)
        + (1 - section.alpha) * F.cross_entropy(z, LABELS)
        for section, z in zip(sections, logits, strict=True)
    ]
    sum(losses).backward()
    torch.testing.assert_close(closed[0], torch.stack(losses).detach(), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(closed[1], logits.grad, rtol=1e-12, atol=1e-14)


def test_the_general_way_gives_the_same_gradient():
    own = [s.model_copy(update={"options": {"student_temperature": s.temperature}}) for s in SECTIONS]
    for found, expected in zip(
        losses_of(pack_loss(own), PLAIN, TEACHER),
        losses_of(pack_loss(SECTIONS), PLAIN, TEACHER),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_the_closed_form_stays_finite_on_extreme_logits():
    logits = torch.tensor([[[-110.0, 0, 0], [300.0, -300, 0]]])
    teacher = torch.tensor([[5.0, 0, 0], [-200.0, 200, 100]])
    batch = Batch(IMAGES[:2], LABELS[:2], None, None, INDEX[:2])
    found = losses_of(PackLoss([Objective(temperature=0.5, alpha=0.5)]), batch, teacher, logits=logits)
    assert all(part.isfinite().all() for part in found)


@pytest.mark.parametrize("whole", [PLAIN, MIXED])
@pytest.mark.parametrize("at_once", [0, 2**21])
def test_batches_of_a_chunk_have_the_losses_that_they_have_alone(monkeypatch, whole, at_once):
    monkeypatch.setattr(module, "_PREPARED_AT_ONCE", at_once)
    loss = pack_loss(SECTIONS)
    bounds = [(0, 4), (4, 6)]
    chunk = Chunk(0, whole, [whole.part(*own) for own in bounds])
    for targets, (start, stop) in zip(loss.targets(chunk, TEACHER, 1), bounds, strict=True):
        own = LOGITS[:, start:stop]
        alone = losses_of(loss, whole.part(start, stop), TEACHER[start:stop], logits=own)
        found = loss(targets, own)
        torch.testing.assert_close(found, alone, rtol=1e-12, atol=1e-14)


def test_a_slice_of_the_pack_has_the_same_losses():
    loss = pack_loss(SECTIONS)
    whole = losses_of(loss, PLAIN, TEACHER)
    places = [slice(k, k + 1) for k in range(K)]
    parts = [losses_of(loss, PLAIN, TEACHER, logits=LOGITS[at], members=at) for at in places]
    for joined, part in zip(whole, zip(*parts, strict=True), strict=True):
        assert torch.equal(joined, torch.cat(part))


def test_kept_members_keep_their_own_losses():
    loss = pack_loss(
        [s.model_copy(update={"options": {"beta": float(k)}, "name": "dkd"}) for k, s in enumerate(SECTIONS)]
    )
    whole, _ = losses_of(loss, PLAIN, TEACHER)
    loss.keep([0, 2])
    assert torch.equal(losses_of(loss, PLAIN, TEACHER, logits=LOGITS[[0, 2]])[0], whole[[0, 2]])
    assert loss.temperatures().tolist() == [1.0, 9.0]


def test_without_a_teacher_it_is_cross_entropy():
    sections = [Objective(alpha=0.0)] * K
    loss = pack_loss(sections)
    assert not loss.needs_teacher
    expected = [F.cross_entropy(own, LABELS).item() for own in LOGITS]
    assert losses_of(loss, PLAIN, None)[0].tolist() == pytest.approx(expected, rel=1e-12)


def test_cross_entropy_mixes_both_labels():
    losses, _ = losses_of(pack_loss([Objective(alpha=0.0)] * K), MIXED, None)
    for k in range(K):
        own = F.cross_entropy(LOGITS[k], LABELS, reduction="none")
        partner = F.cross_entropy(LOGITS[k], PARTNERS, reduction="none")
        assert losses[k].item() == pytest.approx((MIX * own + (1 - MIX) * partner).mean().item(), rel=1e-12)


def test_a_term_of_the_target_takes_the_label_of_the_larger_share():
    losses, _ = losses_of(pack_loss([Objective(name="nkd", alpha=1.0)] * K), MIXED, TEACHER)
    dominant = torch.tensor([0, 1, 2, 0, 2, 1])
    expected = objective("nkd")(LOGITS[1], TEACHER, dominant, 4.0)
    assert losses[1].item() == pytest.approx(expected.item(), rel=1e-12)


def squared():
    return lambda student, teacher, *_: (student.view(-1) - teacher.view(-1)).square().mean()


@pytest.mark.parametrize("name", [f"{__name__}:squared", "dkd", "mlkd", "kd"])
def test_logits_that_lie_class_by_class_are_the_same_logits(name):
    loss = pack_loss([Objective(name=name, alpha=0.5)] * K)
    by_class = torch.cat([TEACHER, TEACHER]).T.contiguous()[:, B:].T
    for found, expected in zip(
        losses_of(loss, PLAIN, by_class), losses_of(loss, PLAIN, TEACHER), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_ctkd_learns_a_temperature_for_each_member():
    sections = [Objective(name="ctkd", options={"theta": theta}) for theta in (0.0, 1.0, 2.0)]
    loss = pack_loss(sections)
    losses_of(loss, PLAIN, TEACHER, 5)
    thetas = [own[0] for own in loss.member_parameters()]
    assert all(theta.grad.abs() > 0 for theta in thetas)
    expected = [1 + 20 * torch.sigmoid(torch.tensor(t)).item() for t in (0.0, 1.0, 2.0)]
    assert loss.temperatures().tolist() == pytest.approx(expected)
    loss.keep([2])
    assert loss.member_parameters()[0][0] is thetas[2]


def test_logits_in_bf16_give_losses_in_float32():
    losses, gradient = losses_of(PackLoss(SECTIONS), PLAIN, TEACHER.float(), logits=LOGITS.bfloat16())
    assert losses.dtype == torch.float32
    assert gradient.dtype == torch.bfloat16
