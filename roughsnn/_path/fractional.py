"""Fractional Brownian motion on a grid."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt32

from .._check import as_dtype
from .._misc import check_shape, check_window, num_cells, static_float
from .._random import RandomKey, seeds, standard_normals
from .._types import RealScalar
from .grid import GridPath


def _root_spectrum(cells: int, hurst: float) -> np.ndarray:
    """The square roots of the eigenvalues of the circulant matrix around the covariance of
    `cells` increments over unit times; none of them is negative for this covariance."""
    k = np.arange(cells + 1.0)
    power = lambda x: np.abs(x) ** (2 * hurst)
    row = (power(k + 1) - 2 * power(k) + power(k - 1)) / 2
    values = np.fft.hfft(row, 2 * cells)[: cells + 1]
    return np.sqrt(np.maximum(values, 0))


def fractional_path(
    t0: RealScalar,
    t1: RealScalar,
    dt: RealScalar,
    *,
    hurst: RealScalar,
    shape: tuple[int, ...],
    key: RandomKey,
    dtype: jnp.dtype | None = None,
) -> GridPath:
    r"""Fractional Brownian motion, $E[(X_t - X_s)^2] = |t - s|^{2H}$, independent in each entry.

    The increments over the cells have their exact joint law: the covariance is embedded in a
    circulant matrix, whose root is applied by a fast Fourier transform (Davies & Harte 1987), at
    $O(n \log n)$ for n cells. In a cell the path is a chord; as dt -> 0 solutions converge to
    those of the geometric rough path (Friz & Hairer, *A Course on Rough Paths*, Chapter 10).

    Another dt gives another path of the same law; to see one path on several grids draw the
    finest and use [`roughsnn.coarsened`][].

    **Arguments:**

    - `t0`, `t1`, `dt`: the window and the length of a cell; concrete numbers.
    - `hurst`: the index H in (1/3, 1), a concrete number: 1/2 is Brownian motion, below it is
        rougher and increments are anticorrelated, above it is smoother and they are persistent.
    - `shape`: the shape of the values, e.g. `(neurons, channels)`.
    - `key`: a `jax.random.key`.
    - `dtype`: a floating dtype; by default JAX's default.

    **Returns:** a [`roughsnn.GridPath`][].

    **Raises:** `ValueError`/`TypeError` for H outside of its range or traced, an empty window,
        `dt <= 0`, a bad shape.
    """
    t0, t1, dt = check_window(t0, t1, dt, "dt")
    hurst = static_float("hurst", hurst)
    if not 1 / 3 < hurst < 1:
        raise ValueError(
            f"`hurst` must be in (1/3, 1), got {hurst}: at 1 a path is a straight line, and at "
            "1/3 and below its increments and areas no longer determine solutions."
        )
    dtype = as_dtype(dtype)
    cells, size = num_cells(t0, t1, dt), math.prod(check_shape(shape))
    root = jnp.asarray(_root_spectrum(cells, hurst), dtype)
    increments = dt**hurst * _drawn(seeds(key), root, size)
    return GridPath(increments.reshape(cells, *shape), t0=t0, t1=t1, dt=dt, hurst=hurst)


@eqx.filter_jit
def _drawn(words: UInt32[Array, "3"], root: Float[Array, " frequencies"], size: int) -> Array:
    """The increments of cells of length 1."""
    cells, dtype = root.shape[0] - 1, root.dtype
    # The first and the last frequency are real, the others share their variance among two parts.
    z = standard_normals(words, 2 * cells, size, dtype)
    real = jnp.concatenate([z[:1], 0.5**0.5 * z[2 : cells + 1], z[1:2]])
    imaginary = jnp.pad(0.5**0.5 * z[cells + 1 :], ((1, 1), (0, 0)))
    spectrum = jax.lax.complex(root[:, None] * real, root[:, None] * imaginary)
    unit = jnp.fft.irfft(spectrum, 2 * cells, axis=0)[:cells] * (2 * cells) ** 0.5
    return unit.astype(dtype)
