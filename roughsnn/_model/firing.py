"""Firing: when a neuron spikes, given its potential."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._check import check_kind
from .._misc import as_float_array, is_concrete
from .._types import Numeric, RealScalar, Scalar
from .domain import Bound, as_bounded
from .intensity import AbstractIntensity
from .mapped import mapped
from .neuron import AbstractNeuron


class AbstractFiring(eqx.Module):
    """The rule by which one neuron fires: a random threshold, or a hard one."""

    @abc.abstractmethod
    def check(self, neuron: AbstractNeuron, size: int) -> AbstractNeuron:
        """The neuron, if pathwise gradients exist with so many of it; raises if not."""

    @abc.abstractmethod
    def bounds(self) -> tuple[Bound, ...]:
        """What its parameters must be."""


class AbstractHazard(AbstractFiring):
    r"""Random thresholds: spikes at a rate that depends on time and potential.

    A hidden state $ds = \lambda(t, v)\,dt$ fires where it reaches 0, and then $s := \log u -
    \alpha$ with $u \sim U(0, 1)$. Hence $P(\text{no spike in }(\tau, t]) =
    \min\{1, e^{\alpha - \int_\tau^t\lambda\,dr}\}$. Such spikes have a density.
    """

    alpha: eqx.AbstractVar[Float[Array, "*neurons"]]

    @abc.abstractmethod
    def hazard(self, t: RealScalar, v: Scalar) -> Scalar:
        """The rate of spikes, not negative."""

    @abc.abstractmethod
    def log_hazard(self, t: RealScalar, v: Scalar) -> Scalar:
        """Its logarithm, also where the rate may round to 0."""


class StochasticFiring(AbstractHazard):
    r"""Spikes from an intensity, with refractoriness (Holberg & Salvi 2024, eq. 1-3).

    $ds = \lambda(v)\,dt$; a neuron fires when $s$ reaches 0, and then
    $s := \log u - \alpha$, $u \sim U(0, 1)$. Hence
    $P(\text{no spike in }(\tau, t]) = \min\{1, e^{\alpha - \int_\tau^t\lambda(v_r)dr}\}$.

    **Arguments:**

    - `intensity`: an [`roughsnn.AbstractIntensity`][].
    - `alpha`: refractoriness in integrated hazard, not negative; scalar or `(neurons,)`.

    **Raises:** `ValueError` for a negative `alpha`, `TypeError` for another intensity.
    """

    intensity: AbstractIntensity
    alpha: Float[Array, "*neurons"]

    def __init__(self, intensity: AbstractIntensity, alpha: Numeric = 0.0):
        self.intensity = check_kind(
            "intensity",
            intensity,
            AbstractIntensity,
            "a roughsnn.AbstractIntensity (a function of your own goes into a subclass)",
        )
        self.alpha = as_bounded("alpha", alpha, "not negative")

    def hazard(self, t, v):
        """See [`roughsnn.AbstractHazard`][]."""
        del t
        return self.intensity(v)

    def log_hazard(self, t, v):
        """See [`roughsnn.AbstractHazard`][]."""
        del t
        return self.intensity.log(v)

    def check(self, neuron, size):
        """Every neuron will do: the hidden state has no noise."""
        del size
        return neuron

    def bounds(self):
        """`alpha` is not negative, and the intensity has bounds of its own."""
        return (Bound("alpha", self.alpha, "not negative"), *self.intensity.bounds())


class HardThreshold(AbstractFiring):
    r"""A spike whenever the potential rises through a threshold.

    Only for neurons without noise on the potential at the threshold: the crossing of a Brownian
    path is not differentiable, and automatic differentiation would return a finite, wrong number.
    Noise on the current is allowed.

    **Arguments:**

    - `threshold`: scalar or shape `(neurons,)`.

    !!! warning

        The first crossing jumps where a maximum of $v$ comes to touch the threshold. The
        gradient of one path is exact, but its mean is that of the mean only where the drift
        carries $v$ through the threshold nearly always (strong input, little noise and
        inhibition).
    """

    threshold: Float[Array, "*neurons"]

    def __init__(self, threshold: Numeric = 1.0):
        self.threshold = as_float_array("threshold", threshold)

    def check(self, neuron, size):
        """Refuses noise on the potential (condition C1), while tracing at run time."""
        message = (
            "HardThreshold needs a neuron without noise on its potential at the threshold, got a "
            "nonzero `sigma`: the event function v - threshold would see the noise (condition "
            "C1), and no exact gradient exists. Put the noise on the current (`sigma` of the "
            "synapse), let it vanish at the threshold (MultiplicativeLIF), or use StochasticFiring."
        )

        def sees() -> Bool[Array, ""]:
            level = jnp.broadcast_to(self.threshold, (size,))
            return jnp.any(mapped(lambda n, level: n.noisy_potential(level), neuron, level))

        if is_concrete(neuron, self.threshold):
            with jax.ensure_compile_time_eval():
                noisy = sees()
        else:
            noisy = sees()
        if not is_concrete(noisy):
            return eqx.error_if(neuron, noisy, message)
        if noisy:
            raise ValueError(message)
        return neuron

    def bounds(self):
        """None."""
        return ()


def at_risk(s: Float[Array, "*neurons"], u: Float[Array, "*neurons"]) -> Bool[Array, "*neurons"]:
    """Where the hazard integrated since the last spike exceeds alpha, over the random number of
    the threshold."""
    return s > jnp.log(u)
