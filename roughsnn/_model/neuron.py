"""Neurons: how the state of one moves between spikes, and at its own."""

import abc
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree

from .._misc import as_array, as_float_array, is_concrete
from .._types import Numeric, RealScalar, Scalar
from .domain import Bound

if TYPE_CHECKING:
    from typing import ClassVar as AbstractVar
else:
    from equinox import AbstractVar


class AbstractNeuron(eqx.Module):
    r"""One neuron: $dx = f(t, x, I)\,dt + g(x)\,dB$ between its spikes, $x \to S(x)$ at each.

    All maps are written for a single neuron, with a state x that is a pytree of named arrays (a
    dictionary, a named tuple or an `equinox.Module`); they are mapped over the neurons of a
    [`roughsnn.Population`][]. A parameter is a number for all neurons, or has one entry for each:
    annotate it with `Float[Array, "*neurons"]`. The current I is the sum of the drive and of what
    the ports of the population receive.
    """

    @abc.abstractmethod
    def initial(self) -> PyTree[Float[Array, "..."]]:
        """The state at rest."""

    @abc.abstractmethod
    def drift(self, t: RealScalar, x: PyTree, current: Scalar) -> PyTree:
        """dx/dt at a time and under a current."""

    @abc.abstractmethod
    def spike(self, x: PyTree) -> PyTree:
        """The state just after an own spike."""

    @abc.abstractmethod
    def potential(self, x: PyTree) -> Scalar:
        """What the firing rule reads: the membrane potential, less what the threshold has moved."""

    def voltage(self, x: PyTree) -> Scalar:
        """What synapses read whose current depends on the membrane potential; by default
        `potential`. To be given where the threshold moves."""
        return self.potential(x)

    def coordinate(self, v: Scalar) -> Scalar:
        """An increasing function of the potential in which its rise to a spike is smooth and slow;
        by default the potential itself.

        With a [`roughsnn.HardThreshold`][], up to which it has to be defined, cells are stepped
        over in it. It goes with neurons whose `potential` is one of the numbers of the state.
        """
        return v

    def from_coordinate(self, z: Scalar) -> Scalar:
        """The inverse of `coordinate`."""
        return z

    @property
    def has_coordinate(self) -> bool:
        """Whether steps are made in a coordinate of its own."""
        return type(self).coordinate is not AbstractNeuron.coordinate

    def noise(self, x: PyTree, dw: Float[Array, " channels"]) -> PyTree:
        """What an increment of the noise adds to the state; nothing by default."""
        del dw
        return jax.tree.map(jnp.zeros_like, x)

    @property
    def channels(self) -> int:
        """The number of noise channels; 0 by default."""
        return 0

    def channels_drawn(self) -> tuple[int, ...]:
        """The channels that reach the state as far as is known; only they get random numbers."""
        return tuple(range(self.channels))

    def noisy_potential(self, level: Scalar) -> Bool[Array, ""]:
        """Whether noise reaches the potential directly where it is at `level`.

        By default: whether the potential of the state at rest sees a channel.
        """
        del level
        x, unit = self.initial(), jnp.eye(self.channels)
        reach = [
            jax.jvp(self.potential, (x,), (self.noise(x, unit[c]),))[1]
            for c in self.channels_drawn()
        ]
        return jnp.any(jnp.stack(reach) != 0) if reach else jnp.array(False)

    def bounds(self) -> tuple[Bound, ...]:
        """What its parameters must be; none by default."""
        return ()


class AbstractLinearNeuron(AbstractNeuron):
    """A neuron whose drift is affine in (x, current) and does not read the time, whose noise does
    not depend on the state, and whose potential is affine: steps are exact in all of that."""


class AbstractDiffusive(eqx.Module):
    """A neuron or synapse with a strength `sigma` for each noise channel."""

    sigma: AbstractVar[Float[Array, "*neurons channels"]]

    @property
    def channels(self) -> int:
        """The number of entries of `sigma`."""
        return self.sigma.shape[-1]

    def channels_drawn(self) -> tuple[int, ...]:
        """Those of `sigma` that are not known to be zero."""
        if not is_concrete(self.sigma):
            return tuple(range(self.channels))
        known = np.asarray(self.sigma)
        seen = np.any(known != 0, axis=tuple(range(known.ndim - 1)))
        return tuple(np.flatnonzero(seen).tolist())


def as_sigma(name: str, sigma: Numeric | None, dtype: Any) -> Float[Array, "*neurons channels"]:
    """The strengths of the noise channels as an array; a number is one channel."""
    if sigma is None:
        return as_array(np.zeros(0), dtype)
    array = as_float_array(name, sigma)
    if array.ndim > 2:
        raise ValueError(
            f"`{name}` must be a number, or have shape (channels,) or (neurons, channels), got "
            f"{array.shape}."
        )
    return array[None] if array.ndim == 0 else array


def mix(sigma: Float[Array, " own"], dw: Float[Array, " channels"]) -> Scalar:
    """Their product, term by term: that fuses with what surrounds it."""
    channels = min(sigma.shape[0], dw.shape[0])
    total = jnp.zeros((), dw.dtype)
    for c in range(channels):
        total = total + sigma[c] * dw[c]
    return total
