import copy
import subprocess
import sys

import pytest
import torch

from kdsearch.distill.optim.optimizers import LearningRates, build_optimizer, clip_gradients, keep_members
from kdsearch.errors import RequestError
from kdsearch.spec.sections import Optimizer

SECTIONS = {
    "sgd": Optimizer(name="sgd", lr=0.05, momentum=0.8, weight_decay=0.01),
    "nesterov": Optimizer(name="sgd", lr=0.05, momentum=0.8, weight_decay=0.01, nesterov=True),
    "plain sgd": Optimizer(name="sgd", lr=0.05, momentum=0.0, weight_decay=0.0),
    "adam": Optimizer(name="adam", lr=0.02, weight_decay=0.01, beta1=0.8, beta2=0.95),
    "adamw": Optimizer(name="adamw", lr=0.02, weight_decay=0.1, beta1=0.8, beta2=0.95),
    "rmsprop": Optimizer(name="rmsprop", lr=0.02, weight_decay=0.01, momentum=0.5),
    "lion": Optimizer(name="lion", lr=0.01, weight_decay=0.1, beta1=0.8, beta2=0.95),
}


class PlainLion:
    """The published algorithm, parameter by parameter, for `SECTIONS["lion"]`."""

    def __init__(self, parameters):
        self.momenta = [(parameter, torch.zeros_like(parameter)) for parameter in parameters]

    def zero_grad(self):
        for parameter, _ in self.momenta:
            parameter.grad = None

    @torch.no_grad()
    def step(self):
        for parameter, momentum in self.momenta:
            update = torch.sign(0.8 * momentum + 0.2 * parameter.grad)
            parameter.sub_(0.01 * (update + 0.1 * parameter))
            momentum.copy_(0.95 * momentum + 0.05 * parameter.grad)


PLAIN = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.8, weight_decay=0.01, foreach=False),
    "nesterov": lambda p: torch.optim.SGD(
        p, lr=0.05, momentum=0.8, weight_decay=0.01, nesterov=True, foreach=False
    ),
    "plain sgd": lambda p: torch.optim.SGD(p, lr=0.05, foreach=False),
    "adam": lambda p: torch.optim.Adam(p, lr=0.02, weight_decay=0.01, betas=(0.8, 0.95), foreach=False),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.02, weight_decay=0.1, betas=(0.8, 0.95), foreach=False),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.02, weight_decay=0.01, momentum=0.5, foreach=False),
    "lion": PlainLion,
}


