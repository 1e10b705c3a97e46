import copy
import math
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kdsearch.distill.execution import (
    Choice,
    ChoiceMemory,
    FusedPack,
    PackPlan,
    Precision,
    Replayed,
    draws_globally,
    fusing_problem,
    key_dropout,
    measured_seconds,
    possible_ways,
    preferred,
)
from kdsearch.distill.execution.dropout import KeyedDropout
from kdsearch.distill.models import build_model
from kdsearch.distill.optim.optimizers import build_optimizer, keep_members
from kdsearch.distill.randomness import stream
from kdsearch.spec.sections import Optimizer
from tests.tape import Tape

CPU = torch.device("cpu")
FP32 = Precision.of("fp32", CPU)
BATCH, CLASSES = 8, 5  # small, and unlike each other, so that no axis passes for another
TEMPERATURES = (1.0, 4.0, 20.0)  # no softening, the usual and nearly uniform
# Larger steps make deep networks chaotic: rounding errors then grow with every step, alone as in a pack.
RATES = {"mobilenet_v2_half": (6e-5, 2e-5, 1e-5)}
OTHER_RATES = (0.002, 0.005, 0.01)  # of the other networks, for which such steps are not chaotic
SMALL = ["mlp_16_8", "convnet_8_16", "vit_16_2"]
# The last two pass 50 steps as well, which takes minutes. Of three, the last two have a momentum from before
# a member left.
LARGE = [("resnet8", 8, 50), ("wrn_16_1", 8, 50), ("vgg8", 32, 3), ("mobilenet_v2_half", 32, 3)]
QUICK = [("resnet8", 8, 4), ("wrn_16_1", 8, 4)]


def student(arch, size, seed):
    model = build_model(arch, CLASSES, 3, image_size=size, generator=stream(seed, "student"))
    key_dropout(model, seed)
    return model.double()


def batch_of(step, size):
    generator = stream(step, "batch")
    images = torch.randn(BATCH, 3, size, size, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, CLASSES, (BATCH,), generator=generator)
    teacher = torch.randn(BATCH, CLASSES, generator=generator, dtype=torch.float64) * 3
    return images, labels, teacher


def plain_loss(logits, labels, teacher, temperature):
    """Return a distillation loss as one writes it for one student."""
    soft = F.kl_div(
        F.log_softmax(logits / temperature, 1), F.softmax(teacher / temperature, 1), reduction="batchmean"
    )
    return 0.7 * temperature**2 * soft + 0.3 * F.cross_entropy(logits, labels)


@cache
def train_plainly(arch, size, seed, k, steps):
    """Train one student with a plain loop of torch's own parts."""
    model = student(arch, size, seed).train()
    lr = RATES.get(arch, OTHER_RATES)[k]
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
    for step in range(steps):
        images, labels, teacher = batch_of(step, size)
        for module in model.modules():
            if isinstance(module, KeyedDropout):
                module.begin(step)
        optimizer.zero_grad()
        plain_loss(model(images), labels, teacher, TEMPERATURES[k]).backward()
        optimizer.step()
    return model.state_dict()


def train_together(pack, size, places, steps, leaver=None, leaves_at=None, rates=OTHER_RATES):
    """Train a pack; the member at `leaver` leaves before the step `leaves_at`."""
    sections = [Optimizer(lr=rates[k], momentum=0.9, weight_decay=5e-4) for k in places]
    optimizer = build_optimizer(pack.parameters, sections)
    places = list(places)
    for step in range(steps):
        if step == leaves_at:
            kept = [at for at, k in enumerate(places) if k != leaver]
            places = [places[at] for at in kept]
            pack.keep(kept)
            keep_members(optimizer, kept, pack.parameters)
        images, labels, teacher = batch_of(step, size)

        def loss(logits, members, labels=labels, teacher=teacher, places=tuple(places)):
            logits = logits.requires_grad_()
            pairs = zip(logits, [TEMPERATURES[k] for k in places[members]], strict=True)
            losses = torch.stack([plain_loss(z, labels, teacher, temperature) for z, temperature in pairs])
            return losses.detach(), torch.autograd.grad(losses.sum(), logits)[0]

        pack.backward(images, loss, step)
        optimizer.step()
    return dict(zip(places, pack.state(), strict=True))


def half_square(logits, _):
    """Return a loss that knows no labels, and its gradient."""
    return logits.square().sum((1, 2)) / 2, logits


def build(way, models):
    return PackPlan(FP32, seeds=range(len(models))).build(way, models)


def assert_close(found, expected, tolerance=1e-9):
    for name, value in expected.items():
        error = (found[name].double() - value.double()).norm()
        assert error <= tolerance * max(1.0, value.double().norm()), name


