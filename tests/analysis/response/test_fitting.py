"""Hyper-parameters are most probable for the evidence they come with.

Broken trials don't decide.
"""

import numpy as np
import pytest

from kdsearch.analysis.response.fitting import fit, hyperparameter_draws
from kdsearch.analysis.response.kernels import Kernel
from kdsearch.analysis.response.observations import Observations
from kdsearch.analysis.response.process import Posterior
from kdsearch.analysis.response.space import ResponseSpace
from kdsearch.spec import TEMPERATURE, load_spec

SPACE = ResponseSpace(
    load_spec(
        {
            "name": "s",
            "tune": {
                TEMPERATURE: {"low": 1, "high": 40, "log": True},
                "optimizer.lr": {"low": 0.01, "high": 1, "log": True},
            },
            "setup": {"optimizer.name": ["sgd", "adamw"]},
        }
    )
)


def observations(n: int, noise: float, n_broken: int = 0, seed: int = 0) -> Observations:
    rng = np.random.default_rng(seed)
    u, v = rng.random((2, n))
    points = 90 - 6 * (u - 0.4) ** 2 - 8 * (v - 0.5) ** 2 + noise * rng.normal(size=n)
    points[:n_broken] -= 12
    nodes = np.column_stack([np.rint(40 * u), np.rint(32 * v)]).astype(np.intp)
    return Observations(np.arange(n) % 2, nodes, points)


@pytest.fixture
def kernel() -> Kernel:
    return Kernel(SPACE.axes, SPACE.distances)


@pytest.mark.parametrize("n_broken", [0, 4])
def test_the_fit_is_most_probable_for_its_own_sample(kernel: Kernel, n_broken: int):
    found = fit(kernel, observations(60, 0.3, n_broken))
    _, gradient = Posterior(kernel, found.sample).value_and_gradient(found.theta)
    low, high = np.array(kernel.bounds()).T
    inside = (found.theta > low + 1e-6) & (found.theta < high - 1e-6)
    assert np.abs(gradient[inside]).max() < 1.0


@pytest.mark.parametrize("noise", [0.2, 1.0])
def test_the_noise_is_found(kernel: Kernel, noise: float):
    found = fit(kernel, observations(120, noise))
    np.testing.assert_allclose(np.sqrt(kernel.noise(found.theta)), noise, rtol=0.35)


def test_broken_trials_are_told_and_only_they(kernel: Kernel):
    measured = observations(60, 0.3, n_broken=4)
    found = fit(kernel, measured)
    broken = {
        (int(s), *map(int, nodes)) for s, nodes in zip(measured.setup[:4], measured.nodes[:4], strict=True)
    }
    cells = zip(found.evidence.setup, found.evidence.nodes, found.evidence.variance, strict=True)
    told = {(int(s), *map(int, nodes)) for s, nodes, variance in cells if variance > 100}
    assert told <= broken
    assert len(told) >= 3
    assert np.sqrt(kernel.noise(found.theta)).max() < 0.6


def test_many_trials_become_few_cells(kernel: Kernel):
    found = fit(kernel, observations(3000, 0.3))
    assert len(found.evidence) <= 700
    assert found.evidence.n_spare.sum() + len(found.evidence) == 3000


def test_draws_of_hyperparameters_surround_the_most_probable(kernel: Kernel):
    found = fit(kernel, observations(60, 0.3))
    posterior = Posterior(kernel, found.sample)
    draws = hyperparameter_draws(found, 8, np.random.default_rng(0))
    worse = [posterior.value(theta) - posterior.value(found.theta) for theta in draws]
    assert len({tuple(theta) for theta in draws}) >= 4
    assert max(worse) < 25


@pytest.mark.parametrize("step", [1, 8], ids=["places of their own", "few places"])
def test_of_trials_that_were_not_fitted_the_broken_weigh_nothing_and_the_others_count(
    kernel: Kernel, step: int
):
    n, n_broken = 900, 100
    measured = observations(n, 0.5, n_broken)
    at = Observations(measured.setup, measured.nodes // step * step, measured.points)
    weight = (1 / fit(kernel, at).evidence.variance).sum()
    assert 0.85 * (n - n_broken) < weight < n - n_broken + 1


@pytest.mark.parametrize("n", [80, 400])
@pytest.mark.parametrize("growth", [0.2, 1.0, 5.0])
def test_noise_that_grows_with_temperature_is_found(kernel: Kernel, n: int, growth: float):
    rng = np.random.default_rng(0)
    u, v = rng.random((2, n))
    points = 90 - 4 * (u - 0.4) ** 2 - 8 * (v - 0.5) ** 2 + 0.3 * growth ** (u - 0.5) * rng.normal(size=n)
    nodes = np.column_stack([np.rint(40 * u), np.rint(32 * v)]).astype(np.intp)
    found = fit(kernel, Observations(np.arange(n) % 2, nodes, points))
    noise = np.sqrt(kernel.noise(found.theta)[found.evidence.setup] * found.evidence.variance)
    places = found.evidence.nodes[:, 0] / 40
    low, high = (float(np.median(noise[places < 0.3])), float(np.median(noise[places > 0.7])))
    assert high / low == pytest.approx(growth**0.7, rel=0.4)
    assert np.median(noise) == pytest.approx(0.3, rel=0.3)
