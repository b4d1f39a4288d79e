"""Membranes: how potential and synaptic current move between spikes."""

import abc
import functools
import operator
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._misc import as_array, as_float_array, is_concrete, matmul
from .._types import Numeric
from .domain import Bound


class AbstractMembrane(eqx.Module):
    """The motion of (v, i) between spikes, and the reset of v."""

    @abc.abstractmethod
    def drift(
        self,
        v: Float[Array, " neurons"],
        i: Float[Array, " neurons"],
        drive: Float[Array, " neurons"],
    ) -> tuple[Float[Array, " neurons"], Float[Array, " neurons"]]:
        """dv/dt and di/dt under an input `drive`."""

    @abc.abstractmethod
    def noise(
        self,
        v: Float[Array, " neurons"],
        i: Float[Array, " neurons"],
        dx: Float[Array, "neurons channels"],
    ) -> tuple[Float[Array, " neurons"], Float[Array, " neurons"]]:
        """What an increment of the driver adds to v and i."""

    @abc.abstractmethod
    def reset(self, v: Float[Array, " neurons"]) -> Float[Array, " neurons"]:
        """The potential of a neuron just after its own spike."""

    @property
    @abc.abstractmethod
    def channels(self) -> int:
        """The number of noise channels of one neuron."""

    def channels_drawn(self) -> tuple[int, ...]:
        """The channels that reach v or i as far as is known; only they get random numbers."""
        return tuple(range(self.channels))

    @abc.abstractmethod
    def noisy_potential(self, v: Float[Array, "*neurons"]) -> Bool[Array, ""]:
        """Whether noise reaches a potential `v` directly."""

    def bounds(self) -> tuple[Bound, ...]:
        """What its parameters must be; none by default."""
        return ()


def mix(dx: Array, row: Array) -> Array:
    """dx @ row; for few channels term by term, which fuses with what surrounds it."""
    channels = row.shape[0]
    if channels == 0 or channels > 4:
        return matmul(dx, row)
    return functools.reduce(operator.add, [dx[:, c] * row[c] for c in range(channels)])


class AbstractLinearMembrane(AbstractMembrane):
    """A membrane whose (v, i) decay linearly, so that steps can be exact in the decay; its noise
    does not depend on v and i.

    Where di/dt depends on v too (a resonator), lockstep refuses it, and the event engine takes the
    solver of membranes that are not linear.
    """

    @property
    @abc.abstractmethod
    def rates(self) -> tuple[Array, Array]:
        """The decay rates of v and i."""


def _as_rates(mu: Any) -> Array:
    """Both rates as one array, where one is a number and the other has shape `(neurons,)`."""
    if not isinstance(mu, list | tuple) or len(mu) != 2 or _wide(mu[0]) == _wide(mu[1]):
        return as_float_array("mu", mu)
    both = [as_float_array(f"mu[{n}]", rate) for n, rate in enumerate(mu)]
    shape, dtype = max((r.shape for r in both), key=len), jnp.result_type(*both)
    if not is_concrete(both):
        return jnp.stack([jnp.broadcast_to(r, shape).astype(dtype) for r in both])
    known = [np.broadcast_to(np.asarray(r), shape) for r in both]
    return as_float_array("mu", as_array(np.stack(known), dtype))


def _wide(rate: Any) -> bool:
    return isinstance(rate, list | tuple) or np.ndim(rate) > 0


def check_membrane(
    mu: Numeric, sigma: Numeric | None, v_reset: Numeric
) -> tuple[Array, Array, Array]:
    """The parameters of a leaky membrane as arrays, or a clear error."""
    rates, reset = _as_rates(mu), as_float_array("v_reset", v_reset)
    sigma = jnp.zeros((2, 0), rates.dtype) if sigma is None else sigma
    noise = as_float_array("sigma", sigma)
    if rates.ndim not in (1, 2) or rates.shape[0] != 2:
        raise ValueError(
            f"`mu` must have shape (2,) or (2, neurons), got {rates.shape}: the decay "
            "rates of the potential and of the current."
        )
    if noise.ndim != 2 or noise.shape[0] != 2:
        raise ValueError(
            f"`sigma` must have shape (2, channels), got {noise.shape}: one row for "
            "the potential, one for the current."
        )
    if reset.ndim > 1:
        raise ValueError(f"`v_reset` must be a scalar or have shape (neurons,), got {reset.shape}.")
    Bound("mu", rates, "not negative").check()
    return rates, noise, reset


class LIF(AbstractLinearMembrane):
    r"""Leaky integrate-and-fire with a current synapse (Holberg & Salvi 2024, eq. 1-3).

    $$dv = \mu_1(i + c(t) - v)\,dt + \sigma_1\cdot dB, \qquad
      di = -\mu_2 i\,dt + \sigma_2\cdot dB, \qquad v \to v - v_\text{reset}.$$

    The reset is by subtraction, which commutes with noise on the membrane.

    **Arguments:**

    - `mu`: $(\mu_1, \mu_2)$, rates in 1/time; each a scalar or of shape `(neurons,)`.
    - `sigma`: shape `(2, channels)`: the noise on v (first row) and on i (second), in
        potential per square root of time. `None`: no noise.
    - `v_reset`: what a spike takes from v; scalar or shape `(neurons,)`.

    **Raises:** `ValueError` for wrong shapes, integer arrays, values that are not finite,
    negative rates.
    """

    mu: Float[Array, "2 *neurons"]
    sigma: Float[Array, "2 channels"]
    v_reset: Float[Array, "*neurons"]

    def __init__(self, mu: Numeric, sigma: Numeric | None = None, v_reset: Numeric = 1.0):
        self.mu, self.sigma, self.v_reset = check_membrane(mu, sigma, v_reset)

    def drift(self, v, i, drive):
        """See [`roughsnn.AbstractMembrane`][]."""
        return self.mu[0] * (i + drive - v), -self.mu[1] * i

    def noise(self, v, i, dx):
        """See [`roughsnn.AbstractMembrane`][]."""
        del v, i
        return mix(dx, self.sigma[0]), mix(dx, self.sigma[1])

    def reset(self, v):
        """See [`roughsnn.AbstractMembrane`][]."""
        return v - self.v_reset

    @property
    def channels(self) -> int:
        """The number of noise channels of one neuron."""
        return self.sigma.shape[1]

    def channels_drawn(self):
        """Those with a column of `sigma` that is not known to be zero."""
        if not is_concrete(self.sigma):
            return tuple(range(self.channels))
        return tuple(np.flatnonzero(np.any(np.asarray(self.sigma) != 0, axis=0)).tolist())

    def noisy_potential(self, v):
        """See [`roughsnn.AbstractMembrane`][]."""
        del v
        return jnp.any(self.sigma[0] != 0)

    def bounds(self):
        """Rates are not negative."""
        return (Bound("mu", self.mu, "not negative"),)

    @property
    def rates(self):
        """The decay rates of v and i."""
        return self.mu[0], self.mu[1]
