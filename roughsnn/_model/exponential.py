"""Synapses whose current decays exponentially."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Numeric
from .domain import Bound, as_bounded
from .neuron import AbstractDiffusive, as_sigma, mix
from .synapse import AbstractLinearSynapse


class Exponential(AbstractDiffusive, AbstractLinearSynapse):
    r"""$dg = -g\,dt/\tau + \sigma\cdot dB$, $g \to g + w$ at an arrival; the current is g
    (Holberg & Salvi 2024, eq. 1-3).

    **Arguments:**

    - `tau`: the decay time of the current, positive ($1/\mu_2$ of the paper); scalar or shape
        `(neurons,)`.
    - `sigma`: the noise on the current, per square root of time, for each channel, shape
        `(channels,)` or `(neurons, channels)`; a number is one channel, `None` no noise. Channels
        are shared with the neuron of the population.

    **Raises:** `ValueError` for wrong shapes, integer arrays, values that are not finite, time
    constants that are not positive.
    """

    tau: Float[Array, "*neurons"]
    sigma: Float[Array, "*neurons channels"]

    def __init__(self, tau: Numeric, sigma: Numeric | None = None):
        self.tau = as_bounded("tau", tau, "positive")
        self.sigma = as_sigma("sigma", sigma, self.tau.dtype)

    def initial(self):
        """See [`roughsnn.AbstractSynapse`][]."""
        return jnp.zeros((), self.tau.dtype)

    def drift(self, g):
        """See [`roughsnn.AbstractSynapse`][]."""
        return -g / self.tau

    def receive(self, g, amount):
        """See [`roughsnn.AbstractSynapse`][]."""
        return g + amount

    def current(self, g, v):
        """See [`roughsnn.AbstractSynapse`][]."""
        del v
        return g

    def noise(self, g, dw):
        """See [`roughsnn.AbstractSynapse`][]."""
        del g
        return mix(self.sigma, dw)

    def bounds(self):
        """The time constant is positive."""
        return (Bound("tau", self.tau, "positive"),)
