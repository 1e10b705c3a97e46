"""What the search believes of one setup."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kdsearch.analysis.response.axes import FloatArray, IntArray
from kdsearch.analysis.response.candidates import candidates, nearest_places, product_nodes
from kdsearch.analysis.response.fitting import Fit
from kdsearch.analysis.response.space import ResponseSpace, Site
from kdsearch.analysis.response.surfaces import Surfaces, mean_surface

_FEW_VALUES = 8
"""An axis with more values than this is looked at on every second one: neighbours are much alike."""


@dataclass(frozen=True)
class SetupBelief:
    """Draws of a setup's accuracy, in the model's points.

    Attributes:
        temperatures: Nodes on the temperature axis [U].
        others: Nodes of the other parameters [C, P - 1].
        values: The draws [Q, U, C].
    """

    temperatures: IntArray
    others: IntArray
    values: FloatArray

    @cached_property
    def profile(self) -> FloatArray:
        """Each draw's best value at each temperature [Q, U]."""
        return np.asarray(self.values.max(axis=2))

    @cached_property
    def mean(self) -> FloatArray:
        """The mean over the draws [U, C]."""
        return np.asarray(self.values.mean(axis=0))

    @cached_property
    def regret(self) -> float:
        """What the temperature that is best on average is expected to lose."""
        best = self.profile[:, self.profile.mean(axis=0).argmax()]
        return float((self.profile.max(axis=1) - best).mean())

    def nodes(self, temperature: int, other: int) -> tuple[int, ...]:
        """Return the nodes, one an axis, of a temperature and others.

        `temperature` and `other` are indices into `temperatures` and `others`.
        """
        return (int(self.temperatures[temperature]), *(int(node) for node in self.others[other]))

    def nearest(self, tried: Sequence[Sequence[int]]) -> IntArray:
        """Return the nearest temperature and others of N trials, as indices.

        The shape is [N, 2]: an index into `temperatures`, and one into `others`.
        """
        nodes = np.array(tried, dtype=np.intp).reshape(-1, 1 + self.others.shape[1])
        return nearest_places(self.temperatures, self.others, nodes)


def believe(
    space: ResponseSpace, site: Site, found: Fit, surfaces: Sequence[Surfaces], rng: np.random.Generator
) -> SetupBelief:
    """Return what draws of all setups' surfaces say of one.

    Args:
        space: Where the trials lie.
        site: The setup.
        found: The model that the surfaces are drawn from.
        surfaces: Draws of the surfaces.
        rng: Spreads the candidates where several parameters are tuned beside temperature.
    """
    temperatures = _thinned(np.flatnonzero(site.allowed[0]), is_continuous=space.axes[0].continuous)
    if len(space.axes) == 2:
        others = _thinned(np.flatnonzero(site.allowed[1]), is_continuous=space.axes[1].continuous)[:, None]
    else:
        others = candidates(space, site.index, mean_surface(found.process()), found.evidence, rng)
        for axis, allowed in enumerate(site.allowed[1:]):
            others = others[allowed[others[:, axis]]]
    nodes = product_nodes(temperatures, others)
    values = np.concatenate([surface.at(site.index, nodes) for surface in surfaces])
    return SetupBelief(temperatures, others, values.reshape(-1, len(temperatures), len(others)))


def _thinned(nodes: IntArray, *, is_continuous: bool) -> IntArray:
    return nodes[::2] if is_continuous and len(nodes) > _FEW_VALUES else nodes
