import math

import pytest
import torch

from kdsearch.distill.optim.schedules import schedule, schedule_of
from kdsearch.errors import RequestError
from kdsearch.spec.sections import Training

STEPS = 40  # half and three quarters of it are whole steps


def torch_factors(make, steps=STEPS):
    """Return a torch scheduler's learning rates, for a peak of 1.

    There is one for each step.
    """
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer)
    factors = []
    for _ in range(steps):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return factors


def test_cosine_is_torchs():
    ours = [schedule("cosine", steps=STEPS)(step) for step in range(STEPS)]
    theirs = torch_factors(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, STEPS))
    assert ours == pytest.approx(theirs, abs=1e-12)


def test_step_is_torchs():
    ours = [schedule("step", steps=STEPS, milestones=(0.5, 0.75), gamma=0.2)(i) for i in range(STEPS)]
    theirs = torch_factors(lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [20, 30], 0.2))
    assert ours == pytest.approx(theirs, rel=1e-12)


@pytest.mark.parametrize("warmup", [0, 10])
def test_one_cycle_is_torchs(warmup):
    ours = [schedule("one_cycle", steps=STEPS, warmup_steps=warmup)(step) for step in range(STEPS)]
    share = warmup / STEPS or 0.3
    theirs = torch_factors(
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 1.0, STEPS, pct_start=share, cycle_momentum=False),
        STEPS - 1,
    )
    assert ours[:-1] == pytest.approx(theirs, rel=1e-9)
    assert ours[-1] == pytest.approx(1 / (25 * 1e4), rel=1e-9)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_one_cycle_of_a_few_steps_is_finite(steps):
    assert all(0 < schedule("one_cycle", steps=steps)(step) <= 1 for step in range(steps))


@pytest.mark.parametrize("name", ["constant", "cosine", "step"])
def test_the_warm_up_rises_linearly_to_the_peak(name):
    factor = schedule(name, steps=STEPS, warmup_steps=8)
    assert [factor(step) for step in range(9)] == pytest.approx([*(k / 8 for k in range(1, 9)), 1.0])


def test_cosine_after_a_warm_up_ends_near_zero():
    factor = schedule("cosine", steps=STEPS, warmup_steps=8)
    assert factor(STEPS - 1) == pytest.approx((1 + math.cos(math.pi * 31 / 32)) / 2)


def test_the_spec_counts_in_epochs():
    factor = schedule_of(Training(epochs=10, schedule="step", warmup_epochs=2, milestones=(0.5,)), 4)
    assert [factor(step) for step in (0, 7, 8, 19, 20)] == pytest.approx([1 / 8, 1, 1, 1, 0.1])


def test_an_unknown_schedule_is_named():
    with pytest.raises(RequestError, match=r"`training\.schedule` must be a known schedule, got 'cosin'"):
        schedule("cosin", steps=4)


def falling(steps, warmup_steps):
    return lambda step: 1 - step / (steps + warmup_steps)


def test_a_users_factory_is_a_schedule():
    factor = schedule(f"{__name__}:falling", steps=6, warmup_steps=2)
    assert factor(4) == 0.5
    with pytest.raises(RequestError, match=r"`training\.schedule` must be importable"):
        schedule("nowhere.at_all:falling", steps=6)