def check_equal_to_solo(arch, size, steps, way, dropping):
    models = [student(arch, size, seed) for seed in range(3)]
    how = {"leaver": 1, "leaves_at": steps // 2} if dropping else {}
    how["rates"] = RATES.get(arch, OTHER_RATES)
    found = train_together(build(way, models), size, range(3), steps, **how)
    assert set(found) == ({0, 2} if dropping else {0, 1, 2})
    for k in found:
        assert_close(found[k], train_plainly(arch, size, k, k, steps))


@pytest.mark.parametrize("dropping", [False, True], ids=["whole", "dropping"])
@pytest.mark.parametrize("way", ["looped", "looped_channels_last", "fused"])
@pytest.mark.parametrize("arch", SMALL)
def test_every_member_equals_its_solo_run(arch, way, dropping):
    check_equal_to_solo(arch, 8, 50, way, dropping)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["looped_channels_last", "fused"])
@pytest.mark.parametrize(("arch", "size", "steps"), LARGE)
def test_every_member_of_a_larger_network_equals_its_solo_run(arch, size, steps, way):
    check_equal_to_solo(arch, size, steps, way, dropping=True)


@pytest.mark.parametrize("way", ["looped_channels_last", "fused"])
@pytest.mark.parametrize(("arch", "size", "steps"), QUICK)
def test_every_member_equals_its_solo_run_in_a_few_steps(arch, size, steps, way):
    check_equal_to_solo(arch, size, steps, way, dropping=True)


def perceptron(seed):
    return student("mlp_16_8", 8, seed)


def with_dropout(seed, arch="mlp_16_8"):
    torch_model = build_model(arch, CLASSES, 3, image_size=8, generator=stream(seed, "student"))
    model = nn.Sequential(nn.Dropout(0.3), torch_model, nn.Dropout(0.1))
    key_dropout(model, seed)
    return model.double()


@pytest.mark.parametrize("way", ["looped", "fused"])
def test_dropout_is_a_members_own(way):
    pack = build(way, [with_dropout(seed) for seed in (5, 6, 7)])
    together = train_together(pack, 8, range(3), 6, leaver=0, leaves_at=3)
    for k in (1, 2):
        alone = train_together(build("looped", [with_dropout(5 + k)]), 8, [k], 6)
        assert_close(together[k], alone[k])


def test_dropout_drops_its_share_anew_in_every_step_and_nothing_in_evaluation():
    model = nn.Sequential(nn.Dropout(0.3))
    key_dropout(model, 1)
    ones = torch.ones(200, 50)
    masks = []
    for step in range(2):
        model[0].begin(step)
        masks.append(model.train()(ones))
        assert masks[-1].unique().tolist() == pytest.approx([0.0, 1 / 0.7])
        assert (masks[-1] == 0).double().mean().item() == pytest.approx(0.3, abs=0.02)
    assert not torch.equal(*masks)
    assert torch.equal(model.eval()(ones), ones)


class DepthDropper(nn.Module):
    """A network with randomness that is no nn.Dropout."""

    def __init__(self, seed):
        super().__init__()
        self.inner = build_model("mlp_16_8", CLASSES, 3, image_size=8, generator=stream(seed, "student"))

    def forward(self, images):
        return F.dropout(self.inner(images), 0.5, self.training)


def test_networks_with_randomness_of_another_kind_are_looped_and_still_equal_their_solo_runs():
    images = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    models = [DepthDropper(seed).double() for seed in range(3)]
    assert draws_globally(models[0], images)
    assert not draws_globally(with_dropout(0), images)
    plan = PackPlan(FP32, seeds=range(3), random=True)
    assert possible_ways(models, images, plan) == ["looped"]
    assert "random numbers" in fusing_problem(models[0], images, FP32)
    torch.manual_seed(1)
    together = train_together(plan.build("looped", models), 8, range(3), 5)
    plan = PackPlan(FP32, seeds=[2], random=True)
    alone = train_together(plan.build("looped", [DepthDropper(2).double()]), 8, [2], 5)
    assert_close(together[2], alone[2], 0.0)


