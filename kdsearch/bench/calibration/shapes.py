"""Shapes from outside: curves over temperature that the model was not built with.

Positions are shares of the ranges of log temperature and log learning rate, heights are points. Every
family has twelve setups whose three factors move the curve; the best learning rate falls with temperature
and a cliff lies above it. Whoever changes the model must not tune it to these shapes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal, TypeAlias

import numpy as np

from kdsearch.bench.calibration.published import Points, published_losses
from kdsearch.bench.calibration.worlds import Truth, World
from kdsearch.spec import TEMPERATURE, Params, Setup, load_spec, setup_key

Noise: TypeAlias = Literal["constant", "heavy", "growing"]
NOISES: tuple[Noise, ...] = ("constant", "heavy", "growing")

_LR = "optimizer.lr"
_FACTORS: dict[str, list[Any]] = {
    "optimizer.name": ["sgd", "adamw"],
    "teacher.finetune.epochs": [2, 10, 50],
    "training.epochs": [10, 30],
}
_N_TRUTH = 401  # temperatures of the truth, so many that its grid adds no error that counts
_COUPLING = 0.25  # by so much of its range falls the best learning rate from the lowest T to the highest
_SLOW = (6.0, 0.3)  # points lost far below the best rate, and over which share of the range
_CLIFF = (40.0, 0.3, 0.1)  # points lost above it: how many, from how far above, over which share
_TAILS = 3  # degrees of freedom of heavy noise: several standard deviations now and then, both ways
_WILD = 6.0  # how many times as large noise is on the cliff as at the best rate


@dataclass(frozen=True)
class Curve:
    """One setup's curve: what temperature loses, and how its levels moved it.

    Attributes:
        place: Where the best temperature lies, for families that have one inside.
        depth: About how many points the worst temperature loses.
        width: How wide the curve is, as a factor around 1.
        level: The index of the second factor's level.
    """

    place: float
    depth: float
    width: float
    level: int


def _dip(apart: Points) -> Points:
    return np.asarray(-np.expm1(-0.5 * apart**2))


def _rise(apart: Points) -> Points:
    return np.asarray(-np.expm1(-np.maximum(apart, 0.0)))


def _symmetric(u: Points, curve: Curve) -> Points:
    return curve.depth * _dip((u - curve.place) / (0.3 * curve.width))


def _steep_below(u: Points, curve: Curve) -> Points:
    x = u - curve.place
    return np.where(
        x < 0, curve.depth * _rise(-x / (0.12 * curve.width)), 0.25 * curve.depth * _rise(x / 0.8)
    )


def _steep_above(u: Points, curve: Curve) -> Points:
    x = u - curve.place
    return np.where(
        x > 0, curve.depth * _rise(x / (0.12 * curve.width)), 0.25 * curve.depth * _rise(-x / 0.8)
    )


def _cusp(u: Points, curve: Curve) -> Points:
    return curve.depth * _rise(np.abs(u - curve.place) / (0.35 * curve.width))


def _two_humps(u: Points, curve: Curve) -> Points:
    first, second = 0.2 + 0.2 * curve.place, 0.7 + 0.25 * curve.place
    lower = 0.25 * curve.depth
    near = _dip((u - first) / (0.1 * curve.width))
    far = _dip((u - second) / (0.1 * curve.width))
    heights = (lower, 0.0) if curve.level == 1 else (0.0, lower)
    humps = [curve.depth * dip + height * (1 - dip) for dip, height in zip((near, far), heights, strict=True)]
    return np.minimum(*humps)


def _plateau(u: Points, curve: Curve) -> Points:
    beyond = np.maximum(np.abs(u - curve.place) - 0.2 * curve.width, 0.0)
    return curve.depth * _dip(beyond / 0.15)


def _flat(u: Points, curve: Curve) -> Points:
    return 0.1 * np.sin(2 * np.pi * (u + curve.place))


def _edge_low(u: Points, curve: Curve) -> Points:
    return 0.6 * curve.depth * u**1.5


def _edge_high(u: Points, curve: Curve) -> Points:
    return 0.6 * curve.depth * (1 - u) ** 1.5


def _ceiling(u: Points, curve: Curve) -> Points:
    return curve.depth * _dip((u - curve.place) / (0.4 * curve.width)) - 1.0


def _steep_beside_flat(u: Points, curve: Curve) -> Points:
    return _flat(u, curve) if curve.level else curve.depth * u


def _falls_at_once(u: Points, curve: Curve) -> Points:
    return curve.depth * _rise(u / (0.12 * curve.width))


def _published(losing: Callable[[Points], Points]) -> Callable[[Points, Curve], Points]:
    """Return a family whose setups all have one published curve."""
    return lambda u, _: losing(u)


FAMILIES: dict[str, Callable[[Points, Curve], Points]] = {
    "symmetric": _symmetric,
    "steep below": _steep_below,
    "steep above": _steep_above,
    "cusp": _cusp,
    "two humps": _two_humps,
    "plateau": _plateau,
    "flat": _flat,
    "edge low": _edge_low,
    "edge high": _edge_high,
    "ceiling": _ceiling,
    "steep beside flat": _steep_beside_flat,
    "falls at once": _falls_at_once,
    **{name: _published(losing) for name, losing in published_losses().items()},
}
_CEILING_TOP = 99.6  # so that the best temperatures of the ceiling's curves all reach 100


class ShapeWorld(World):
    """Students of a family of curves, drawn as they are asked for.

    Args:
        family: One of `FAMILIES`.
        noise: Constant, with heavy tails on both sides, or growing towards the cliff of learning rates.
        seed: Fixes curves and noise.
        n_trials: The budget that the spec names.
        factors: The levels of each factor; those of the second tell a family's two kinds apart.
    """

    def __init__(
        self,
        family: str,
        noise: Noise,
        seed: int,
        n_trials: int,
        factors: Mapping[str, list[Any]] = _FACTORS,
    ) -> None:
        name = family.replace(" ", "-")
        document = {
            "name": f"{name}-{noise}-{seed}",
            "optimizer": {"lr": 0.1},
            "setup": dict(factors),
            "tune": {
                TEMPERATURE: {"low": 1, "high": 40, "log": True},
                _LR: {"low": 0.01, "high": 1.0, "log": True},
            },
            "search": {"trials": n_trials, "seed": seed},
        }
        super().__init__(load_spec(document))
        self._loss, self._noise, self._family = FAMILIES[family], noise, family
        drawn = np.random.default_rng([seed, list(FAMILIES).index(family)])
        self._draw = np.random.default_rng([seed, list(FAMILIES).index(family), NOISES.index(noise)])
        self._seeds = count()
        self._curves: dict[str, Curve] = {}
        self._tops: dict[str, float] = {}
        self._rates: dict[str, float] = {}
        self._spreads: dict[str, float] = {}
        steps = [drawn.normal(0, 0.13, len(levels)) for levels in factors.values()]
        depth = drawn.uniform(2, 5)
        for setup in self.spec.setups():
            at = [factors[path].index(level) for path, level in setup.items()]
            moved = 0.5 + sum(step[k] for step, k in zip(steps, at, strict=True)) + drawn.normal(0, 0.04)
            key = setup_key(setup)
            self._curves[key] = Curve(
                place=float(np.clip(moved, 0.15, 0.85)),
                depth=depth * float(np.exp(drawn.normal(0, 0.2))),
                width=float(np.exp(drawn.normal(0, 0.15))),
                level=at[1],
            )
            usual = 85.0 + sum(at) + drawn.normal(0, 1)
            self._tops[key] = _CEILING_TOP if family == "ceiling" else usual
            self._rates[key] = float(np.clip(drawn.normal(0.55, 0.08), 0.35, 0.75))
            self._spreads[key] = float(drawn.uniform(0.3, 0.7))

    def accuracy(self, setup: Setup, u: Points, v: Points) -> Points:
        """Return expected accuracy in points for temperatures and learning rates.

        Both are given as positions on the setup's ranges.
        """
        key = setup_key(setup)
        curve = self._curves[key]
        from_best = v - self._rate_at(setup, u)
        slow = _SLOW[0] * _dip(np.minimum(from_best, 0.0) / _SLOW[1])
        cliff = _CLIFF[0] * _dip(np.maximum(from_best - _CLIFF[1], 0.0) / _CLIFF[2])
        gentle = 0.5 * _SLOW[0] * _dip(np.maximum(from_best, 0.0) / _SLOW[1])
        return np.minimum(self._tops[key] - self._loss(u, curve) - slow - gentle - cliff, 100.0)

    def _rate_at(self, setup: Setup, u: Points) -> Points:
        return np.asarray(self._rates[setup_key(setup)] - _COUPLING * (u - 0.5))

    def outcome(self, setup: Setup, params: Params) -> tuple[Params, int, float | None]:
        """Return a student's accuracy: the expected one and noise, at most 100%."""
        u, v = (np.array(self.dimension(path, setup).to_unit(params[path])) for path in (TEMPERATURE, _LR))
        spread = self._spreads[setup_key(setup)]
        if self._noise == "growing":
            above = float(v - self._rate_at(setup, u))
            spread *= 1 + (_WILD - 1) / (1 + np.exp(-(above - 0.25) / 0.05))
        heavy = self._noise == "heavy"
        luck = self._draw.standard_t(_TAILS) / np.sqrt(_TAILS) if heavy else self._draw.standard_normal()
        points = float(self.accuracy(setup, u, v)) + spread * float(luck)
        return params, next(self._seeds), float(np.clip(points, 0.0, 100.0)) / 100

    def truth(self, setup: Setup) -> Truth:
        """Return the curve at its best learning rates."""
        units = np.linspace(0, 1, _N_TRUTH)
        rates = np.clip(self._rate_at(setup, units), 0.0, 1.0)
        temperatures = np.array([self.temperature_at(setup, float(unit)) for unit in units])
        return Truth(temperatures, self.accuracy(setup, units, rates)[None])

    def sensible(self, setup: Setup) -> Params:
        """Return the rate that is best on average over setups and temperatures."""
        return {_LR: self.dimension(_LR, setup).from_unit(float(np.mean(list(self._rates.values()))))}
