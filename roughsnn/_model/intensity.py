"""Intensities: the hazard of a spike as a function of the membrane potential."""

import abc
import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._misc import as_float_array, at_least, at_most, static_float
from .._types import Numeric
from .domain import Bound, as_bounded


class AbstractIntensity(eqx.Module):
    """A non-negative rate, in spikes per time, as a function of the potential."""

    @abc.abstractmethod
    def __call__(self, v: Float[Array, " neurons"]) -> Float[Array, " neurons"]:
        """The intensity at `v`."""

    def log(self, v: Float[Array, " neurons"]) -> Float[Array, " neurons"]:
        """Its logarithm; write one of your own where the intensity may round to 0."""
        return jnp.log(self(v))

    def bounds(self) -> tuple[Bound, ...]:
        """What its parameters must be, so that it is not negative; none by default."""
        return ()


class ExponentialIntensity(AbstractIntensity):
    r"""$\lambda(v) = e^{\min(\beta(v - \vartheta),\,\text{cap})}/\tau$.

    The cap keeps a network with strong excitation from exploding; above it the rate is
    constant (Holberg & Salvi 2024, Section 4).

    **Arguments:**

    - `beta`: slope, in 1/potential.
    - `threshold`: $\vartheta$.
    - `timescale`: $\tau$, in time.
    - `cap`: the largest exponent; a concrete number, or inf.

    Each is a scalar or has shape `(neurons,)`.

    **Raises:** `ValueError` for a time scale that is not positive.
    """

    beta: Float[Array, "*neurons"]
    threshold: Float[Array, "*neurons"]
    timescale: Float[Array, "*neurons"]
    cap: float = eqx.field(static=True)

    def __init__(
        self,
        beta: Numeric = 5.0,
        threshold: Numeric = 1.0,
        timescale: Numeric = 1.0,
        cap: float = 10.0,
    ):
        self.beta = as_float_array("beta", beta)
        self.threshold = as_float_array("threshold", threshold)
        self.timescale = as_bounded("timescale", timescale, "positive")
        unbounded = isinstance(cap, float) and cap == math.inf
        self.cap = math.inf if unbounded else static_float("cap", cap)

    def __call__(self, v):
        """The intensity at `v`."""
        return jnp.exp(self._exponent(v)) / self.timescale

    def log(self, v):
        """The logarithm of the intensity at `v`."""
        return self._exponent(v) - jnp.log(self.timescale)

    def bounds(self):
        """The time scale is positive."""
        return (Bound("timescale", self.timescale, "positive"),)

    def _exponent(self, v):
        return at_most(self.beta * (v - self.threshold), self.cap)


class SoftplusIntensity(AbstractIntensity):
    r"""$\lambda(v) = r\,\log(1 + e^{\beta(v - \vartheta)})$: linear above the threshold.

    **Arguments:**

    - `beta`: slope, in 1/potential.
    - `threshold`: $\vartheta$.
    - `rate`: $r$, in 1/time; positive.

    Each is a scalar or has shape `(neurons,)`.

    **Raises:** `ValueError` for a rate that is not positive.
    """

    beta: Float[Array, "*neurons"]
    threshold: Float[Array, "*neurons"]
    rate: Float[Array, "*neurons"]

    def __init__(self, beta: Numeric = 5.0, threshold: Numeric = 1.0, rate: Numeric = 1.0):
        self.beta = as_float_array("beta", beta)
        self.threshold = as_float_array("threshold", threshold)
        self.rate = as_bounded("rate", rate, "positive")

    def __call__(self, v):
        """The intensity at `v`."""
        return self.rate * jax.nn.softplus(self.beta * (v - self.threshold))

    def log(self, v):
        """The logarithm of the intensity at `v`."""
        x = self.beta * (v - self.threshold)
        # Below, log(1 + e^x) is e^x to the rounding of float64.
        near = at_least(x, -40.0)
        return jnp.log(self.rate) + jnp.where(x < -40, x, jnp.log(jax.nn.softplus(near)))

    def bounds(self):
        """The rate is positive."""
        return (Bound("rate", self.rate, "positive"),)
