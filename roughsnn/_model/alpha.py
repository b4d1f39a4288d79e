"""Synapses whose current rises before it decays."""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._misc import is_concrete
from .._types import Numeric, Scalar
from .domain import Bound, as_bounded
from .synapse import AbstractLinearSynapse


class AlphaState(NamedTuple):
    """The current, and what it rises by."""

    current: Scalar
    rise: Scalar


class Alpha(AbstractLinearSynapse):
    r"""An arrival of weight w brings the current $w\,\tfrac{t}{\tau}\,e^{1 - t/\tau}$, which is w
    at its peak, at $t = \tau$.

    $$dg = (e\,r - g)\,dt/\tau, \qquad dr = -r\,dt/\tau, \qquad r \to r + w.$$

    **Arguments:**

    - `tau`: positive; scalar or shape `(neurons,)`.

    **Raises:** `ValueError` for time constants that are not positive.
    """

    tau: Float[Array, "*neurons"]

    def __init__(self, tau: Numeric):
        self.tau = as_bounded("tau", tau, "positive")

    def initial(self):
        """See [`roughsnn.AbstractSynapse`][]."""
        zero = jnp.zeros((), self.tau.dtype)
        return AlphaState(zero, zero)

    def drift(self, g):
        """See [`roughsnn.AbstractSynapse`][]."""
        return AlphaState((math.e * g.rise - g.current) / self.tau, -g.rise / self.tau)

    def receive(self, g, amount):
        """See [`roughsnn.AbstractSynapse`][]."""
        return AlphaState(g.current, g.rise + amount)

    def current(self, g, v):
        """See [`roughsnn.AbstractSynapse`][]."""
        del v
        return g.current

    def bounds(self):
        """The time constant is positive."""
        return (Bound("tau", self.tau, "positive"),)


class DoubleState(NamedTuple):
    """What decays slowly, and what decays fast."""

    slow: Scalar
    fast: Scalar


class DoubleExponential(AbstractLinearSynapse):
    r"""An arrival of weight w brings the current
    $w\,(e^{-t/\tau_d} - e^{-t/\tau_r})/N$, with N such that it is w at its peak.

    **Arguments:**

    - `tau_rise`: $\tau_r$, positive.
    - `tau_decay`: $\tau_d$, positive, another one than `tau_rise`; for equal ones there is
        [`roughsnn.synapses.Alpha`][].

    Each is a scalar or has shape `(neurons,)`.

    **Raises:** `ValueError` for time constants that are not positive, or equal.
    """

    tau_rise: Float[Array, "*neurons"]
    tau_decay: Float[Array, "*neurons"]

    def __init__(self, tau_rise: Numeric, tau_decay: Numeric):
        self.tau_rise = as_bounded("tau_rise", tau_rise, "positive")
        self.tau_decay = as_bounded("tau_decay", tau_decay, "positive")
        shapes = self.tau_rise.shape, self.tau_decay.shape
        if () not in shapes and shapes[0] != shapes[1]:
            raise ValueError(
                "`tau_rise` and `tau_decay` must be numbers or have one shape, (neurons,), got "
                f"{shapes[0]} and {shapes[1]}."
            )
        if is_concrete(self.tau_rise, self.tau_decay):
            rise, decay = np.asarray(self.tau_rise), np.asarray(self.tau_decay)
            if np.any(np.abs(rise - decay) <= 1e-3 * decay):
                raise ValueError(
                    "`tau_rise` and `tau_decay` must differ, by 0.1 % or more, got "
                    f"{rise} and {decay}. Use roughsnn.synapses.Alpha(tau)."
                )

    def initial(self):
        """See [`roughsnn.AbstractSynapse`][]."""
        zero = jnp.zeros((), self.tau_decay.dtype)
        return DoubleState(zero, zero)

    def drift(self, g):
        """See [`roughsnn.AbstractSynapse`][]."""
        return DoubleState(-g.slow / self.tau_decay, -g.fast / self.tau_rise)

    def receive(self, g, amount):
        """See [`roughsnn.AbstractSynapse`][]."""
        return DoubleState(g.slow + amount, g.fast + amount)

    def current(self, g, v):
        """See [`roughsnn.AbstractSynapse`][]."""
        del v
        rise, decay = self.tau_rise, self.tau_decay
        peak = jnp.log(decay / rise) * rise * decay / (decay - rise)
        scale = jnp.exp(-peak / decay) - jnp.exp(-peak / rise)
        return (g.slow - g.fast) / scale

    def bounds(self):
        """Time constants are positive."""
        return (
            Bound("tau_rise", self.tau_rise, "positive"),
            Bound("tau_decay", self.tau_decay, "positive"),
        )
