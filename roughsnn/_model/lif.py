"""The leaky integrate-and-fire neuron."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._misc import as_float_array
from .._types import Numeric, Scalar
from .domain import Bound, as_bounded
from .neuron import AbstractDiffusive, AbstractLinearNeuron, as_sigma, mix
from .reset import AbstractReset, as_reset


class LIFState(NamedTuple):
    """The membrane potential."""

    v: Scalar


class LIF(AbstractDiffusive, AbstractLinearNeuron):
    r"""Leaky integrate-and-fire (Holberg & Salvi 2024, eq. 1-3).

    $$\tau\,dv = (v_0 + I(t) - v)\,dt + \tau\,\sigma\cdot dB, \qquad v \to v - a
      \text{ at a spike.}$$

    The current I has the unit of v. Reset by subtraction commutes with noise on the membrane.

    **Arguments:**

    - `tau`: the membrane time constant, positive ($1/\mu_1$ of the paper).
    - `reset`: [`roughsnn.Subtract`][] (default, by 1) or [`roughsnn.ResetTo`][], which goes with
        potentials without noise.
    - `sigma`: the noise on v, in potential per square root of time, for each channel, shape
        `(channels,)` or `(neurons, channels)`; a number is one channel, `None` no noise. Channels
        are shared with the ports of the population.
    - `rest`: $v_0$, where the potential goes without current, and starts.

    `tau` and `rest` are scalars or have shape `(neurons,)`.

    **Raises:** `ValueError` for wrong shapes, integer arrays, values that are not finite, time
    constants that are not positive.
    """

    tau: Float[Array, "*neurons"]
    reset: AbstractReset
    sigma: Float[Array, "*neurons channels"]
    rest: Float[Array, "*neurons"]

    def __init__(
        self,
        tau: Numeric = 1.0,
        reset: AbstractReset | None = None,
        sigma: Numeric | None = None,
        rest: Numeric = 0.0,
    ):
        self.tau = as_bounded("tau", tau, "positive")
        self.reset = as_reset(reset)
        self.sigma = as_sigma("sigma", sigma, self.tau.dtype)
        self.rest = as_float_array("rest", rest)

    def initial(self):
        """See [`roughsnn.AbstractNeuron`][]."""
        return LIFState(self.rest)

    def drift(self, t, x, current):
        """See [`roughsnn.AbstractNeuron`][]."""
        del t
        return LIFState((self.rest + current - x.v) / self.tau)

    def noise(self, x, dw):
        """See [`roughsnn.AbstractNeuron`][]."""
        del x
        return LIFState(mix(self.sigma, dw))

    def spike(self, x):
        """See [`roughsnn.AbstractNeuron`][]."""
        return LIFState(self.reset(x.v))

    def potential(self, x):
        """See [`roughsnn.AbstractNeuron`][]."""
        return x.v

    def noisy_potential(self, level):
        """See [`roughsnn.AbstractNeuron`][]."""
        del level
        return jnp.any(self.sigma != 0)

    def bounds(self):
        """The time constant is positive."""
        return (Bound("tau", self.tau, "positive"),)
