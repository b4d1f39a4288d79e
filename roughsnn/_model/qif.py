"""The quadratic integrate-and-fire neuron."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._misc import as_float_array
from .._types import Numeric
from .coordinates import from_circle, square, to_circle
from .domain import Bound, as_bounded
from .lif import LIFState
from .neuron import AbstractDiffusive, AbstractNeuron, as_sigma, mix


class QIF(AbstractDiffusive, AbstractNeuron):
    r"""Quadratic integrate-and-fire: the normal form of neurons that begin to fire at any rate
    (Ermentrout & Kopell 1986; Latham et al. 2000).

    $$\tau\,dv = \bigl(a\,(v - v_0)(v - v_c) + I(t)\bigr)\,dt + \tau\,\sigma\cdot dB, \qquad
      v \to v_r \text{ at a spike.}$$

    By default $v_0 = v_c = 0$ and $a = 1$: the canonical $\tau v' = v^2 + I$. The potential reaches
    infinity in finite time; a spike is where it meets a peak, the threshold of a
    [`roughsnn.HardThreshold`][] far above $v_c$. For a peak and a reset far away the period is
    $\pi\tau/\sqrt{J}$, $J = a I - a^2 (v_c - v_0)^2/4 > 0$.

    Steps may be made in $z = u/(1 + \sqrt{1 + u^2})$, $u = a\,(v - (v_0 + v_c)/2)$: the tangent of
    a quarter of the angle $\theta$ of the theta neuron,
    $\tau\theta' = 1 - \cos\theta + (1 + \cos\theta)\,J$.

    **Arguments:**

    - `tau`: the time constant, positive.
    - `rest`: $v_0$, the stable state without current, where the potential starts.
    - `critical`: $v_c$, beyond which the potential runs away without current.
    - `curvature`: $a$, positive, per unit of potential.
    - `reset_to`: $v_r$, the potential after a spike, below the peak.
    - `sigma`: the noise on v, as for [`roughsnn.neurons.LIF`][]. A reset to a constant does not
        commute with it (condition C3): it is refused unless conditions are waived. Put noise on the
        current, `roughsnn.synapses.Exponential(tau, sigma)`.

    All but `sigma` are scalars or have shape `(neurons,)`.

    **Raises:** `ValueError` for wrong shapes, integer arrays, values that are not finite, a `tau`
    or `curvature` that is not positive.

    ??? cite "References"

        G. B. Ermentrout, N. Kopell, *Parabolic bursting in an excitable system coupled with a slow
        oscillation*, SIAM Journal on Applied Mathematics 46 (1986).

        P. E. Latham, B. J. Richmond, P. G. Nelson, S. Nirenberg, *Intrinsic dynamics in neuronal
        networks. I. Theory*, Journal of Neurophysiology 83 (2000).
    """

    tau: Float[Array, "*neurons"]
    rest: Float[Array, "*neurons"]
    critical: Float[Array, "*neurons"]
    curvature: Float[Array, "*neurons"]
    reset_to: Float[Array, "*neurons"]
    sigma: Float[Array, "*neurons channels"]

    def __init__(
        self,
        tau: Numeric = 1.0,
        rest: Numeric = 0.0,
        critical: Numeric = 0.0,
        curvature: Numeric = 1.0,
        reset_to: Numeric = -100.0,
        sigma: Numeric | None = None,
    ):
        self.tau = as_bounded("tau", tau, "positive")
        self.rest = as_float_array("rest", rest)
        self.critical = as_float_array("critical", critical)
        self.curvature = as_bounded("curvature", curvature, "positive")
        self.reset_to = as_float_array("reset_to", reset_to)
        self.sigma = as_sigma("sigma", sigma, self.tau.dtype)

    def initial(self):
        """See [`roughsnn.AbstractNeuron`][]."""
        return LIFState(self.rest)

    def drift(self, t, x, current):
        """See [`roughsnn.AbstractNeuron`][]."""
        del t
        half = self.curvature * (self.critical - self.rest) / 2
        parabola = square(self._centred(x.v)) - jnp.square(half)
        return LIFState((parabola / self.curvature + current) / self.tau)

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
        """On the circle."""
        return to_circle(self._centred(v))

    def from_coordinate(self, z):
        """The potential there."""
        return from_circle(z) / self.curvature + (self.rest + self.critical) / 2

    def _centred(self, v):
        return self.curvature * (v - (self.rest + self.critical) / 2)

    def bounds(self):
        """Time constant and curvature are positive."""
        return (
            Bound("tau", self.tau, "positive"),
            Bound("curvature", self.curvature, "positive"),
        )
