"""The coordinate of a neuron in which its steps are made, up to its threshold and beyond."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._conditions.affine import dependence
from .._misc import at_most, is_concrete
from .._model.firing import HardThreshold
from .._model.layout import Group
from .._model.mapped import mapped, one_of
from .._model.neuron import AbstractNeuron
from .linear import assembled, num_components, state_shapes


class Coordinate(eqx.Module):
    """The map of a component of the state to the coordinate, with a straight line behind the
    threshold, for what has overshot it."""

    neuron: AbstractNeuron
    peak: Float[Array, " neurons"]
    # The threshold in the coordinate, and how fast that grows with the potential there.
    level: Float[Array, " neurons"]
    slope: Float[Array, " neurons"]
    index: int = eqx.field(static=True)

    @classmethod
    def of(cls, group: Group, dtype: Any) -> "Coordinate | None":
        """That of a group, if its neurons have one and a hard threshold."""
        neuron, firing = group.neuron, group.firing
        if not neuron.has_coordinate or not isinstance(firing, HardThreshold):
            return None
        peak = jnp.broadcast_to(firing.threshold, (group.size,)).astype(dtype)
        to = lambda v: mapped(lambda n, v: n.coordinate(v), neuron, v)
        level, slope = jax.jvp(to, (peak,), (jnp.ones_like(peak),))
        return cls(neuron, peak, level, slope, component_of_potential(neuron, dtype))

    def of_potential(self, v: Array) -> Array:
        """The coordinate of a potential."""
        z = mapped(lambda n, v: n.coordinate(v), self.neuron, at_most(v, self.peak))
        return jnp.where(v > self.peak, self.level + (v - self.peak) * self.slope, z)

    def potential(self, z: Array) -> Array:
        """The potential at a coordinate."""
        v = mapped(lambda n, z: n.from_coordinate(z), self.neuron, at_most(z, self.level))
        return jnp.where(z > self.level, self.peak + (z - self.level) / self.slope, v)

    def held(self, z: Array) -> Array:
        """Not behind the threshold."""
        return at_most(z, self.level)

    def slope_at(self, v: Array, change: Array) -> Array:
        """How fast the coordinate changes with the potential."""
        to = lambda v: mapped(lambda n, v: n.coordinate(v), self.neuron, v)
        return jax.jvp(to, (v,), (change,))[1]


def component_of_potential(neuron: AbstractNeuron, dtype: Any) -> int:
    """Which number of the state the potential is."""
    shapes, size = state_shapes(neuron, dtype), num_components(neuron, dtype)
    read = lambda *x: [one_of(lambda n: n.potential(assembled(shapes, list(x))), neuron)]
    with jax.ensure_compile_time_eval():
        probe = [jnp.asarray(x, dtype) for x in np.linspace(0.3, 0.7, size)]
        (reads,) = dependence(read, *probe)
        found = [k for k, own in enumerate(reads) if own]
        got = read(*probe)[0]
    if len(found) == 1 and (not is_concrete(got) or float(got) == float(probe[found[0]])):
        return found[0]
    raise ValueError(
        f"The `potential` of a {type(neuron).__name__} must be one of the numbers of its state, as "
        "it has a `coordinate`."
    )