def weights(seed):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(4, 3), (4,)]
    return [torch.randn(s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes]


def loss_of(own, step):
    generator = torch.Generator().manual_seed(100 + step)
    x = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    return (x @ own[0].T + own[1]).sin().sum()


def descend(optimizer, members, steps):
    for step in steps:
        optimizer.zero_grad()
        for own in members:
            loss_of(own, step).backward()
        optimizer.step()


@pytest.mark.parametrize("name", SECTIONS)
def test_a_pack_of_one_is_torchs_own_result(name):
    ours, theirs = weights(1), weights(1)
    descend(build_optimizer([ours], [SECTIONS[name]]), [ours], range(50))
    descend(PLAIN[name](theirs), [theirs], range(50))
    for own, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", SECTIONS)
def test_members_keep_their_own_numbers_when_others_leave(name):
    section = SECTIONS[name]
    faster = section.model_copy(update={"lr": section.lr * 3, "momentum": section.momentum / 2})
    pack = [weights(seed) for seed in (1, 2, 3)]
    optimizer = build_optimizer(pack, [section, section, faster])
    descend(optimizer, pack, range(20))
    keep_members(optimizer, [0, 2], [pack[0], pack[2]])
    descend(optimizer, [pack[0], pack[2]], range(20, 50))
    for seed, own_section, found in ((1, section, pack[0]), (3, faster, pack[2])):
        alone = weights(seed)
        descend(build_optimizer([alone], [own_section]), [alone], range(50))
        for own, other in zip(found, alone, strict=True):
            torch.testing.assert_close(own, other, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", SECTIONS)
def test_a_saved_state_goes_on_as_if_nothing_had_been(name):
    through, stopped = weights(1), weights(1)
    descend(build_optimizer([through], [SECTIONS[name]]), [through], range(30))
    first = build_optimizer([stopped], [SECTIONS[name]])
    descend(first, [stopped], range(12))
    saved = copy.deepcopy(first.state_dict())
    resumed = build_optimizer([stopped], [SECTIONS[name]])
    resumed.load_state_dict(saved)
    descend(resumed, [stopped], range(12, 30))
    for own, other in zip(stopped, through, strict=True):
        assert torch.equal(own, other)


def test_training_does_not_import_torchs_compiler():
    program = (
        "import sys, torch\n"
        "from kdsearch.distill.optim.optimizers import build_optimizer\n"
        "from kdsearch.spec.sections import Optimizer\n"
        "weight = torch.ones(2, requires_grad=True)\n"
        "for name in ('sgd', 'adam', 'adamw'):\n"
        "    optimizer = build_optimizer([[weight]], [Optimizer(name=name)])\n"
        "    weight.sum().backward()\n"
        "    optimizer.step()\n"
        "assert 'torch._dynamo' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("name", SECTIONS)
def test_a_parameter_without_a_gradient_stays(name):
    own = weights(1)
    optimizer = build_optimizer([own], [SECTIONS[name]])
    descend(optimizer, [own], range(3))
    before = [parameter.detach().clone() for parameter in own]
    own[1].grad = None
    optimizer.step()
    assert not torch.equal(own[0], before[0])
    assert torch.equal(own[1], before[1])


def test_the_schedule_scales_each_members_own_peak():
    pack = [weights(seed) for seed in (1, 2)]
    sections = [SECTIONS["sgd"], SECTIONS["sgd"].model_copy(update={"lr": 0.4})]
    optimizer = build_optimizer(pack, sections)
    for is_recorded in (False, True):  # as numbers, and as tensors that a recording reads
        peaks = [section.lr for section in sections]
        rates = LearningRates(optimizer, peaks, torch.device("cpu"), is_recorded=is_recorded)
        for factor in (0.25, 0.5):
            rates.set(factor)
            assert [float(group["lr"]) for group in optimizer.param_groups] == [0.05 * factor, 0.4 * factor]


def test_gradients_are_clipped_by_each_members_own_norm():
    pack = [weights(seed) for seed in (1, 1, 1)]
    for own in pack:
        loss_of(own, 0).backward()
    before = [p.grad.clone() for p in pack[0]]
    norm = torch.cat([g.flatten() for g in before]).norm()
    for own, norm_bound in zip(pack, [None, 0.5, 1e6], strict=True):
        clip_gradients(own, norm_bound)
    for k, scale in enumerate((1.0, 0.5 / norm, 1.0)):
        for parameter, gradient in zip(pack[k], before, strict=True):
            torch.testing.assert_close(parameter.grad, gradient * scale, rtol=1e-5, atol=0)


def undamped(groups):
    return torch.optim.Adagrad(groups)


def test_a_users_factory_is_an_optimizer():
    pack = [weights(1), weights(2)]
    section = Optimizer(name=f"{__name__}:undamped", lr=0.3, weight_decay=0.01)
    optimizer = build_optimizer(pack, [section, section.model_copy(update={"lr": 0.1})])
    assert [(g["lr"], g["weight_decay"]) for g in optimizer.param_groups] == [(0.3, 0.01), (0.1, 0.01)]
    descend(optimizer, pack, range(3))
    keep_members(optimizer, [1], [pack[1]])
    descend(optimizer, [pack[1]], range(3))


def test_an_unknown_optimizer_is_named():
    section = Optimizer.model_construct(**{**dict(SECTIONS["lion"]), "name": "tiger"})
    with pytest.raises(RequestError, match=r"`optimizer\.name` must be a known optimizer, got 'tiger'"):
        build_optimizer([weights(1)], [section])
