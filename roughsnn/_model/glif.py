"""The generalised leaky integrate-and-fire neurons of Teeter et al. (2018)."""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._check import as_tuple, check_kind
from .._misc import as_float_array
from .._types import Numeric, Scalar
from .domain import Bound, as_bounded
from .neuron import AbstractDiffusive, AbstractLinearNeuron, as_sigma, mix


class AfterSpikeCurrent(eqx.Module):
    r"""A current that a spike changes by $a \to r a + \delta$, and that decays with $\tau$.

    **Arguments:**

    - `tau`: its decay time, positive.
    - `jump`: $\delta$, in the unit of the potential.
    - `keep`: $r$, what a spike leaves of it.

    Each is a scalar or has shape `(neurons,)`.
    """

    tau: Float[Array, "*neurons"]
    jump: Float[Array, "*neurons"]
    keep: Float[Array, "*neurons"]

    def __init__(self, tau: Numeric, jump: Numeric, keep: Numeric = 1.0):
        self.tau = as_bounded("tau", tau, "positive")
        self.jump = as_float_array("jump", jump)
        self.keep = as_float_array("keep", keep)


class SpikeThreshold(eqx.Module):
    r"""A part of the threshold that each spike raises by $\delta$, and that decays with $\tau$.

    **Arguments:**

    - `tau`: its decay time, positive.
    - `jump`: $\delta$.

    Each is a scalar or has shape `(neurons,)`.
    """

    tau: Float[Array, "*neurons"]
    jump: Float[Array, "*neurons"]

    def __init__(self, tau: Numeric, jump: Numeric):
        self.tau = as_bounded("tau", tau, "positive")
        self.jump = as_float_array("jump", jump)


class VoltageThreshold(eqx.Module):
    r"""A part of the threshold that follows the potential:
    $d\theta = (g\,(v - v_0) - \theta)\,dt/\tau$.

    **Arguments:**

    - `tau`: its time constant, positive ($1/b_v$ of the paper).
    - `gain`: $g$ ($a_v/b_v$ of the paper).

    Each is a scalar or has shape `(neurons,)`.
    """

    tau: Float[Array, "*neurons"]
    gain: Float[Array, "*neurons"]

    def __init__(self, tau: Numeric, gain: Numeric):
        self.tau = as_bounded("tau", tau, "positive")
        self.gain = as_float_array("gain", gain)


class GLIFState(NamedTuple):
    """The potential, the after-spike currents, and the parts of the threshold that move; `None` for
    what there is not."""

    v: Scalar
    currents: tuple[Scalar, ...] | None
    spike_threshold: Scalar | None
    voltage_threshold: Scalar | None


