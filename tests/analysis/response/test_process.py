"""The Gaussian process against formulas written out, finite differences and refitting."""

import math

import numpy as np
import pytest

from kdsearch.analysis.response.kernels import Kernel
from kdsearch.analysis.response.observations import Evidence, Observations, weigh
from kdsearch.analysis.response.process import Posterior, Process
from kdsearch.analysis.response.space import ResponseSpace
from kdsearch.analysis.response.surfaces import draw_surfaces, mean_surface
from kdsearch.spec import TEMPERATURE, load_spec

TUNE = {
    TEMPERATURE: {"low": 1, "high": 40, "log": True},
    "optimizer.lr": {"low": 0.01, "high": 1, "log": True},
    "training.batch_size": {"choices": [16, 32, 64]},
}
FACTORS = {"optimizer.name": ["sgd", "adamw"], "training.epochs": [10, 20, 40]}


def kernel_of(n_tuned: int, factors: dict) -> Kernel:
    tune = dict(list(TUNE.items())[:n_tuned])
    space = ResponseSpace(load_spec({"name": "s", "tune": tune, "setup": factors}))
    return Kernel(space.axes, space.distances)


def evidence_of(kernel: Kernel, n: int, seed: int = 0) -> Evidence:
    rng = np.random.default_rng(seed)
    setup = rng.integers(0, kernel.n_setups, n)
    nodes = np.column_stack([rng.integers(0, len(axis), n) for axis in kernel.axes])
    points = 80 + 2 * np.sin(nodes[:, 0] / 8) + setup + 0.3 * rng.normal(size=n)
    points[0] = np.nan
    return weigh(Observations(setup, nodes, points), kernel.n_setups)


