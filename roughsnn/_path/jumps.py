"""Drivers that jump: declared jumps, compound Poisson processes."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from .._check import check_function
from .._misc import (
    as_float_array,
    as_numbers,
    check_positive_float,
    check_positive_int,
    check_window,
    is_concrete,
    tensordot,
)
from .._random import RandomKey, original, seeds, split, uniform
from .._types import Numeric, PRNGKey, RealScalar
from .base import AbstractJumpPath


class JumpPath(AbstractJumpPath):
    r"""A driver that is constant but for its jumps: $X_t = \sum_{\tau_j \le t} \Delta_j$.

    In a `diffrax.ControlTerm` of [`roughsnn.eventsolve`][] the solver stops exactly at each jump,
    and there the state moves along the flow of Marcus, $dz/dr = \sigma(z)\,\Delta_j$,
    $r \in [0, 1]$: the limit of ever steeper smooth drivers. Jumps at one time are applied
    together, as the sum of their sizes. Gradients with respect to times and sizes exist. Combine it
    with continuous drivers in a `diffrax.MultiTerm`.

    **Arguments:**

    - `jump_times`: shape `(jumps,)`, not decreasing, in [t0, t1], padded with inf.
    - `sizes`: shape `(jumps, *shape)`; `shape` is that of the values.
    - `t0`, `t1`: the window; concrete numbers. The value at t0 is 0.

    **Raises:** `ValueError` for shapes that do not fit, unordered times, times outside of the
        window. (Where they are traced a `RuntimeError` at run time.)

    ??? cite "Reference"

        S. I. Marcus, *Modeling and approximation of stochastic differential equations driven by
        semimartingales*, Stochastics 4 (1981). I. Chevyrev, P. Friz, *Canonical RDEs and general
        semimartingales as rough paths*, Ann. Probab. 47 (2019).
    """

    jump_times: Float[Array, " jumps"]
    sizes: Float[Array, " jumps *shape"]
    t0: float = eqx.field(static=True)
    t1: float = eqx.field(static=True)

    def __init__(self, jump_times: Numeric, sizes: Numeric, *, t0: RealScalar, t1: RealScalar):
        self.t0, self.t1, _ = check_window(t0, t1, 1.0, "dt")
        self.sizes = as_float_array("sizes", sizes)
        times = as_numbers("jump_times", jump_times, self.sizes.dtype)
        if times.ndim != 1 or self.sizes.shape[:1] != times.shape:
            raise ValueError(
                "`jump_times` must have shape (jumps,) and `sizes` (jumps, *shape), got "
                f"{times.shape} and {self.sizes.shape}."
            )
        self.jump_times = check_jump_times(times, self.t0, self.t1)

    def evaluate(self, t0: RealScalar, t1: RealScalar | None = None, left: bool = True) -> Array:
        """The value at `t0` (its left limit unless `left=False`), or an increment."""
        if t1 is not None:
            return self.evaluate(t1, left=left) - self.evaluate(t0, left=left)
        there = self.jump_times < t0 if left else self.jump_times <= t0
        return tensordot(there.astype(self.sizes.dtype), self.sizes, 1)


def check_jump_times(times: Array, t0: float, t1: float) -> Array:
    """`times`, once they are known to be in order and in [t0, t1], padded with inf."""
    message = (
        f"`jump_times` must be in increasing order and in the window [{t0}, {t1}], padded with inf."
    )
    if is_concrete(times):
        known = np.asarray(times)
        outside = (known < t0) | ((known > t1) & ~np.isposinf(known)) | np.isnan(known)
        unordered = known[1:] < known[:-1]
        if np.any(outside) or np.any(unordered):
            where = known[outside][0] if np.any(outside) else known[1:][unordered][0]
            raise ValueError(f"{message} Got {where}.")
        return times
    outside = ~((times >= t0) & ((times <= t1) | jnp.isposinf(times)))
    return eqx.error_if(times, jnp.any(outside) | jnp.any(times[1:] < times[:-1]), message)


def arrivals(words, coordinate, number: int, rate: Array, t0: float, t1: float) -> Array:
    """The first times of a Poisson process, inf behind t1. Differentiable in the rate."""
    u = uniform(words, coordinate, jnp.arange(number, dtype=jnp.int32), rate.dtype)
    times = t0 - jnp.cumsum(jnp.log(u)) / jnp.where(rate > 0, rate, 1)
    return jnp.where((rate > 0) & (times <= t1), times, jnp.inf)


def compound_poisson_path(
    t0: RealScalar,
    t1: RealScalar,
    *,
    intensity: Numeric,
    jump: Callable[[PRNGKey], Float[Array, "*shape"]],
    max_jumps: int,
    key: RandomKey,
) -> JumpPath:
    r"""A compound Poisson process: jumps of independent sizes after exponential waiting times.

    Any Levy process with finitely many jumps is this plus Brownian motion plus a drift. The j-th
    waiting time is $-\log(u_j)$ over the intensity and the j-th size depends on the j-th key, so
    times and sizes are differentiable in the parameters of their laws. A functional that jumps as
    a jump leaves the window has a boundary term that these gradients do not see.

    **Arguments:**

    - `t0`, `t1`: the window; concrete numbers.
    - `intensity`: jumps per unit of time, a positive scalar, finite.
    - `jump`: the law of the sizes, a function of a key, e.g. `lambda key: jr.normal(key, (3,))`.
    - `max_jumps`: the room for jumps.
    - `key`: a `jax.random.key`.

    **Returns:** a [`roughsnn.JumpPath`][].

    **Raises:** `ValueError` for an intensity that is not positive and finite (infinite activity
        cannot be simulated jump by jump); `RuntimeError` for more than `max_jumps` jumps.
    """
    t0, t1, _ = check_window(t0, t1, 1.0, "dt")
    max_jumps = check_positive_int("max_jumps", max_jumps)
    rate = check_rates("intensity", intensity, 0)
    check_function("jump", jump, "jump(key)")
    if is_concrete(rate):
        check_positive_float("intensity", rate)
    times_key, sizes_key = split(key)
    times = arrivals(seeds(times_key), 0, max_jumps + 1, rate, t0, t1)
    times = eqx.error_if(times, ~(rate > 0), "`intensity` must be positive.")
    message = f"There are more than `max_jumps` = {max_jumps} jumps. Raise it."
    times = eqx.error_if(times, jnp.isfinite(times[-1]), message)[:-1]
    sizes = jax.vmap(jump)(jr.split(original(sizes_key), max_jumps))
    return JumpPath(times, sizes, t0=t0, t1=t1)


def check_rates(name: str, value: Numeric, *ranks: int) -> Array:
    """Rates that are not negative, as far as they are known, of one of these ranks."""
    rates = as_float_array(name, value)
    if rates.ndim not in ranks:
        shapes = "a scalar", "of shape (neurons,)", "of shape (steps, neurons)"
        wanted = " or ".join(shapes[rank] for rank in ranks)
        raise ValueError(f"`{name}` must be {wanted}, got shape {rates.shape}.")
    if is_concrete(rates) and np.any(np.asarray(rates) < 0):
        raise ValueError(f"`{name}` must not be negative, got {np.asarray(rates).min()}.")
    return rates