class Branching(nn.Module):
    """A network whose path depends on its values, which torch.func can't vectorise."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(12, CLASSES)

    def forward(self, images):
        logits = self.fc(images.flatten(1))
        return logits if logits.sum() > 0 else 2 * logits


def test_what_cannot_be_fused_says_why():
    problem = fusing_problem(Branching(), torch.randn(2, 3, 2, 2), FP32)
    assert problem.startswith("torch.func can't vectorise it (RuntimeError")


def test_looking_whether_a_network_fuses_leaves_it_as_it_was():
    model = student("convnet_8_16", 8, 0)
    before = copy.deepcopy(model.state_dict())
    assert fusing_problem(model, batch_of(0, 8)[0], FP32) is None
    assert_close(model.state_dict(), before, 0.0)


@pytest.mark.parametrize("way", ["looped", "looped_channels_last", "streams", "fused"])
def test_evaluation_uses_running_statistics_leaves_them_and_returns_to_training(way):
    models = [student("convnet_8_16", 8, seed) for seed in range(2)]
    plain = [copy.deepcopy(model).eval() for model in models]
    pack = build(way, models)
    images = batch_of(0, 8)[0]
    found = pack.logits(images)
    torch.testing.assert_close(found, torch.stack([model(images) for model in plain]), rtol=1e-9, atol=1e-12)
    trained = train_together(pack, 8, range(2), 2)
    for k in range(2):
        assert_close(trained[k], train_plainly("convnet_8_16", 8, k, k, 2))
    moved = copy.deepcopy(pack.state()[0])
    pack.logits(images)
    assert_close(pack.state()[0], moved, 0.0)


@pytest.mark.parametrize("way", ["looped", "fused"])
def test_a_member_that_is_not_finite_disturbs_nobody(way):
    models = [student("convnet_8_16", 8, seed) for seed in range(3)]
    with torch.no_grad():
        models[1].fc.weight.fill_(math.nan)
    found = train_together(build(way, models), 8, range(3), 3)
    for k in (0, 2):
        assert_close(found[k], train_plainly("convnet_8_16", 8, k, k, 3))


@pytest.mark.parametrize("way", ["looped", "fused"])
def test_a_state_can_be_taken_over(way):
    pack = build(way, [student("convnet_8_16", 8, seed) for seed in range(2)])
    train_together(pack, 8, range(2), 3)
    saved = copy.deepcopy(pack.state())
    other = build(way, [student("convnet_8_16", 8, seed) for seed in (7, 8)])
    other.load_state(saved)
    images = batch_of(9, 8)[0]
    assert torch.equal(pack.logits(images), other.logits(images))


@pytest.mark.parametrize("arch", ["mlp_16_8", "convnet_8_16", "vit_16_2"])
def test_bf16_is_the_same_fused_and_looped_with_parameters_in_float32(arch):
    images = batch_of(0, 8)[0].float()
    found = {}
    for way in ("looped", "fused"):
        models = [student(arch, 8, seed).float() for seed in range(2)]
        pack = PackPlan(Precision.of("bf16", CPU), seeds=range(2)).build(way, models)
        logits = pack.logits(images)
        assert logits.dtype == torch.bfloat16
        pack.backward(images, half_square, 0)
        assert {p.dtype for own in pack.parameters for p in own} == {torch.float32}
        gradient = torch.cat([p.grad.flatten() for p in pack.parameters[1]])
        assert gradient.dtype == torch.float32
        found[way] = logits.float(), gradient
    for looped, fused in zip(found["looped"], found["fused"], strict=True):
        assert (looped - fused).norm() <= 0.03 * looped.norm()


def test_automatic_precision_is_bf16_on_cuda_alone():
    assert not Precision.of("auto", CPU).bf16
    assert Precision.of("auto", torch.device("cuda")).bf16
    assert not Precision.of("fp32", torch.device("cuda")).bf16


def test_the_fastest_way_must_be_clearly_faster_than_the_default():
    assert preferred({"looped": 1.0, "fused": 0.98}) == "looped"
    assert preferred({"looped": 1.0, "fused": 0.96}) == "fused"
    assert preferred({"looped": 1.0, "looped_channels_last": 0.8, "fused": 0.7}) == "fused"


def test_measuring_leaves_the_networks_as_they_were():
    models = [student("convnet_8_16", 8, seed) for seed in range(2)]
    before = [copy.deepcopy(model.state_dict()) for model in models]
    plan = PackPlan(FP32, seeds=range(2))
    images = batch_of(0, 8)[0]
    ways = possible_ways(models, images, plan)
    assert ways == ["looped", "looped_channels_last", "fused"]
    seconds = measured_seconds(ways, models, images, lambda _: half_square, plan)
    assert set(seconds) <= set(ways)
    assert min(seconds.values()) > 0
    for model, state in zip(models, before, strict=True):
        assert_close(model.state_dict(), state, 0.0)


def test_loops_are_measured_on_the_whole_batch_however_slow_they_are_on_a_part():
    models = [student("convnet_8_16", 8, seed) for seed in range(16)]
    ways = ["looped", "looped_channels_last", "fused"]
    sizes = []

    def loss_on(size):
        sizes.append(size)
        return half_square

    seconds = measured_seconds(ways, models, batch_of(0, 8)[0], loss_on, PackPlan(FP32, seeds=range(16)))
    assert set(seconds) >= {"looped", "looped_channels_last"}
    assert sizes[-1] == len(batch_of(0, 8)[0])


@pytest.mark.parametrize(
    ("recorded", "way", "n_recorded"),
    [(True, "fused", 1), (True, "streams", 1), (False, "fused", 0), (True, "looped", 0)],
)
def test_a_pack_is_measured_as_it_will_be_trained(monkeypatch, recorded, way, n_recorded):
    tape = Tape()
    monkeypatch.setattr("kdsearch.distill.execution.choice.recorder_on", lambda _: tape)
    models = [with_dropout(seed) for seed in range(2)]
    plan = PackPlan(FP32, seeds=range(2), recorded=recorded)
    images = batch_of(0, 8)[0]
    assert measured_seconds([way, way], models, images, lambda _: half_square, plan)[way] > 0
    assert min(tape.n_recorded, 1) == n_recorded


@pytest.mark.parametrize("error", [torch.OutOfMemoryError(), RuntimeError("CUBLAS_STATUS_ALLOC_FAILED")])
def test_a_way_that_runs_out_of_memory_is_not_chosen(monkeypatch, error):
    def full(*_):
        raise error

    monkeypatch.setattr(FusedPack, "backward", full)
    models = [perceptron(seed) for seed in range(2)]
    ways = ["looped", "fused"]
    plan = PackPlan(FP32, seeds=range(2))
    found = measured_seconds(ways, models, batch_of(0, 8)[0], lambda _: half_square, plan)
    assert set(found) == {"looped"}


@pytest.mark.parametrize("way", ["looped", "fused"])
def test_networks_with_dropout_are_not_compiled_anew_in_every_step(monkeypatch, way):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda forward: compiled.append(forward) or forward)
    for make in (with_dropout, perceptron):
        pack = PackPlan(FP32, seeds=range(2), compiled=True).build(way, [make(seed) for seed in range(2)])
        pack.backward(batch_of(0, 8)[0], half_square, 0)
    assert len(compiled) == 1


def test_a_choice_is_measured_once_for_all_processes(tmp_path):
    measured = []

    def measure(way):
        measured.append(way)
        return Choice(way, random=True)

    path = tmp_path / "made" / "executors.json"
    assert ChoiceMemory(path).get("a", lambda: measure("fused")) == Choice("fused", random=True)
    memory = ChoiceMemory(path)
    assert memory.get("a", lambda: measure("looped")) == Choice("fused", random=True)
    assert memory.get("b", lambda: measure("looped")) == Choice("looped", random=True)
    assert measured == ["fused", "looped"]


def test_a_damaged_memory_is_measured_again(tmp_path):
    path = tmp_path / "executors.json"
    ChoiceMemory(path).get("a", lambda: Choice("fused"))
    for damage in (path.read_text().replace("fused", "fuser"), '{"a": 3}', "{"):
        path.write_text(damage)
        assert ChoiceMemory(path).get("a", lambda: Choice("looped")) == Choice("looped")
        path.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("way", ["looped", "fused"])
def test_compiled_members_equal_their_solo_runs(way):
    models = [student("convnet_8_16", 8, seed) for seed in range(2)]
    pack = PackPlan(FP32, seeds=range(2), compiled=True).build(way, models)
    found = train_together(pack, 8, range(2), 5)
    for k in range(2):
        assert_close(found[k], train_plainly("convnet_8_16", 8, k, k, 5))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("way", ["streams", "fused"])
def test_a_replayed_step_gives_the_losses_and_gradients_of_a_plain_one(way):
    device = torch.device("cuda")
    plan = PackPlan(Precision(device), seeds=range(2))
    packs = [
        plan.build(way, [student("convnet_8_16", 8, seed).to(device) for seed in range(2)]) for _ in range(2)
    ]
    replayed = Replayed(lambda images: packs[0].backward(images, half_square, 0), plan.recorder(way))
    for step in range(7):
        images = batch_of(step, 8)[0].to(device)
        torch.testing.assert_close(replayed(images), packs[1].backward(images, half_square, 0))
        for own, other in zip(packs[0].parameters[1], packs[1].parameters[1], strict=True):
            torch.testing.assert_close(own.grad, other.grad)
    assert replayed.problem is None
    for own, other in zip(packs[0].state(), packs[1].state(), strict=True):
        assert_close(own, other)
