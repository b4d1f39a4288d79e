"""The exponential integrate-and-fire neuron."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._misc import as_float_array
from .._types import Numeric
from .coordinates import exponential, from_bounded, to_bounded
from .domain import Bound, as_bounded
from .lif import LIFState
from .neuron import AbstractDiffusive, AbstractNeuron, as_sigma, mix


class EIF(AbstractDiffusive, AbstractNeuron):
    r"""Exponential integrate-and-fire (Fourcaud-Trocmé et al. 2003).

    $$\tau\,dv = \Bigl(v_0 - v + \Delta\,e^{(v - v_T)/\Delta} + I(t)\Bigr)\,dt
      + \tau\,\sigma\cdot dB, \qquad v \to v_r \text{ at a spike.}$$

    The current I has the unit of v: a current in nA divided by the leak conductance; $\tau$ is the
    capacitance over that conductance. A spike is where the potential meets a peak, the threshold of
    a [`roughsnn.HardThreshold`][] some $10\,\Delta$ or more above $v_T$; where exactly matters
    little, since the potential is there within $\tau e^{-10}$. The exponential is constant from
    $59\,\Delta$ above $v_T$ on in float32, $300\,\Delta$ in float64, where nothing but a step that
    went beyond the peak comes to.

    Steps may be made in $z = -\log(1 + e^{-(v - v_T)/\Delta})$, which tends to 0 at the speed
    $1/\tau$.

    **Arguments:** the defaults are those of the paper, in mV and ms.

    - `tau`: the membrane time constant, positive.
    - `rest`: $v_0$, where the potential starts.
    - `soft_threshold`: $v_T$, where the slope of the current is 0.
    - `delta`: $\Delta$, the slope factor, positive.
    - `reset_to`: $v_r$, the potential after a spike, below the peak.
    - `sigma`: the noise on v, as for [`roughsnn.neurons.QIF`][].

    All but `sigma` are scalars or have shape `(neurons,)`.

    **Raises:** `ValueError` for wrong shapes, integer arrays, values that are not finite, a `tau`
    or `delta` that is not positive.

    ??? cite "Reference"

        N. Fourcaud-Trocmé, D. Hansel, C. van Vreeswijk, N. Brunel, *How spike generation mechanisms
        determine the neuronal response to fluctuating inputs*, Journal of Neuroscience 23 (2003).
    """

    tau: Float[Array, "*neurons"]
    rest: Float[Array, "*neurons"]
    soft_threshold: Float[Array, "*neurons"]
    delta: Float[Array, "*neurons"]
    reset_to: Float[Array, "*neurons"]
    sigma: Float[Array, "*neurons channels"]

    def __init__(
        self,
        tau: Numeric = 10.0,
        rest: Numeric = -65.0,
        soft_threshold: Numeric = -59.9,
        delta: Numeric = 3.48,
        reset_to: Numeric = -68.0,
        sigma: Numeric | None = None,
    ):
        self.tau = as_bounded("tau", tau, "positive")
        self.rest = as_float_array("rest", rest)
        self.soft_threshold = as_float_array("soft_threshold", soft_threshold)
        self.delta = as_bounded("delta", delta, "positive")
        self.reset_to = as_float_array("reset_to", reset_to)
        self.sigma = as_sigma("sigma", sigma, self.tau.dtype)

    def initial(self):
        """See [`roughsnn.AbstractNeuron`][]."""
        return LIFState(self.rest)

    def drift(self, t, x, current):
        """See [`roughsnn.AbstractNeuron`][]."""
        del t
        upstroke = self.delta * exponential((x.v - self.soft_threshold) / self.delta)
        return LIFState((self.rest - x.v + upstroke + current) / self.tau)

    def noise(self, x, dw):
        """See [`roughsnn.AbstractNeuron`][]."""
        del x
        return LIFState(mix(self.sigma, dw))

    def spike(self, x):
        """See [`roughsnn.AbstractNeuron`][]."""
        return LIFState(jnp.broadcast_to(self.reset_to, jnp.shape(x.v)).astype(x.v.dtype))

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
        """Time constant and slope factor are positive."""
        return Bound("tau", self.tau, "positive"), Bound("delta", self.delta, "positive")
