import functools
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs


@functools.partial(
    jax.jit, static_argnames=("dt", "shape", "interpolation", "t1", "dtype", "columns")
)
def make(key, dt=0.1, shape=(), interpolation: Any = "parabola", t1=1.0, **options: Any):
    return rs.BrownianPath(
        0.0, t1, dt, shape=shape, key=key, interpolation=interpolation, **options
    )


@pytest.mark.parametrize(
    ("cells", "first"), [(1, 0), (2, 0), (3, 0), (8, 0), (12, 0), (4, 30), (1, 31), (8, 1000)]
)
def test_moments_of_increments_and_areas(cells, first):
    """Var W = h, Var H = h/12, uncorrelated between cells and with each other; also from one root
    to the next (cell 32 of length 1/4)."""
    h = 1.0 / cells
    samples = 20_000
    paths = jax.jit(
        lambda: jax.vmap(lambda k: make(k, h, first=first))(jr.split(jr.key(0), samples))
    )()
    both = np.concatenate([paths.increments, np.asarray(paths.areas) * 12**0.5], 1) / h**0.5
    covariance = both.T @ both / samples
    # The standard error of an entry is at most sqrt(2 / samples).
    assert np.max(np.abs(covariance - np.eye(2 * cells))) < 5 * (2 / samples) ** 0.5


@pytest.mark.parametrize("interpolation", ["linear", "parabola"])
def test_same_motion_at_every_power_of_two(key, interpolation):
    coarse = make(key, 0.2, (3,), interpolation)
    for factor in (2, 4, 16):
        fine = make(key, 0.2 / factor, (3,), interpolation)
        summed = np.asarray(fine.increments).reshape(-1, factor, 3).sum(1)
        np.testing.assert_allclose(summed, coarse.increments, atol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("interpolation", ["linear", "parabola"])
def test_the_same_motion_on_other_windows_and_with_more_entries(key, interpolation, dtype):
    """To the last bit. Roots of cells of length 0.1 have 128 of them."""

    def arrays(size, cells, first=0):
        path = make(key, 0.1, (size,), interpolation, t1=0.1 * cells, first=first, dtype=dtype)
        return [np.asarray(x)[:, :3] for x in path.arrays() if x is not None]

    whole = arrays(3, 400)
    parts = [(slice(0, 101), arrays(3, 101)), (slice(0, 100), arrays(5, 100))]
    for first in (1, 127, 128, 129, 250):
        parts.append((slice(first, first + 50), arrays(3, 50, first)))
    for where, part in parts:
        for a, b in zip(whole, part, strict=True):
            np.testing.assert_array_equal(a[where], b)


def test_cells_of_other_lengths_where_both_are(key):
    """Windows that no cell divides, and one that begins inside of a root."""
    coarse = np.asarray(make(key, 0.3, (2,), t1=20.0).increments)
    fine = np.asarray(make(key, 0.15, (2,), t1=20.0).increments)
    late = np.asarray(make(key, 0.15, (2,), t1=6.0, first=14).increments)
    pairs = len(fine) // 2
    np.testing.assert_allclose(
        fine[: 2 * pairs].reshape(-1, 2, 2).sum(1), coarse[:pairs], atol=1e-14
    )
    np.testing.assert_array_equal(fine[14 : 14 + len(late)], late)


def test_area_is_that_of_the_refined_path(key):
    """H = (1/h) int (W_r - r/h W) dr, by the trapezoid on a fine path."""
    coarse, fine = make(key, 0.25), make(key, 0.25 / 2**14, interpolation="linear")
    inner = np.asarray(fine.increments).reshape(4, -1)
    walk = np.concatenate([np.zeros((4, 1)), np.cumsum(inner, 1)], 1)
    theta = np.linspace(0, 1, walk.shape[1])
    bridge = walk - theta * walk[:, -1:]
    assert coarse.areas is not None
    np.testing.assert_allclose(coarse.areas, bridge[:, 1:].mean(1), atol=1e-4)


def test_linear_and_parabola_share_increments(key):
    np.testing.assert_array_equal(
        make(key, interpolation="linear").increments, make(key).increments
    )


@pytest.mark.parametrize("interpolation", ["linear", "parabola"])
def test_evaluate_adds_up_and_has_its_derivative(key, interpolation):
    h = 1e-6

    @jax.jit
    def values(path, t):
        inside = path.cell(jnp.asarray(5)).derivative(0.037)
        whole, parts = path.evaluate(0.0, 1.0), path.evaluate(0.0, 0.33) + path.evaluate(0.33, 1.0)
        difference = (path.evaluate(t + h) - path.evaluate(t - h)) / (2 * h)
        return whole, parts, path.derivative(t), difference, inside

    path = make(key, 0.1, (2,), interpolation)
    total, parts, slope, difference, inside = values(path, 0.537)
    np.testing.assert_allclose(total, np.asarray(path.increments).sum(0), atol=1e-13)
    np.testing.assert_allclose(parts, total, atol=1e-13)
    np.testing.assert_allclose(slope, difference, rtol=1e-7)
    np.testing.assert_allclose(inside, slope, rtol=1e-12)


def test_last_cell_may_reach_beyond(key):
    assert make(key, 0.3).increments.shape == (4,)


def test_float32(key):
    path = make(key, dtype=jnp.float32)
    assert path.increments.dtype == jnp.float32 and path.evaluate(0.25).dtype == jnp.float32


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"t1": -1.0}, "`t1` must be larger"),
        ({"dt": 0.0}, "`dt` must be positive"),
        ({"dt": float("nan")}, "`dt` must be finite"),
        ({"interpolation": "cubic"}, "`interpolation`"),
        ({"shape": 3}, "`shape`"),
    ],
)
def test_bad_input(key, change, match):
    with pytest.raises((ValueError, TypeError), match=match):
        arguments = {"t0": 0.0, "t1": 1.0, "dt": 0.1, "shape": (), "key": key} | change
        rs.BrownianPath(**arguments)


