"""A neuron whose noise depends on its potential."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._check import check_function
from .._misc import as_float_array, is_concrete
from .._types import Numeric
from .domain import Bound, as_bounded
from .lif import LIFState
from .neuron import AbstractDiffusive, AbstractNeuron, as_sigma, mix


class Proportional(eqx.Module):
    """The identity: noise in proportion to the distance from the reset."""

    def __call__(self, x: Array) -> Array:
        """x."""
        return x


class MultiplicativeLIF(AbstractDiffusive, AbstractNeuron):
    r"""Leaky integrate-and-fire with noise that depends on the potential and vanishes at the reset.

    $$dv = (I(t) - v)\,dt/\tau + a(v - v_0)\,\sigma\cdot{\circ}\,dB, \qquad v \to v_0$$

    (Stratonovich: in the sense of Ito there is the drift
    $\tfrac12 a a' \lvert\sigma\rvert^2$ on top.) A reset to a constant forgets what the noise did
    before it, so a pathwise gradient exists only if there is no noise just after it: $a(0) = 0$ is
    condition C3, the remedy of Holberg & Salvi (2024), Section 3.2. With
    [`roughsnn.HardThreshold`][] the noise must vanish at the threshold too (C1), e.g. for a
    threshold of 1 and a reset to 0 by `amplitude=lambda x: x * (1 - x)`.

    The noise commutes if there is one channel, and then the default steps (Heun's, in both engines)
    have strong order one. Event by event, `noise=Brownian("parabola")` (by default with
    `diffrax.Tsit5`) has the same order and an error some ten times smaller.

    **Arguments:**

    - `tau`: the membrane time constant, positive; scalar or shape `(neurons,)`.
    - `sigma`: the noise, per unit of `amplitude` and square root of time, for each channel; as for
        [`roughsnn.neurons.LIF`][].
    - `reset_to`: $v_0$, the potential after a spike; scalar or shape `(neurons,)`.
    - `amplitude`: $a$, a smooth function of a number, 0 at 0. By default $a(x) = x$.

    **Raises:** `ValueError` for wrong shapes, integer arrays, values that are not finite,
    time constants that are not positive, and an amplitude that is not 0 at the reset.
    """

    tau: Float[Array, "*neurons"]
    sigma: Float[Array, "*neurons channels"]
    reset_to: Float[Array, "*neurons"]
    amplitude: Callable[[Array], Array]

    def __init__(
        self,
        tau: Numeric,
        sigma: Numeric,
        reset_to: Numeric = 0.0,
        amplitude: Callable[[Array], Array] | None = None,
    ):
        self.tau = as_bounded("tau", tau, "positive")
        self.sigma = as_sigma("sigma", sigma, self.tau.dtype)
        self.reset_to = as_float_array("reset_to", reset_to)
        self.amplitude = Proportional() if amplitude is None else amplitude
        check_function("amplitude", self.amplitude, "amplitude(x)")
        there = self.amplitude(jnp.zeros_like(self.reset_to))
        if jnp.shape(there) != self.reset_to.shape:
            raise ValueError(
                "`amplitude` must act element by element, got shape "
                f"{jnp.shape(there)} for {self.reset_to.shape}."
            )
        message = (
            "`amplitude` must be 0 at 0, where the reset puts the potential: noise just after a "
            "reset to a constant does not commute with it (condition C3), and no exact gradient "
            "exists. Use an amplitude that vanishes there, or roughsnn.neurons.LIF, which resets "
            "by subtraction."
        )
        if not is_concrete(there):
            self.sigma = eqx.error_if(self.sigma, jnp.any(there != 0), message)
        elif np.any(np.asarray(there) != 0):
            raise ValueError(f"{message} Got {np.asarray(there)}.")

    def initial(self):
        """See [`roughsnn.AbstractNeuron`][]."""
        return LIFState(jnp.zeros_like(self.reset_to))

    def drift(self, t, x, current):
        """See [`roughsnn.AbstractNeuron`][]."""
        del t
        return LIFState((current - x.v) / self.tau)

    def noise(self, x, dw):
        """See [`roughsnn.AbstractNeuron`][]."""
        return LIFState(self.amplitude(x.v - self.reset_to) * mix(self.sigma, dw))

    def spike(self, x):
        """See [`roughsnn.AbstractNeuron`][]."""
        return LIFState(jnp.broadcast_to(self.reset_to, jnp.shape(x.v)).astype(x.v.dtype))

    def potential(self, x):
        """See [`roughsnn.AbstractNeuron`][]."""
        return x.v

    def bounds(self):
        """The time constant is positive."""
        return (Bound("tau", self.tau, "positive"),)

    def noisy_potential(self, level):
        """See [`roughsnn.AbstractNeuron`][]."""
        return jnp.any(self.sigma != 0) & jnp.any(self.amplitude(level - self.reset_to) != 0)
