"""Noise with a memory, on a grid: Ornstein-Uhlenbeck and coloured."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._check import as_dtype
from .._misc import check_positive_float, check_shape, check_window, num_cells
from .._random import RandomKey, seeds, standard_normals
from .._types import RealScalar
from .grid import GridPath


def ornstein_uhlenbeck_path(
    t0: RealScalar,
    t1: RealScalar,
    dt: RealScalar,
    *,
    timescale: RealScalar,
    shape: tuple[int, ...],
    key: RandomKey,
    dtype: jnp.dtype | None = None,
) -> GridPath:
    r"""The stationary process $\tau\,d\xi = -\xi\,dt + \sqrt{2\tau}\,dB$ as a driver:
    $E[\xi_s\xi_t] = e^{-|t-s|/\tau}$.

    Exact at the borders of cells, a chord in between. $d\xi$ is as rough as $dB$, but what it
    adds up to stays bounded.

    **Arguments:**

    - `t0`, `t1`, `dt`: the window and the length of a cell; concrete numbers.
    - `timescale`: $\tau$, in the unit of time; a concrete number.
    - `shape`: the shape of the values, e.g. `(neurons, channels)`.
    - `key`: a `jax.random.key`.
    - `dtype`: a floating dtype; by default JAX's default.

    **Returns:** a [`roughsnn.GridPath`][] with the increments of $\xi$.

    **Raises:** `ValueError`/`TypeError` for an empty window, `dt <= 0`, `timescale <= 0`.
    """
    xi, _ = _process(t0, t1, dt, timescale, shape, key, dtype)
    return GridPath(xi[1:] - xi[:-1], t0=t0, t1=t1, dt=dt)


def coloured_path(
    t0: RealScalar,
    t1: RealScalar,
    dt: RealScalar,
    *,
    timescale: RealScalar,
    shape: tuple[int, ...],
    key: RandomKey,
    dtype: jnp.dtype | None = None,
) -> GridPath:
    r"""Coloured noise: $X_t = \int_0^t \eta_s\,ds$ with the stationary Ornstein-Uhlenbeck process
    $\eta$ of covariance $\frac{1}{2\tau} e^{-|t-s|/\tau}$.

    A smooth driver that becomes Brownian motion as $\tau \to 0$. The integrals over the cells are
    drawn from their exact law, jointly with $\eta$ at the borders.

    **Arguments:** as [`roughsnn.ornstein_uhlenbeck_path`][].

    **Returns:** a [`roughsnn.GridPath`][] with the increments of X.

    **Raises:** as [`roughsnn.ornstein_uhlenbeck_path`][].
    """
    _, integrals = _process(t0, t1, dt, timescale, shape, key, dtype)
    increments = integrals / (2 * float(timescale)) ** 0.5
    return GridPath(increments, t0=t0, t1=t1, dt=dt, hurst=1.0)


def _variance_of_integral(x: float) -> float:
    r"""$2x - 4(1-e^{-x}) + (1-e^{-2x})$, the variance over $\tau^2$ of $\int_0^{x\tau}\xi$ given
    the start; a series where the terms would cancel."""
    if x > 0.5:
        return 2 * x + 4 * math.expm1(-x) - math.expm1(-2 * x)
    return sum((-x) ** k / math.factorial(k) * (4 - 2**k) for k in range(3, 24))


def _process(t0, t1, dt, timescale, shape, key, dtype) -> tuple[Array, Array]:
    """The process of variance 1 at the borders of cells, and its integrals over them."""
    t0, t1, dt = check_window(t0, t1, dt, "dt")
    tau = check_positive_float("timescale", timescale)
    dtype = as_dtype(dtype)
    return _drawn(seeds(key), num_cells(t0, t1, dt), check_shape(shape), dt / tau, tau, dtype)


@eqx.filter_jit
def _drawn(words, cells: int, shape: tuple[int, ...], x: float, tau: float, dtype):
    """What [`_process`] returns, cells being `x` time constants `tau` long."""
    z = standard_normals(words, 2 * (cells + 1), math.prod(shape), dtype)
    z = z.reshape(2, cells + 1, *shape)
    decay, spread = math.exp(-x), (-math.expm1(-2 * x)) ** 0.5
    # Given the start: the mean of the integral, its slope in the end, and what is left.
    mean = -tau * math.expm1(-x)
    covariance = tau * math.expm1(-x) ** 2
    slope = covariance / spread
    left = max(tau**2 * _variance_of_integral(x) - slope**2, 0.0) ** 0.5

    def cell(xi, noise):
        a, b = noise
        new = decay * xi + spread * a
        return new, (new, mean * xi + slope * a + left * b)

    first = z[0, 0]
    _, (later, integrals) = jax.lax.scan(cell, first, (z[0, 1:], z[1, 1:]))
    return jnp.concatenate([first[None], later]), integrals
