import torch

from kdsearch.distill.execution import FusedPack, LoopedPack, Precision
from kdsearch.distill.models import build_model
from kdsearch.distill.training.loss import PackLoss
from kdsearch.distill.training.step import PackStep
from kdsearch.distill.views.batches import Batch
from kdsearch.spec.sections import Objective

CPU = torch.device("cpu")
IMAGES = torch.randn(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(6) % 3
TEACHER = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
BATCH = Batch(IMAGES, LABELS, None, None, torch.arange(6))


def models():
    return [build_model("mlp_5", 3, 1, image_size=4) for _ in range(2)]


def own_loss(student, teacher, targets, temperature):
    return ((student - teacher) ** 2).mean()


def loss(name="kd"):
    return PackLoss([Objective(name=name, temperature=t) for t in (1.0, 4.0)])


class ReplayedAtOnce:
    """Stands for CUDA graphs: it calls the step that would be recorded."""

    def __init__(self, pack, step):
        self._step = step
        self.resets = 0

    def __call__(self, inputs):
        return self._step(inputs)

    def reset(self):
        self.resets += 1


def replaying(pack, loss):
    """Return a step that takes the graph's way, on the CPU."""
    step = PackStep(pack, loss)
    step._graphed = ReplayedAtOnce(pack, step._from_tensors)
    return step


def test_a_step_from_tensors_alone_is_the_same_step():
    plain, graphed = FusedPack(models(), Precision(CPU)), FusedPack(models(), Precision(CPU))
    targets = loss().on(BATCH, TEACHER, 3)
    expected = PackStep(plain, loss())(targets, 7)
    assert torch.equal(replaying(graphed, loss())(targets, 7), expected)
    for own, other in zip(graphed.parameters[1], plain.parameters[1], strict=True):
        assert torch.equal(own.grad, other.grad)


def test_graphs_need_a_gpu_a_fused_pack_and_a_loss_that_stays():
    for pack in (FusedPack(models(), Precision(CPU)), LoopedPack(models(), Precision(CPU))):
        assert PackStep(pack, loss(), cuda_graphs=True)._graphed is None
    assert loss("dkd").varies
    assert loss("ctkd").varies
    assert loss(f"{__name__}:own_loss").varies  # a user's may do anything
    assert not loss("kd").varies


def test_learned_gradients_are_fresh_in_every_step():
    learning = loss("ctkd")
    step = PackStep(FusedPack(models(), Precision(CPU)), learning)
    gradients = []
    for _ in range(2):
        step(learning.on(BATCH, TEACHER, 5), 0)
        gradients.append(learning.member_parameters()[0][0].grad.clone())
    assert torch.equal(*gradients)
