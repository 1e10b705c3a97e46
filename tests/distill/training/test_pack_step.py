import torch

from kdsearch.distill.execution import FusedPack, Precision
from kdsearch.distill.models import build_model
from kdsearch.distill.optim.optimizers import LearningRates, build_optimizer
from kdsearch.distill.training.loss import PackLoss, Targets
from kdsearch.distill.training.step import PackStep, member_parameters
from kdsearch.distill.views.batches import Batch
from kdsearch.spec.sections import Objective, Optimizer

CPU = torch.device("cpu")
IMAGES = torch.randn(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(6) % 3
TEACHER = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
BATCH = Batch(IMAGES, LABELS, None, None, torch.arange(6))


def own_loss(student, teacher, targets, temperature):
    return ((student - teacher) ** 2).mean()


def loss(name="kd"):
    return PackLoss([Objective(name=name, temperature=t) for t in (1.0, 4.0)])


def test_only_a_users_term_may_do_what_no_recording_repeats():
    assert not loss(f"{__name__}:own_loss").is_recordable
    assert all(loss(name).is_recordable for name in ("kd", "dkd", "ctkd"))


def test_targets_of_their_tensors_are_the_same_targets():
    for own in (loss(), loss("dkd"), loss("ctkd")):
        targets = own.on(BATCH, TEACHER, 3)
        logits = torch.randn(2, 6, 3)
        expected = own(targets, logits)
        assert all(map(torch.equal, own(Targets.of(targets.tensors()), logits), expected))


def test_learned_gradients_are_fresh_in_every_step():
    learning = loss("ctkd")
    pack = FusedPack([build_model("mlp_5", 3, 1, image_size=4) for _ in range(2)], Precision(CPU))
    optimizer = build_optimizer(member_parameters(pack, learning), [Optimizer(lr=1e-9, momentum=0.0)] * 2)
    step = PackStep(pack, learning, optimizer, LearningRates(optimizer, [0.0, 0.0], CPU), [None, None])
    gradients = []
    for _ in range(2):
        step(learning.on(BATCH, TEACHER, 5), 0, 1.0)
        gradients.append(learning.member_parameters()[0][0].grad.clone())
    assert torch.equal(*gradients)
