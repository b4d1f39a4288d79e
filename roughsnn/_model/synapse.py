"""Synapses: what a port of a neuron makes of the spikes that arrive at it."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .._types import Scalar
from .domain import Bound


class AbstractSynapse(eqx.Module):
    r"""One port of one neuron: a state g that spikes change, and the current that it makes.

    Written for a single neuron, as a [`roughsnn.AbstractNeuron`][] is: a state that is a number or
    a pytree of named numbers, parameters that are numbers or have shape `(neurons,)`.
    """

    @abc.abstractmethod
    def initial(self) -> PyTree[Float[Array, ""]]:
        """The state at rest."""

    @abc.abstractmethod
    def drift(self, g: PyTree) -> PyTree:
        """dg/dt between spikes."""

    @abc.abstractmethod
    def receive(self, g: PyTree, amount: Scalar) -> PyTree:
        """The state just after the arrival of a spike with the weight `amount`."""

    @abc.abstractmethod
    def current(self, g: PyTree, v: Scalar) -> Scalar:
        """What flows into the neuron at a potential."""

    def noise(self, g: PyTree, dw: Float[Array, " channels"]) -> PyTree:
        """What an increment of the noise adds to the state; nothing by default."""
        del dw
        return jax.tree.map(jnp.zeros_like, g)

    @property
    def channels(self) -> int:
        """The number of noise channels; 0 by default."""
        return 0

    def channels_drawn(self) -> tuple[int, ...]:
        """The channels that reach the state as far as is known; only they get random numbers."""
        return tuple(range(self.channels))

    def bounds(self) -> tuple[Bound, ...]:
        """What its parameters must be; none by default."""
        return ()


class AbstractLinearSynapse(AbstractSynapse):
    """A synapse whose drift is linear in g, whose current is linear in g and does not read the
    potential, and whose noise does not depend on g: steps are exact in all of that. An arrival
    adds to the state in proportion to the weight."""
