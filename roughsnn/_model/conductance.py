"""Synapses whose current depends on the membrane potential."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._check import check_kind
from .._misc import as_float_array
from .._types import Numeric
from .domain import Bound, as_bounded
from .synapse import AbstractConductance, AbstractLinearSynapse


class Conductance(AbstractConductance):
    r"""A conductance with a reversal potential: the current is $G\,(E - v)$.

    $G$ is what the kernel makes of the arrivals, e.g. $dG = -G\,dt/\tau$, $G \to G + w$. Currents
    have the unit of the potential, so conductances, and with them weights, are in units of the leak
    conductance; they are not negative. Excitation has $E$ above the threshold, inhibition below or
    at rest. (Noise on the kernel is noise on the conductance.)

    **Arguments:**

    - `kernel`: a linear synapse, e.g. [`roughsnn.synapses.Exponential`][].
    - `reversal`: $E$, in the unit of the potential; scalar or shape `(neurons,)`.

    **Raises:** `TypeError` for another kernel; `ValueError` for wrong shapes and values that are
    not finite.
    """

    kernel: AbstractLinearSynapse
    reversal: Float[Array, "*neurons"]

    def __init__(self, kernel: AbstractLinearSynapse, reversal: Numeric):
        self.kernel = _as_kernel(kernel)
        self.reversal = as_float_array("reversal", reversal)

    def flow(self, conductance, v):
        """See [`roughsnn.AbstractConductance`][]."""
        return conductance * (self.reversal - v)


class NMDA(AbstractConductance):
    r"""A conductance that magnesium blocks at low potentials (Jahr & Stevens 1990): the current is

    $$\frac{G\,(E - v)}{1 + [\mathrm{Mg}]\,e^{-k v}/m}.$$

    **Arguments:** as for [`roughsnn.synapses.Conductance`][], and, with the defaults of the paper,
    in mV and mM,

    - `magnesium`: [Mg], the concentration outside of the cell, positive.
    - `slope`: $k$, per mV, positive.
    - `half`: $m$, the concentration that blocks half of the conductance at $v = 0$, positive.

    Each is a scalar or has shape `(neurons,)`.

    **Raises:** as [`roughsnn.synapses.Conductance`][], and `ValueError` for concentrations and
    slopes that are not positive.

    ??? cite "Reference"

        C. E. Jahr, C. F. Stevens, *Voltage dependence of NMDA-activated macroscopic conductances
        predicted by single-channel kinetics*, Journal of Neuroscience 10 (1990).
    """

    kernel: AbstractLinearSynapse
    reversal: Float[Array, "*neurons"]
    magnesium: Float[Array, "*neurons"]
    slope: Float[Array, "*neurons"]
    half: Float[Array, "*neurons"]

    def __init__(
        self,
        kernel: AbstractLinearSynapse,
        reversal: Numeric = 0.0,
        magnesium: Numeric = 1.0,
        slope: Numeric = 0.062,
        half: Numeric = 3.57,
    ):
        self.kernel = _as_kernel(kernel)
        self.reversal = as_float_array("reversal", reversal)
        self.magnesium = as_bounded("magnesium", magnesium, "positive")
        self.slope = as_bounded("slope", slope, "positive")
        self.half = as_bounded("half", half, "positive")

    def flow(self, conductance, v):
        """See [`roughsnn.AbstractConductance`][]."""
        free = jax.nn.sigmoid(self.slope * v - jnp.log(self.magnesium / self.half))
        return conductance * free * (self.reversal - v)

    def bounds(self):
        """Those of the kernel; concentrations and slope are positive."""
        positive = ("magnesium", "slope", "half")
        own = (Bound(name, getattr(self, name), "positive") for name in positive)
        return (*self.kernel.bounds(), *own)


def _as_kernel(kernel: AbstractLinearSynapse) -> AbstractLinearSynapse:
    wanted = "a roughsnn.AbstractLinearSynapse, e.g. roughsnn.synapses.Exponential(tau)"
    return check_kind("kernel", kernel, AbstractLinearSynapse, wanted)
