"""Leaky integrate-and-fire with a threshold that adapts."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._misc import as_float_array
from .._types import Numeric, Scalar
from .domain import Bound, as_bounded
from .neuron import AbstractDiffusive, AbstractLinearNeuron, as_sigma, mix
from .reset import AbstractReset, as_reset


class AdaptiveState(NamedTuple):
    """The membrane potential, and by how much the threshold has moved."""

    v: Scalar
    b: Scalar


class AdaptiveLIF(AbstractDiffusive, AbstractLinearNeuron):
    r"""Leaky integrate-and-fire whose threshold rises at each spike and decays back: the neuron of
    long short-term memory networks (LSNN; Bellec et al. 2018).

    $$dv = (v_0 + I - v)\,dt/\tau + \sigma\cdot dB, \qquad db = -b\,dt/\tau_a,
      \qquad v \to v - a,\quad b \to b + \beta \text{ at a spike.}$$

    The firing rule reads $v - b$.

    **Arguments:**

    - `tau`, `reset`, `sigma`, `rest`: as for [`roughsnn.neurons.LIF`][].
    - `tau_adaptation`: $\tau_a$, positive.
    - `jump`: $\beta$, by how much a spike raises the threshold.

    Each is a scalar or has shape `(neurons,)`.

    **Raises:** as [`roughsnn.neurons.LIF`][].

    ??? cite "Reference"

        G. Bellec, D. Salaj, A. Subramoney, R. Legenstein, W. Maass, *Long short-term memory and
        learning-to-learn in networks of spiking neurons*, NeurIPS 2018.
    """

    tau: Float[Array, "*neurons"]
    tau_adaptation: Float[Array, "*neurons"]
    jump: Float[Array, "*neurons"]
    reset: AbstractReset
    sigma: Float[Array, "*neurons channels"]
    rest: Float[Array, "*neurons"]

    def __init__(
        self,
        tau: Numeric,
        tau_adaptation: Numeric,
        jump: Numeric,
        reset: AbstractReset | None = None,
        sigma: Numeric | None = None,
        rest: Numeric = 0.0,
    ):
        self.tau = as_bounded("tau", tau, "positive")
        self.tau_adaptation = as_bounded("tau_adaptation", tau_adaptation, "positive")
        self.jump = as_float_array("jump", jump)
        self.reset = as_reset(reset)
        self.sigma = as_sigma("sigma", sigma, self.tau.dtype)
        self.rest = as_float_array("rest", rest)

    def initial(self):
        """See [`roughsnn.AbstractNeuron`][]."""
        return AdaptiveState(self.rest, jnp.zeros_like(self.rest))

    def drift(self, t, x, current):
        """See [`roughsnn.AbstractNeuron`][]."""
        del t
        return AdaptiveState((self.rest + current - x.v) / self.tau, -x.b / self.tau_adaptation)

    def noise(self, x, dw):
        """See [`roughsnn.AbstractNeuron`][]."""
        return AdaptiveState(mix(self.sigma, dw), jnp.zeros_like(x.b))

    def spike(self, x):
        """See [`roughsnn.AbstractNeuron`][]."""
        return AdaptiveState(self.reset(x.v), x.b + self.jump)

    def potential(self, x):
        """See [`roughsnn.AbstractNeuron`][]."""
        return x.v - x.b

    def voltage(self, x):
        """See [`roughsnn.AbstractNeuron`][]."""
        return x.v

    def bounds(self):
        """Time constants are positive."""
        return (
            Bound("tau", self.tau, "positive"),
            Bound("tau_adaptation", self.tau_adaptation, "positive"),
        )
