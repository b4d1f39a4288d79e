"""The resonate-and-fire neuron."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._misc import as_float_array
from .._types import Numeric, Scalar
from .domain import Bound, as_bounded
from .neuron import AbstractDiffusive, AbstractLinearNeuron, as_sigma, mix
from .reset import AbstractReset, as_reset


class ResonatorState(NamedTuple):
    """The potential, and what it turns with."""

    v: Scalar
    w: Scalar


class ResonateAndFire(AbstractDiffusive, AbstractLinearNeuron):
    r"""A damped oscillation of the potential (Izhikevich 2001).

    $$dv = \bigl((I - v)/\tau - \omega w\bigr)\,dt + \sigma\cdot dB, \qquad
      dw = (\omega v - w/\tau)\,dt, \qquad v \to v - a \text{ at a spike.}$$

    It answers best to inputs near its own frequency $\omega/2\pi$.

    **Arguments:**

    - `tau`: the time constant of the damping, positive.
    - `omega`: the angular frequency.
    - `reset`, `sigma`: as for [`roughsnn.neurons.LIF`][].

    `tau` and `omega` are scalars or have shape `(neurons,)`.

    **Raises:** as [`roughsnn.neurons.LIF`][].

    ??? cite "Reference"

        E. M. Izhikevich, *Resonate-and-fire neurons*, Neural Networks 14 (2001).
    """

    tau: Float[Array, "*neurons"]
    omega: Float[Array, "*neurons"]
    reset: AbstractReset
    sigma: Float[Array, "*neurons channels"]

    def __init__(
        self,
        tau: Numeric,
        omega: Numeric,
        reset: AbstractReset | None = None,
        sigma: Numeric | None = None,
    ):
        self.tau = as_bounded("tau", tau, "positive")
        self.omega = as_float_array("omega", omega)
        self.reset = as_reset(reset)
        self.sigma = as_sigma("sigma", sigma, self.tau.dtype)

    def initial(self):
        """See [`roughsnn.AbstractNeuron`][]."""
        zero = jnp.zeros((), self.tau.dtype)
        return ResonatorState(zero, zero)

    def drift(self, t, x, current):
        """See [`roughsnn.AbstractNeuron`][]."""
        del t
        return ResonatorState(
            (current - x.v) / self.tau - self.omega * x.w, self.omega * x.v - x.w / self.tau
        )

    def noise(self, x, dw):
        """See [`roughsnn.AbstractNeuron`][]."""
        return ResonatorState(mix(self.sigma, dw), jnp.zeros_like(x.w))

    def spike(self, x):
        """See [`roughsnn.AbstractNeuron`][]."""
        return ResonatorState(self.reset(x.v), x.w)

    def potential(self, x):
        """See [`roughsnn.AbstractNeuron`][]."""
        return x.v

    def bounds(self):
        """The time constant is positive."""
        return (Bound("tau", self.tau, "positive"),)
