"""The equations of a network as functions of time and state.

They are modules and not closures: those of a network with other numbers are the same functions, so
nothing is compiled again.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float

from .._misc import one_hot
from .._types import DriveFunction
from .connectivity import SparseWeights
from .drive import evaluate_drive
from .firing import AbstractFiring
from .membrane import AbstractMembrane
from .state import NeuronState


class Drift(eqx.Module):
    """What moves the neurons between spikes: membrane, currents and hazard."""

    membrane: AbstractMembrane
    firing: AbstractFiring
    drive: DriveFunction

    def __call__(self, t, y: NeuronState, args) -> NeuronState:
        """d(v, i, s)/dt."""
        dv, di = self.membrane.drift(y.v, y.i, evaluate_drive(self.drive, t))
        return NeuronState(dv, di, self.firing.hazard(y.v))


class Diffusion(eqx.Module):
    """How the noise channels act."""

    membrane: AbstractMembrane

    def __call__(self, t, y: NeuronState, args) -> lx.FunctionLinearOperator:
        """The map from increments, shape `(neurons, channels)`, to those of the state."""

        def act(dx):
            dv, di = self.membrane.noise(y.v, y.i, dx)
            return NeuronState(dv, di, None if y.s is None else jnp.zeros_like(y.s))

        shape = (y.v.shape[0], self.membrane.channels)
        return lx.FunctionLinearOperator(act, jax.ShapeDtypeStruct(shape, y.v.dtype))


class Currents(eqx.Module):
    """How spikes from outside act: they add to the currents."""

    def __call__(self, t, y: NeuronState, args) -> lx.FunctionLinearOperator:
        """The map from increments, shape `(neurons,)`, to those of the state."""

        def act(dx):
            zero = None if y.s is None else jnp.zeros_like(y.s)
            return NeuronState(jnp.zeros_like(y.v), dx, zero)

        return lx.FunctionLinearOperator(act, jax.ShapeDtypeStruct(y.i.shape, y.i.dtype))


class Excess(eqx.Module):
    """The event functions: a neuron fires where its own rises through 0."""

    firing: AbstractFiring

    def __call__(self, t, y: NeuronState, args) -> Float[Array, " neurons"]:
        """E(v, s), one for each neuron."""
        return self.firing.event(y.v, y.s)


class Spike(eqx.Module):
    """What a spike of neuron k does: its potential is reset, its next threshold drawn, and its
    weights are added to the currents."""

    membrane: AbstractMembrane
    firing: AbstractFiring
    weights: Float[Array, "neurons neurons"] | SparseWeights | None

    def __call__(self, t, y: NeuronState, args, k, u) -> NeuronState:
        """The state just after."""
        fired = one_hot(k, y.v.shape[0])
        v = jnp.where(fired, self.membrane.reset(y.v), y.v)
        threshold = self.firing.draw_threshold(u)
        s = None
        if threshold is not None:
            assert y.s is not None
            s = jnp.where(fired, threshold, y.s)
        i, weights = y.i, self.weights
        if weights is not None:
            i = i + (weights.row(k) if isinstance(weights, SparseWeights) else weights[k])
        return NeuronState(v, i, s)
