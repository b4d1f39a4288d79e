"""The adaptive exponential integrate-and-fire neuron."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._misc import as_float_array
from .._types import Numeric, Scalar
from .coordinates import exponential, from_bounded, to_bounded
from .domain import Bound, as_bounded
from .neuron import AbstractDiffusive, AbstractNeuron, as_sigma, mix


class AdExState(NamedTuple):
    """The membrane potential, and the adaptation current."""

    v: Scalar
    w: Scalar


class AdEx(AbstractDiffusive, AbstractNeuron):
    r"""Adaptive exponential integrate-and-fire (Brette & Gerstner 2005).

    $$\tau\,dv = \Bigl(v_0 - v + \Delta\,e^{(v - v_T)/\Delta} - w + I(t)\Bigr)\,dt
      + \tau\,\sigma\cdot dB, \qquad
      \tau_w\,dw = (a\,(v - v_0) - w)\,dt,$$
    $$v \to v_r, \quad w \to w + b \text{ at a spike.}$$

    Currents have the unit of v. From the parameters of the paper: $\tau = C/g_L$; $a$ and $b$ of
    the paper and its currents are divided by $g_L$. (In nF and µS, so that nA make mV.) Peak,
    exponential and coordinate are those of [`roughsnn.neurons.EIF`][].

    **Arguments:** the defaults are those of the paper, in mV and ms ($C$ = 281 pF, $g_L$ = 30 nS,
    $a$ = 4 nS, $b$ = 80.5 pA).

    - `tau`, `rest`, `soft_threshold`, `delta`, `reset_to`, `sigma`: as for
        [`roughsnn.neurons.EIF`][].
    - `tau_w`: the time constant of the adaptation, positive.
    - `a`: how the adaptation follows the potential, without unit.
    - `b`: by how much a spike raises the adaptation.

    All but `sigma` are scalars or have shape `(neurons,)`.

    **Raises:** `ValueError` for wrong shapes, integer arrays, values that are not finite, a `tau`,
    `tau_w` or `delta` that is not positive.

    ??? cite "Reference"

        R. Brette, W. Gerstner, *Adaptive exponential integrate-and-fire model as an effective
        description of neuronal activity*, Journal of Neurophysiology 94 (2005).
    """

    tau: Float[Array, "*neurons"]
    tau_w: Float[Array, "*neurons"]
    a: Float[Array, "*neurons"]
    b: Float[Array, "*neurons"]
    rest: Float[Array, "*neurons"]
    soft_threshold: Float[Array, "*neurons"]
    delta: Float[Array, "*neurons"]
    reset_to: Float[Array, "*neurons"]
    sigma: Float[Array, "*neurons channels"]

    def __init__(
        self,
        tau: Numeric = 281 / 30,
        tau_w: Numeric = 144.0,
        a: Numeric = 4 / 30,
        b: Numeric = 80.5 / 30,
        rest: Numeric = -70.6,
        soft_threshold: Numeric = -50.4,
        delta: Numeric = 2.0,
        reset_to: Numeric = -70.6,
        sigma: Numeric | None = None,
    ):
        self.tau = as_bounded("tau", tau, "positive")
        self.tau_w = as_bounded("tau_w", tau_w, "positive")
        self.a = as_float_array("a", a)
        self.b = as_float_array("b", b)
        self.rest = as_float_array("rest", rest)
        self.soft_threshold = as_float_array("soft_threshold", soft_threshold)
        self.delta = as_bounded("delta", delta, "positive")
        self.reset_to = as_float_array("reset_to", reset_to)
        self.sigma = as_sigma("sigma", sigma, self.tau.dtype)

    def initial(self):
        """See [`roughsnn.AbstractNeuron`][]."""
        return AdExState(self.rest, jnp.zeros_like(self.rest))

    def drift(self, t, x, current):
        """See [`roughsnn.AbstractNeuron`][]."""
        del t
        upstroke = self.delta * exponential((x.v - self.soft_threshold) / self.delta)
        return AdExState(
            (self.rest - x.v + upstroke - x.w + current) / self.tau,
            (self.a * (x.v - self.rest) - x.w) / self.tau_w,
        )

    def noise(self, x, dw):
        """See [`roughsnn.AbstractNeuron`][]."""
        return AdExState(mix(self.sigma, dw), jnp.zeros_like(x.w))

    def spike(self, x):
        """See [`roughsnn.AbstractNeuron`][]."""
        v = jnp.broadcast_to(self.reset_to, jnp.shape(x.v)).astype(x.v.dtype)
        return AdExState(v, x.w + self.b)

    def potential(self, x):
        """See [`roughsnn.AbstractNeuron`][]."""
        return x.v

    def coordinate(self, v):
        """Below 0, and nearly $(v - v_T)/\\Delta$ far below the upstroke."""
        return to_bounded((v - self.soft_threshold) / self.delta)

    def from_coordinate(self, z):
        """The potential there."""
        return self.soft_threshold + self.delta * from_bounded(z)

    def bounds(self):
        """Time constants and slope factor are positive."""
        positive = ("tau", "tau_w", "delta")
        return tuple(Bound(name, getattr(self, name), "positive") for name in positive)
