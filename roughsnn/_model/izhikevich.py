"""Izhikevich's simple model."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._misc import as_float_array
from .._types import Numeric, Scalar
from .coordinates import from_circle, square, to_circle
from .domain import Bound, as_bounded
from .neuron import AbstractDiffusive, AbstractNeuron, as_sigma, mix

# 0.04 v² + 5 v + 140 = 0.04 (v - centre)² - floor.
_CURVATURE, _CENTRE, _FLOOR = 0.04, -62.5, 16.25


class IzhikevichState(NamedTuple):
    """The membrane potential, and its recovery."""

    v: Scalar
    u: Scalar


class Izhikevich(AbstractDiffusive, AbstractNeuron):
    r"""A quadratic neuron with recovery: of many kinds of firing, by four numbers (Izhikevich
    2003).

    $$\tau\,dv = (0.04\,v^2 + 5\,v + 140 - u + I(t))\,dt + \tau\,\sigma\cdot dB, \qquad
      \tau\,du = a\,(b\,v - u)\,dt,$$
    $$v \to c, \quad u \to u + d \text{ at a spike,}$$

    in mV, and a spike at 30: with [`roughsnn.HardThreshold`][]`(30.0)`. The state starts at
    $v = c$, $u = b c$.

    Steps may be made in $z = u/(1 + \sqrt{1 + u^2})$, $u = 0.04\,(v + 62.5)$, in which the upstroke
    is no faster than $1/\tau$.

    **Arguments:** the defaults are regular spiking.

    - `a`: the rate of the recovery, positive, per ms; a time constant is its inverse.
    - `b`: how the recovery follows the potential.
    - `c`: the potential after a spike, in mV, below the peak.
    - `d`: by how much a spike raises the recovery.
    - `tau`: how long a millisecond of the paper is, positive: 1 (default) for models in ms, 0.001
        for models in seconds.
    - `sigma`: the noise on v, as for [`roughsnn.neurons.QIF`][].

    All but `sigma` are scalars or have shape `(neurons,)`.

    | firing | a | b | c | d |
    |---|---|---|---|---|
    | regular spiking | 0.02 | 0.2 | -65 | 8 |
    | intrinsically bursting | 0.02 | 0.2 | -55 | 4 |
    | chattering | 0.02 | 0.2 | -50 | 2 |
    | fast spiking | 0.1 | 0.2 | -65 | 2 |

    **Raises:** `ValueError` for wrong shapes, integer arrays, values that are not finite, an `a`
    or `tau` that is not positive.

    ??? cite "Reference"

        E. M. Izhikevich, *Simple model of spiking neurons*, IEEE Transactions on Neural Networks 14
        (2003).
    """

    a: Float[Array, "*neurons"]
    b: Float[Array, "*neurons"]
    c: Float[Array, "*neurons"]
    d: Float[Array, "*neurons"]
    tau: Float[Array, "*neurons"]
    sigma: Float[Array, "*neurons channels"]

    def __init__(
        self,
        a: Numeric = 0.02,
        b: Numeric = 0.2,
        c: Numeric = -65.0,
        d: Numeric = 8.0,
        tau: Numeric = 1.0,
        sigma: Numeric | None = None,
    ):
        self.a = as_bounded("a", a, "positive")
        self.b = as_float_array("b", b)
        self.c = as_float_array("c", c)
        self.d = as_float_array("d", d)
        self.tau = as_bounded("tau", tau, "positive")
        self.sigma = as_sigma("sigma", sigma, self.tau.dtype)

    def initial(self):
        """See [`roughsnn.AbstractNeuron`][]."""
        return IzhikevichState(self.c, self.b * self.c)

    def drift(self, t, x, current):
        """See [`roughsnn.AbstractNeuron`][]."""
        del t
        parabola = square(_CURVATURE * (x.v - _CENTRE)) / _CURVATURE - _FLOOR
        return IzhikevichState(
            (parabola - x.u + current) / self.tau, self.a * (self.b * x.v - x.u) / self.tau
        )

    def noise(self, x, dw):
        """See [`roughsnn.AbstractNeuron`][]."""
        return IzhikevichState(mix(self.sigma, dw), jnp.zeros_like(x.u))

    def spike(self, x):
        """See [`roughsnn.AbstractNeuron`][]."""
        v = jnp.broadcast_to(self.c, jnp.shape(x.v)).astype(x.v.dtype)
        return IzhikevichState(v, x.u + self.d)

    def potential(self, x):
        """See [`roughsnn.AbstractNeuron`][]."""
        return x.v

    def coordinate(self, v):
        """On the circle."""
        return to_circle(_CURVATURE * (v - _CENTRE))

    def from_coordinate(self, z):
        """The potential there."""
        return from_circle(z) / _CURVATURE + _CENTRE

    def bounds(self):
        """The rate of the recovery and the unit of time are positive."""
        return Bound("a", self.a, "positive"), Bound("tau", self.tau, "positive")