def test_traced_window_is_refused(key):
    with pytest.raises(TypeError, match="`t1` must be a concrete number"):
        jax.jit(lambda t1: rs.BrownianPath(0.0, t1, 0.1, shape=(), key=key).increments)(1.0)


def test_no_channels_and_odd_numbers_of_cells():
    """Nothing to draw, and nothing to halve."""
    empty = make(jr.key(0), shape=(3, 0))
    assert empty.increments.shape == (10, 3, 0)
    odd = make(jr.key(0), shape=(2,), t1=0.7, interpolation="linear")
    assert odd.increments.shape == (7, 2) and odd.areas is None


def test_the_same_motion_in_both_precisions():
    """Up to rounding: the numbers come from the same bits."""
    a, b = (
        make(jr.key(0), 1 / 64, shape=(5,), dtype=d).increments for d in (jnp.float32, jnp.float64)
    )
    np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("columns", [(), (1,), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("interpolation", ["linear", "parabola"])
def test_columns_that_are_not_drawn_are_zero(columns, interpolation):
    """The others are those of the whole path."""
    room: Any = dict(shape=(4, 3), key=jr.key(0), interpolation=interpolation)
    drawn = np.isin(np.arange(3), columns)

    @jax.jit
    def values():
        whole = rs.BrownianPath(0.0, 1.0, 0.05, **room)
        some = rs.BrownianPath(0.0, 1.0, 0.05, columns=columns, **room)
        assert some.increments.shape == (20, 4, len(columns))
        cells = [[path.cell(n) for path in (some, whole)] for n in (0, 7, 19)]
        exact = [
            pair
            for a, b in cells
            for pair in (
                (a.evaluate(0.02), b.evaluate(0.02)),
                (a.derivative(0.03), b.derivative(0.03)),
            )
        ]
        return exact, [path.evaluate(jnp.asarray(0.33)) for path in (some, whole)]

    exact, (found, expected) = jax.device_get(values())
    for a, b in exact:
        np.testing.assert_allclose(a, np.where(drawn, b, 0))
    np.testing.assert_allclose(found, np.where(drawn, expected, 0), atol=1e-12)
    for bad in ((1, 0), (0, 0), (3,), (-1,)):
        with pytest.raises(ValueError, match="`columns` must be increasing"):
            rs.BrownianPath(0.0, 1.0, 0.05, columns=bad, **room)