def hyperparameters(kernel: Kernel, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return kernel.prior_mean + 0.4 * rng.normal(size=kernel.layout.size)


CASES = [(1, {}), (1, FACTORS), (2, {}), (2, FACTORS), (3, FACTORS)]


@pytest.mark.parametrize(("n_tuned", "factors"), CASES)
def test_the_gradient_is_that_of_finite_differences(n_tuned: int, factors: dict):
    kernel = kernel_of(n_tuned, factors)
    posterior = Posterior(kernel, evidence_of(kernel, 40))
    theta = hyperparameters(kernel)
    value, gradient = posterior.value_and_gradient(theta)
    assert value == pytest.approx(posterior.value(theta))
    for index in range(kernel.layout.size):
        step = np.zeros_like(theta)
        step[index] = 1e-5
        expected = (posterior.value(theta + step) - posterior.value(theta - step)) / 2e-5
        assert gradient[index] == pytest.approx(expected, rel=1e-4, abs=1e-4)


def matern(distance: float, length: float) -> float:
    r = math.sqrt(5) * distance / length
    return (1 + r + r * r / 3) * math.exp(-r)


def written_out(kernel: Kernel, theta: np.ndarray, a: tuple, b: tuple) -> float:
    """Return the covariance of two (setup, nodes), term by term.

    It is for two numeric axes and a choice.
    """
    at, distances = kernel.layout, kernel.distances[a[0], b[0]]
    same = float(a[0] == b[0])
    total = math.exp(theta[at.offset]) * math.exp(-0.5 * (distances > 0).sum())
    joint = math.exp(theta[at.joint_scale][0])
    for c, axis in enumerate(kernel.axes):
        own = 1 / (1 + math.exp(-theta[at.own][c]))
        shared = (1 - own) * math.exp(-(np.exp(theta[at.fadings[c]]) * distances).sum()) + own * same
        x, y = axis.positions[a[1][c]], axis.positions[b[1][c]]
        lengths = math.exp(theta[at.lengths][c]), math.exp(theta[at.joint_lengths][c])
        main, wide = (
            [math.exp(-float(x != y) / length) for length in lengths]
            if axis.choices
            else [matern(abs(x - y), length) for length in lengths]
        )
        joint *= wide
        total += shared * math.exp(theta[at.scales][c]) * main
        if c == 0:
            sharing_of_joint = shared
    return total + sharing_of_joint * joint


def test_the_posterior_is_that_of_a_dense_process_written_out():
    kernel = kernel_of(3, FACTORS)
    evidence, theta = evidence_of(kernel, 25), hyperparameters(kernel)
    setup = np.array([0, 0, 3, 5])
    nodes = np.array([[0, 0, 0], [20, 10, 1], [40, 32, 2], [7, 3, 1]])
    seen = list(zip(evidence.setup, evidence.nodes, strict=True))
    asked = list(zip(setup, nodes, strict=True))
    k = np.array([[written_out(kernel, theta, a, b) for b in seen] for a in seen])
    k += np.diag(kernel.noise(theta)[evidence.setup] * evidence.variance)
    cross = np.array([[written_out(kernel, theta, a, b) for b in seen] for a in asked])
    prior = np.array([[written_out(kernel, theta, a, b) for b in asked] for a in asked])
    process = Process(kernel, theta, evidence)
    mean, covariance = process.believe(setup, nodes)
    np.testing.assert_allclose(mean, cross @ np.linalg.solve(k, evidence.y), atol=1e-5)
    np.testing.assert_allclose(covariance, prior - cross @ np.linalg.solve(k, cross.T), atol=1e-5)
    np.testing.assert_allclose(process.believe_each(setup, nodes)[1], np.diag(covariance), atol=1e-6)


def test_leaving_out_in_closed_form_is_leaving_out():
    kernel = kernel_of(2, FACTORS)
    evidence, theta = evidence_of(kernel, 20), hyperparameters(kernel)
    residual, variance = Process(kernel, theta, evidence).leave_one_out()
    for index in (0, 7, 19):
        rest = evidence.take(np.delete(np.arange(20), index))
        mean, belief = Process(kernel, theta, rest).believe(evidence.setup[[index]], evidence.nodes[[index]])
        noise = kernel.noise(theta)[evidence.setup[index]] * evidence.variance[index]
        assert residual[index] == pytest.approx(evidence.y[index] - mean[0], abs=1e-5)
        assert variance[index] == pytest.approx(belief[0, 0] + noise, rel=1e-5)


@pytest.mark.parametrize("n_tuned", [1, 2, 3])
def test_the_mean_surface_is_the_posterior_mean(n_tuned: int):
    kernel = kernel_of(n_tuned, FACTORS)
    process = Process(kernel, kernel.prior_mean, evidence_of(kernel, 60))
    rng = np.random.default_rng(3)
    nodes = np.column_stack([rng.integers(0, len(axis), 50) for axis in kernel.axes])
    for setup in range(kernel.n_setups):
        exact, _ = process.believe(np.full(50, setup), nodes)
        np.testing.assert_allclose(mean_surface(process).at(setup, nodes)[0], exact, atol=0.02)


@pytest.mark.parametrize("n_tuned", [1, 2, 3])
def test_draws_have_the_posterior_mean_and_covariance(n_tuned: int):
    kernel = kernel_of(n_tuned, FACTORS)
    process = Process(kernel, kernel.prior_mean, evidence_of(kernel, 60))
    nodes = np.column_stack([np.linspace(0, len(axis) - 1, 6).astype(int) for axis in kernel.axes])
    surfaces = draw_surfaces(process, 4000, np.random.default_rng(4))
    draws = np.hstack([surfaces.at(0, nodes), surfaces.at(4, nodes)])
    mean, covariance = process.believe(np.repeat([0, 4], 6), np.vstack([nodes, nodes]))
    sd = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(draws.mean(axis=0), mean, atol=0.08 * sd.max() + 0.02)
    np.testing.assert_allclose(np.cov(draws.T), covariance, atol=0.12 * sd.max() ** 2)
