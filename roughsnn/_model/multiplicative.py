"""A membrane whose noise depends on its potential."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._check import check_function
from .._misc import is_concrete
from .._types import Numeric
from .domain import Bound
from .membrane import AbstractMembrane, check_membrane, mix


class Proportional(eqx.Module):
    """The identity: noise in proportion to the distance from the reset."""

    def __call__(self, x: Array) -> Array:
        """x."""
        return x


class MultiplicativeLIF(AbstractMembrane):
    r"""Leaky integrate-and-fire with noise that depends on the potential and vanishes at the reset.

    $$dv = \mu_1(i + c(t) - v)\,dt + a(v - v_\text{reset})\,\sigma_1\cdot{\circ}\,dB, \qquad
      di = -\mu_2 i\,dt + \sigma_2\cdot dB, \qquad v \to v_\text{reset}$$

    (Stratonovich: in the sense of Ito there is the drift
    $\tfrac12 a a' \lvert\sigma_1\rvert^2$ on top.) A reset to a constant forgets what the noise did
    before it, so a pathwise gradient exists only if there is no noise just after it: $a(0) = 0$ is
    condition C3, the remedy of Holberg & Salvi (2024), Section 3.2. With
    [`roughsnn.ThresholdFiring`][] the noise must vanish at the threshold too (C1), e.g. for a
    threshold of 1 and a reset to 0 by `amplitude=lambda x: x * (1 - x)`.

    For the event engine. The noise commutes if there is one channel for v, and then the default
    solver (`diffrax.Heun`) has strong order one. With `noise=Brownian("parabola")` (by default with
    `diffrax.Tsit5`) the order is the same and the error some ten times smaller.

    **Arguments:**

    - `mu`: $(\mu_1, \mu_2)$, rates in 1/time; each a scalar or of shape `(neurons,)`.
    - `sigma`: shape `(2, channels)`: the noise on v (first row), per unit of `amplitude`, and on i
        (second), in potential per square root of time.
    - `v_reset`: the potential after a spike; scalar or shape `(neurons,)`.
    - `amplitude`: $a$, a smooth function of an array, element by element, 0 at 0. By default
        $a(x) = x$.

    **Raises:** `ValueError` for wrong shapes, integer arrays, values that are not finite,
    negative rates, and an amplitude that is not 0 at the reset.
    """

    mu: Float[Array, "2 *neurons"]
    sigma: Float[Array, "2 channels"]
    v_reset: Float[Array, "*neurons"]
    amplitude: Callable[[Array], Array]

    def __init__(
        self,
        mu: Numeric,
        sigma: Numeric,
        v_reset: Numeric = 0.0,
        amplitude: Callable[[Array], Array] | None = None,
    ):
        self.mu, self.sigma, self.v_reset = check_membrane(mu, sigma, v_reset)
        self.amplitude = Proportional() if amplitude is None else amplitude
        check_function("amplitude", self.amplitude, "amplitude(x)")
        there = self.amplitude(jnp.zeros_like(self.v_reset))
        if jnp.shape(there) != self.v_reset.shape:
            raise ValueError(
                "`amplitude` must act element by element, got shape "
                f"{jnp.shape(there)} for {self.v_reset.shape}."
            )
        message = (
            "`amplitude` must be 0 at 0, where the reset puts the potential: noise just after a "
            "reset to a constant does not commute with it (condition C3), and no exact gradient "
            "exists. Use an amplitude that vanishes there, or roughsnn.LIF, which resets by "
            "subtraction."
        )
        if not is_concrete(there):
            self.sigma = eqx.error_if(self.sigma, jnp.any(there != 0), message)
        elif np.any(np.asarray(there) != 0):
            raise ValueError(f"{message} Got {np.asarray(there)}.")

    def drift(self, v, i, drive):
        """See [`roughsnn.AbstractMembrane`][]."""
        return self.mu[0] * (i + drive - v), -self.mu[1] * i

    def noise(self, v, i, dx):
        """See [`roughsnn.AbstractMembrane`][]."""
        del i
        return self.amplitude(v - self.v_reset) * mix(dx, self.sigma[0]), mix(dx, self.sigma[1])

    def reset(self, v):
        """See [`roughsnn.AbstractMembrane`][]."""
        return jnp.broadcast_to(self.v_reset, v.shape)

    @property
    def channels(self) -> int:
        """The number of noise channels of one neuron."""
        return self.sigma.shape[1]

    def bounds(self):
        """Rates are not negative."""
        return (Bound("mu", self.mu, "not negative"),)

    def noisy_potential(self, v):
        """See [`roughsnn.AbstractMembrane`][]."""
        reaches = jnp.any(self.sigma[0] != 0)
        return reaches & jnp.any(self.amplitude(v - self.v_reset) != 0)
