"""Short-term depression and facilitation."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Numeric, Scalar
from .domain import Bound, as_bounded
from .plasticity import AbstractPlasticity


class TsodyksMarkramState(NamedTuple):
    """The fraction of the resources that is in use, and the one that is available."""

    u: Scalar
    x: Scalar


class TsodyksMarkram(AbstractPlasticity):
    r"""Synapses that tire, and that get stronger, from spike to spike (Tsodyks, Pawelzik & Markram,
    *Neural networks with dynamic synapses*, Neural Computation 10 (1998), eq. 2.1-2.3).

    Between spikes the fraction u of the resources that a spike uses, and the fraction x of those
    that are available, relax:

    $$\frac{du}{dt} = -\frac{u}{\tau_f}, \qquad \frac{dx}{dt} = \frac{1 - x}{\tau_d} .$$

    At a spike, first $u \to u + U(1 - u)$, then the weight arrives times the amplitude $u x$, then
    $x \to x - u x$. So the first spike has the amplitude U: divide the weights by U to have it 1.
    Without facilitation u is U at each spike. Between spikes both are exact, in both engines.

    **Arguments:**

    - `utilisation`: U, more than 0 and at most 1; the parameters are numbers or have shape
        `(pre neurons,)`.
    - `tau_recovery`: $\tau_d$, the time in which resources recover, positive.
    - `tau_facilitation`: $\tau_f$, positive; by default there is no facilitation.

    **Raises:** `ValueError` for wrong shapes and values outside of these ranges.
    """

    utilisation: Float[Array, "*neurons"]
    tau_recovery: Float[Array, "*neurons"]
    tau_facilitation: Float[Array, "*neurons"] | None

    def __init__(
        self, utilisation: Numeric, tau_recovery: Numeric, tau_facilitation: Numeric | None = None
    ):
        self.utilisation = as_bounded("utilisation", utilisation, "in (0, 1]")
        self.tau_recovery = as_bounded("tau_recovery", tau_recovery, "positive")
        self.tau_facilitation = None
        if tau_facilitation is not None:
            self.tau_facilitation = as_bounded("tau_facilitation", tau_facilitation, "positive")

    def initial(self):
        """See [`roughsnn.AbstractPlasticity`][]."""
        zero = jnp.zeros((), self.utilisation.dtype)
        return TsodyksMarkramState(zero, zero + 1)

    def decay(self, x, time):
        """See [`roughsnn.AbstractPlasticity`][]."""
        used = jnp.zeros_like(x.u)
        if self.tau_facilitation is not None:
            used = x.u * jnp.exp(-time / self.tau_facilitation)
        return TsodyksMarkramState(used, 1 - (1 - x.x) * jnp.exp(-time / self.tau_recovery))

    def spike(self, x):
        """See [`roughsnn.AbstractPlasticity`][]."""
        u = x.u + self.utilisation * (1 - x.u)
        amplitude = u * x.x
        return amplitude, TsodyksMarkramState(u, x.x - amplitude)

    def bounds(self):
        """The parameters are in their ranges."""
        found = [
            Bound("utilisation", self.utilisation, "in (0, 1]"),
            Bound("tau_recovery", self.tau_recovery, "positive"),
        ]
        if self.tau_facilitation is not None:
            found.append(Bound("tau_facilitation", self.tau_facilitation, "positive"))
        return tuple(found)