class GLIF(AbstractDiffusive, AbstractLinearNeuron):
    r"""Generalised leaky integrate-and-fire: GLIF 1 to 5 of Teeter et al. (2018).

    $$dv = \bigl(v_0 + I + \textstyle\sum_j a_j - v\bigr)\,dt/\tau + \sigma\cdot dB, \qquad
      v \to v_0 + f\,(v - v_0) - a \text{ at a spike,}$$

    with after-spike currents $a_j$ and a threshold of parts that move: the firing rule reads
    v less those parts. Which of the five it is, is what is given:

    | model | `keep`, `drop` | `currents` | `spike_threshold` | `voltage_threshold` |
    |---|---|---|---|---|
    | 1 | reset to `rest` | | | |
    | 2 | as fitted | | given | |
    | 3 | reset to `rest` | given | | |
    | 4 | as fitted | given | given | |
    | 5 | as fitted | given | given | given |

    Noise on v goes with `keep=1` (a reset by subtraction), see condition C3 of
    [`roughsnn.check_event`][].

    **Arguments:**

    - `tau`: the membrane time constant, positive; scalar or shape `(neurons,)`.
    - `keep`, `drop`: $f$ and $a$; by default 0 and 0, a reset to `rest`.
    - `currents`: [`roughsnn.neurons.AfterSpikeCurrent`][]s.
    - `spike_threshold`: a [`roughsnn.neurons.SpikeThreshold`][], or `None`.
    - `voltage_threshold`: a [`roughsnn.neurons.VoltageThreshold`][], or `None`.
    - `sigma`, `rest`: as for [`roughsnn.neurons.LIF`][].

    **Raises:** `ValueError` for values that are not finite and time constants that are not
    positive; `TypeError` for parts of another type.

    ??? cite "Reference"

        C. Teeter et al., *Generalized leaky integrate-and-fire models classify multiple neuron
        types*, Nature Communications 9 (2018).
    """

    tau: Float[Array, "*neurons"]
    keep: Float[Array, "*neurons"]
    drop: Float[Array, "*neurons"]
    currents: tuple[AfterSpikeCurrent, ...]
    spike_threshold: SpikeThreshold | None
    voltage_threshold: VoltageThreshold | None
    sigma: Float[Array, "*neurons channels"]
    rest: Float[Array, "*neurons"]

    def __init__(
        self,
        tau: Numeric,
        keep: Numeric = 0.0,
        drop: Numeric = 0.0,
        *,
        currents: Sequence[AfterSpikeCurrent] = (),
        spike_threshold: SpikeThreshold | None = None,
        voltage_threshold: VoltageThreshold | None = None,
        sigma: Numeric | None = None,
        rest: Numeric = 0.0,
    ):
        self.tau = as_bounded("tau", tau, "positive")
        self.keep, self.drop = as_float_array("keep", keep), as_float_array("drop", drop)
        self.currents = as_tuple("currents", currents, "a list of AfterSpikeCurrent")
        for n, current in enumerate(self.currents):
            check_kind(f"currents[{n}]", current, AfterSpikeCurrent, "an AfterSpikeCurrent")
        for name, part, kind in (
            ("spike_threshold", spike_threshold, SpikeThreshold),
            ("voltage_threshold", voltage_threshold, VoltageThreshold),
        ):
            if part is not None:
                check_kind(name, part, kind, f"a {kind.__name__} or None")
        self.spike_threshold, self.voltage_threshold = spike_threshold, voltage_threshold
        self.sigma = as_sigma("sigma", sigma, self.tau.dtype)
        self.rest = as_float_array("rest", rest)

    def initial(self):
        """See [`roughsnn.AbstractNeuron`][]."""
        zero = jnp.zeros_like(self.rest)
        some = lambda part: None if part is None else zero
        return GLIFState(
            self.rest,
            tuple(zero for _ in self.currents) or None,
            some(self.spike_threshold),
            some(self.voltage_threshold),
        )

    def drift(self, t, x, current):
        """See [`roughsnn.AbstractNeuron`][]."""
        del t
        pairs = self._currents_of(x)
        for a, _ in pairs:
            current = current + a
        spike, voltage = self.spike_threshold, self.voltage_threshold
        above = x.v - self.rest
        return GLIFState(
            (current - above) / self.tau,
            tuple(-a / part.tau for a, part in pairs) or None,
            None if spike is None else -x.spike_threshold / spike.tau,
            None if voltage is None else (voltage.gain * above - x.voltage_threshold) / voltage.tau,
        )

    def noise(self, x, dw):
        """See [`roughsnn.AbstractNeuron`][]."""
        still = jax.tree.map(jnp.zeros_like, x)
        return still._replace(v=mix(self.sigma, dw))

    def spike(self, x):
        """See [`roughsnn.AbstractNeuron`][]."""
        spike = self.spike_threshold
        return GLIFState(
            self.rest + self.keep * (x.v - self.rest) - self.drop,
            tuple(p.keep * a + p.jump for a, p in self._currents_of(x)) or None,
            None if spike is None else x.spike_threshold + spike.jump,
            x.voltage_threshold,
        )

    def potential(self, x):
        """See [`roughsnn.AbstractNeuron`][]."""
        v = x.v
        for part in (x.spike_threshold, x.voltage_threshold):
            v = v if part is None else v - part
        return v

    def voltage(self, x):
        """See [`roughsnn.AbstractNeuron`][]."""
        return x.v

    def _currents_of(self, x: GLIFState) -> list[tuple[Scalar, AfterSpikeCurrent]]:
        return list(zip(x.currents or (), self.currents, strict=True))

    def bounds(self):
        """Time constants are positive."""
        parts = (*self.currents, self.spike_threshold, self.voltage_threshold)
        taus = (part.tau for part in (self, *parts) if part is not None)
        return tuple(Bound("tau", tau, "positive") for tau in taus)
