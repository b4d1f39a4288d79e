"""Synapses: what a port of a neuron makes of the spikes that arrive at it."""

import abc
from typing import TYPE_CHECKING

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .._types import Scalar
from .domain import Bound

if TYPE_CHECKING:
    from typing import ClassVar as AbstractVar
else:
    from equinox import AbstractVar


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


class AbstractConductance(AbstractSynapse):
    """A synapse that lets a current through that depends on the potential: a linear synapse, its
    `kernel`, makes a conductance of what arrives, and `flow` a current of that."""

    kernel: AbstractVar[AbstractLinearSynapse]

    @abc.abstractmethod
    def flow(self, conductance: Scalar, v: Scalar) -> Scalar:
        """What flows into the neuron at a potential."""

    def initial(self) -> PyTree[Float[Array, ""]]:
        """That of the kernel."""
        return self.kernel.initial()

    def drift(self, g: PyTree) -> PyTree:
        """That of the kernel."""
        return self.kernel.drift(g)

    def receive(self, g: PyTree, amount: Scalar) -> PyTree:
        """That of the kernel."""
        return self.kernel.receive(g, amount)

    def current(self, g: PyTree, v: Scalar) -> Scalar:
        """What flows into the neuron at a potential."""
        return self.flow(self.kernel.current(g, v), v)

    def noise(self, g: PyTree, dw: Float[Array, " channels"]) -> PyTree:
        """That of the kernel."""
        return self.kernel.noise(g, dw)

    @property
    def channels(self) -> int:
        """Those of the kernel."""
        return self.kernel.channels

    def channels_drawn(self) -> tuple[int, ...]:
        """Those of the kernel."""
        return self.kernel.channels_drawn()

    def bounds(self) -> tuple[Bound, ...]:
        """Those of the kernel; with some of its own, it must return both."""
        return self.kernel.bounds()
