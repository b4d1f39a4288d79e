"""Firing: when a neuron spikes, given its membrane potential."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._misc import as_float_array, is_concrete
from .._types import Numeric
from .domain import Bound, as_bounded
from .intensity import AbstractIntensity
from .membrane import AbstractMembrane


class AbstractFiring(eqx.Module):
    """The event function of a neuron, and the hidden state it may need."""

    @abc.abstractmethod
    def draw_threshold(self, u: Float[Array, " neurons"]) -> Float[Array, " neurons"] | None:
        """The hidden state after a spike whose random number is `u`; `None` if there is none."""

    @abc.abstractmethod
    def hazard(self, v: Float[Array, " neurons"]) -> Float[Array, " neurons"] | None:
        """The rate of change of the hidden state."""

    @abc.abstractmethod
    def event(
        self, v: Float[Array, " neurons"], s: Float[Array, " neurons"] | None
    ) -> Float[Array, " neurons"]:
        """Fires where it rises through 0."""

    @abc.abstractmethod
    def at_risk(
        self, s: Float[Array, " neurons"] | None, u: Float[Array, " neurons"]
    ) -> Bool[Array, " neurons"] | None:
        """Whether a spike is possible at `s`, over the threshold's random number `u`.

        `None` if there is no random threshold.
        """

    @abc.abstractmethod
    def check(self, membrane: AbstractMembrane) -> AbstractMembrane:
        """The membrane, if pathwise gradients exist with it; raises if not."""

    def bounds(self) -> tuple[Bound, ...]:
        """What its parameters must be; none by default."""
        return ()


class StochasticFiring(AbstractFiring):
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
        if not isinstance(intensity, AbstractIntensity):
            raise TypeError(
                "`intensity` must be a roughsnn.AbstractIntensity, got a "
                f"{type(intensity).__name__}. Wrap a function of your own in a subclass."
            )
        self.intensity = intensity
        self.alpha = as_bounded("alpha", alpha, "not negative")

    def draw_threshold(self, u):
        """See [`roughsnn.AbstractFiring`][]."""
        return jnp.log(u) - self.alpha

    def hazard(self, v):
        """See [`roughsnn.AbstractFiring`][]."""
        return self.intensity(v)

    def event(self, v, s):
        """See [`roughsnn.AbstractFiring`][]."""
        del v
        assert s is not None
        return s

    def at_risk(self, s, u):
        """Where the hazard integrated since the last spike exceeds alpha."""
        assert s is not None
        return s > jnp.log(u)

    def check(self, membrane):
        """Every membrane will do: the hidden state has no noise."""
        return membrane

    def bounds(self):
        """`alpha` is not negative, and the intensity has bounds of its own."""
        return (Bound("alpha", self.alpha, "not negative"), *self.intensity.bounds())


class ThresholdFiring(AbstractFiring):
    r"""A spike whenever $v$ rises through a threshold.

    Only for membranes without noise on $v$ at the threshold: the crossing of a Brownian path is not
    differentiable, and automatic differentiation would return a finite, wrong number.
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

    def draw_threshold(self, u):
        """No hidden state."""
        del u

    def hazard(self, v):
        """No hidden state."""
        del v

    def event(self, v, s):
        """See [`roughsnn.AbstractFiring`][]."""
        del s
        return v - self.threshold

    def at_risk(self, s, u):
        """No random threshold."""
        del s, u

    def check(self, membrane):
        """Refuses noise on the potential (condition C1), while tracing at run time."""
        message = (
            "ThresholdFiring needs a membrane without noise on v at its threshold, got a nonzero "
            "first row of `sigma`: the event function v - threshold would see the noise (condition "
            "C1), and no exact gradient exists. Put the noise on the current (second row of "
            "`sigma`), let it vanish at the threshold (MultiplicativeLIF), or use StochasticFiring."
        )
        if is_concrete(membrane, self.threshold):
            with jax.ensure_compile_time_eval():
                noisy = membrane.noisy_potential(self.threshold)
        else:
            noisy = membrane.noisy_potential(self.threshold)
        if not is_concrete(noisy):
            return eqx.error_if(membrane, noisy, message)
        if noisy:
            raise ValueError(message)
        return membrane
