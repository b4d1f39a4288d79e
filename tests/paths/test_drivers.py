"""Fractional, coloured and shared noise: laws, and networks under them."""

import functools
from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

SAMPLES = 20_000


def values(make, cells, **options: Any):
    """Values at the ends of the cells, shape (samples, cells)."""
    keys = jr.split(jr.key(3), SAMPLES)
    increments = jax.vmap(
        lambda k: make(0.0, 1.0, 1 / cells, shape=(), key=k, **options).increments
    )
    return np.cumsum(np.asarray(increments(keys)), 1)


def check_covariance(x, expected):
    """Entry by entry within 5 standard errors, for a Gaussian vector with mean 0."""
    found = x.T @ x / len(x)
    variances = np.diag(expected)
    error = np.sqrt((expected**2 + np.outer(variances, variances)) / len(x))
    assert np.all(np.abs(found - expected) < 5 * error)


@pytest.mark.parametrize("hurst", [0.35, 0.5, 0.7, 0.95])
@pytest.mark.parametrize("cells", [1, 2, 7, 16])
def test_covariance_of_fractional_motion(hurst, cells):
    t = np.arange(1, cells + 1) / cells
    power = lambda x: np.abs(x) ** (2 * hurst)
    expected = (power(t[:, None]) + power(t[None]) - power(t[:, None] - t[None])) / 2
    check_covariance(values(rs.fractional_path, cells, hurst=hurst), expected)


@pytest.mark.parametrize("hurst", [0.35, 0.7])
def test_fractional_motion_is_self_similar(hurst):
    """X(at) has the law of a^H X(t), and increments are stationary: spread over many scales."""
    cells = 2**12
    make = jax.vmap(
        lambda k: rs.fractional_path(0.0, 1.0, 1 / cells, hurst=hurst, shape=(), key=k).increments
    )
    x = np.cumsum(np.asarray(make(jr.split(jr.key(0), 400))), 1)
    for lag in (1, 16, 256, 2048):
        jump = x[:, lag::lag] - x[:, :-lag:lag]
        per_sample = (jump**2).mean(1) / (lag / cells) ** (2 * hurst)
        error = per_sample.std(ddof=1) / len(per_sample) ** 0.5
        assert abs(per_sample.mean() - 1) < 4 * error


def test_entries_of_fractional_motion_are_independent():
    paths = jax.vmap(
        lambda k: rs.fractional_path(0.0, 1.0, 0.5, hurst=0.7, shape=(2, 2), key=k).increments
    )(jr.split(jr.key(1), SAMPLES))
    ends = np.asarray(paths.sum(1)).reshape(SAMPLES, 4)
    check_covariance(ends, np.eye(4))


@pytest.mark.parametrize("timescale", [0.003, 0.1, 1.0, 50.0])
def test_covariance_of_ornstein_uhlenbeck(timescale):
    t = np.arange(1, 9) / 8
    law = lambda s, t: np.exp(-np.abs(t - s) / timescale)
    # Of what is added since 0.
    expected = law(t[:, None], t[None]) - law(0, t[:, None]) - law(0, t[None]) + 1
    check_covariance(values(rs.ornstein_uhlenbeck_path, 8, timescale=timescale), expected)


@pytest.mark.parametrize("timescale", [0.003, 0.1, 1.0, 50.0])
def test_covariance_of_coloured_noise(timescale):
    """int_0^s int_0^t e^{-|u-w|/tau} / (2 tau): (2 m - tau (1 + e^{-|t-s|/tau} - e^{-s/tau} -
    e^{-t/tau})) / 2, m = min(s, t)."""
    t = np.arange(1, 9) / 8
    s, t, tau = t[:, None], t[None], timescale
    decay = lambda x: np.exp(-np.abs(x) / tau)
    expected = np.minimum(s, t) - tau / 2 * (1 + decay(t - s) - decay(s) - decay(t))
    check_covariance(values(rs.coloured_path, 8, timescale=timescale), expected)


def test_coloured_noise_is_exact_in_small_cells():
    """In float32 too, where the terms of its variance would cancel."""
    make = lambda k: rs.coloured_path(
        0.0, 1e-3, 1e-3, timescale=1.0, shape=(), key=k, dtype=jnp.float32
    ).increments[0]
    x = np.asarray(jax.vmap(make)(jr.split(jr.key(0), SAMPLES)), float) / 1e-3
    assert abs(x.var() / 0.5 - 1) < 5 * (2 / SAMPLES) ** 0.5


@pytest.mark.parametrize("interpolation", ["linear", "parabola"])
def test_coarsened_brownian_motion_is_the_coarse_one(interpolation):
    make = lambda dt: rs.BrownianPath(
        0.0, 1.0, dt, shape=(2,), key=jr.key(0), interpolation=interpolation
    )
    for factor in (1, 2, 8):
        found, expected = rs.coarsened(make(0.2 / factor), factor).arrays(), make(0.2).arrays()
        for a, b in zip(found, expected, strict=True):
            assert (a is None) == (b is None)
            if a is not None and b is not None:
                np.testing.assert_allclose(a, b, atol=1e-14)


def test_correlated_noise_has_its_covariance():
    covariance = np.array([[1.0, 0.6, 0.0], [0.6, 1.0, -0.3], [0.0, -0.3, 0.5]])
    factor = np.linalg.cholesky(covariance)

    @functools.partial(jax.vmap, in_axes=(0, None))
    def both(key, interpolation):
        path = rs.BrownianPath(
            0.0, 1.0, 0.5, shape=(3, 1), key=key, interpolation=interpolation, columns=None
        )
        mixed = rs.correlated(path, covariance=covariance)
        assert mixed.areas is not None
        other = rs.correlated(path, factor=factor)
        return mixed.evaluate(1.0)[:, 0], 12**0.5 * mixed.areas.sum(0)[:, 0], other.evaluate(1.0)

    ends, areas, others = both(jr.split(jr.key(2), SAMPLES), "parabola")
    for x in (ends, areas, others[..., 0]):
        check_covariance(np.asarray(x), covariance)


def test_a_singular_covariance_is_one():
    path = rs.BrownianPath(0.0, 1.0, 0.1, shape=(2, 1), key=jr.key(0))
    shared = rs.correlated(path, covariance=np.ones((2, 2))).increments
    np.testing.assert_allclose(shared[:, 0], shared[:, 1], atol=1e-12)


NETWORK: dict[str, Any] = dict(
    membrane=rs.LIF(mu=(15.0, 6.0), sigma=((0.3, 0.1), (0.0, 0.2)), v_reset=1.2),
    firing=rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0, 1.0), 0.03),
)
WEIGHTS = np.array([[0.0, 0.6, 0.0], [0.0, 0.0, -0.5], [0.0, 0.0, 0.0]])
ROOM: Any = dict(shape=(3, 2), key=jr.key(7))
DRIVERS: dict[str, Any] = {
    "rough": lambda dt: rs.fractional_path(0.0, 1.0, dt, hurst=0.35, **ROOM),
    "smooth": lambda dt: rs.fractional_path(0.0, 1.0, dt, hurst=0.8, **ROOM),
    "Ornstein-Uhlenbeck": lambda dt: rs.ornstein_uhlenbeck_path(
        0.0, 1.0, dt, timescale=0.1, **ROOM
    ),
    "coloured": lambda dt: rs.coloured_path(0.0, 1.0, dt, timescale=0.05, **ROOM),
    "shared": lambda dt: rs.correlated(
        rs.BrownianPath(0.0, 1.0, dt, shape=(1, 2), key=jr.key(7)), factor=np.ones((3, 1))
    ),
}


@functools.partial(jax.jit, static_argnames=("method", "dt"))
def spikes(params, noise, method: Any = "event", dt=0.01):
    drive = params["drive"]
    network = rs.SpikingNetwork(
        rs.LIF(params["mu"], params["sigma"], 1.2), NETWORK["firing"], params["weights"]
    )
    return rs.simulate(
        network,
        lambda t: drive,
        t0=0.0,
        t1=1.0,
        dt0=dt,
        max_spikes=30,
        key=jr.key(1),
        method=method,
        noise=noise,
    )


PARAMS: Any = dict(
    drive=jnp.array([1.3, 1.1, 1.2]),
    mu=jnp.array([15.0, 6.0]),
    sigma=jnp.array([[0.3, 0.1], [0.0, 0.2]]),
    weights=jnp.asarray(WEIGHTS),
)


def mean_time(at, method):
    train = spikes(at["params"], at["noise"], method)
    return jnp.sum(jnp.where(train.marks >= 0, train.times, 0)) / 5


# One program for all drivers: they differ in numbers only.
value = jax.jit(mean_time, static_argnums=1)
gradient = jax.jit(jax.grad(mean_time), static_argnums=1)
derivative = jax.jit(
    lambda at, way, method: jax.jvp(lambda z: mean_time(z, method), (at,), (way,))[1],
    static_argnums=2,
)


@pytest.mark.parametrize("method", ["event", "lockstep"])
def test_gradients_under_every_driver(method):
    """Reverse and forward mode against differences on the same noise, also in the noise."""
    rng = np.random.default_rng(0)
    for driver in DRIVERS.values():
        at = {"params": PARAMS, "noise": driver(0.01)}
        way = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape) * (1e-2 + abs(x))), at)
        weights = way["params"]["weights"]
        way["params"]["weights"] = jnp.where(WEIGHTS != 0, weights, 0)
        leaves = (jax.tree.leaves(tree) for tree in (gradient(at, method), way))
        slope = sum(float(jnp.sum(a * b)) for a, b in zip(*leaves, strict=True))
        assert int(spikes(**at, method=method).count) >= 4 and abs(slope) > 1e-4
        np.testing.assert_allclose(derivative(at, way, method), slope, rtol=1e-9)
        along = [
            float(value(jax.tree.map(lambda x, d: x + step * d, at, way), method))  # noqa: B023
            for step in (2e-6, 1e-6, -1e-6, -2e-6)
        ]
        difference = (8 * (along[1] - along[2]) - (along[0] - along[3])) / 12e-6
        np.testing.assert_allclose(slope, difference, rtol=2e-6)


def test_both_engines_agree_as_dt_falls():
    """On one path of each driver, refined as far as the finest grid goes."""
    for name, driver in DRIVERS.items():
        finest = driver(1 / 1600)
        gaps = []
        for factor in (64, 8, 1):
            path = rs.coarsened(finest, factor)
            a, b = (spikes(PARAMS, path, m, path.dt) for m in ("event", "lockstep"))
            assert int(a.count) >= 4
            # With t1 for what is missing: continuous where a spike leaves the window.
            a, b = (jnp.minimum(x.per_neuron(6), 1.0) for x in (a, b))
            gaps.append(float(jnp.max(jnp.abs(a - b))))
        print(name, gaps)
        # A step 64 times finer, and more than 64 times closer: slope 1 and more.
        assert gaps[-1] < gaps[0] / 64


def test_brownian_motion_as_noise_is_the_default():
    key = jr.key(1)
    path = rs.BrownianPath(
        0.0, 1.0, 0.01, shape=(3, 2), key=jr.split(key)[0], interpolation="linear"
    )
    network = rs.SpikingNetwork(NETWORK["membrane"], NETWORK["firing"], WEIGHTS)
    room: Any = dict(t0=0.0, t1=1.0, dt0=0.01, max_spikes=30, key=key)
    a, b = (
        rs.simulate(network, lambda t: PARAMS["drive"], noise=noise, **room)
        for noise in (None, path)
    )
    assert a.equals(b)


def test_a_grid_path_drives_an_equation():
    """dY = Y o dX has the solution exp X for a driver of any roughness."""
    errors = []
    finest = rs.fractional_path(0.0, 1.0, 1 / 1024, hurst=0.4, shape=(), key=jr.key(0))
    for factor in (16, 4, 1):
        path = rs.coarsened(finest, factor)
        term = dfx.ControlTerm(lambda t, y, args: y, path)
        sol = rs.eventsolve(
            term,
            dfx.Heun(),
            0.0,
            1.0,
            path.dt,
            jnp.array([1.0]),
            event=rs.Event(lambda t, y, args: y - 1e6, lambda t, y, args, k, u: y),
            max_events=1,
            key=jr.key(0),
            conditions="waive",
        )
        errors.append(abs(float(jnp.log(sol.y1[0]) - path.evaluate(1.0))))
    assert errors[2] < errors[1] < errors[0] and errors[2] < 1e-2


@pytest.mark.parametrize("hurst", [1 / 3, 1.0, -0.5, float("nan")])
def test_hurst_index_out_of_range(hurst):
    with pytest.raises(ValueError, match="`hurst` must be"):
        rs.fractional_path(0.0, 1.0, 0.1, hurst=hurst, shape=(), key=jr.key(0))


def test_bad_input():
    key = jr.key(0)
    brownian = rs.BrownianPath(0.0, 1.0, 0.1, shape=(3, 2), key=key)
    for covariance, match in (
        (np.array([[1.0, 2.0], [2.0, 1.0]]), "positive semi-definite"),
        (np.array([[1.0, 0.2], [0.0, 1.0]]), "must be symmetric"),
        (np.full((2, 2), np.nan), "finite"),
        (np.ones(2), "square matrix"),
        (np.eye(2), "a column for each source"),
    ):
        with pytest.raises(ValueError, match=match):
            rs.correlated(brownian, covariance=covariance)
    with pytest.raises(TypeError, match="give a `factor`"):
        jax.jit(lambda c: rs.correlated(brownian, covariance=c).increments)(jnp.eye(3))
    for options in ({}, {"factor": np.eye(3), "covariance": np.eye(3)}):
        with pytest.raises(ValueError, match="either `factor` or `covariance`"):
            rs.correlated(brownian, **options)
    scalar = rs.BrownianPath(0.0, 1.0, 0.1, shape=(), key=key)
    with pytest.raises(ValueError, match=r"\(sources, channels\)"):
        rs.correlated(scalar, factor=np.ones((2, 1)))
    with pytest.raises(ValueError, match="`timescale` must be positive"):
        rs.coloured_path(0.0, 1.0, 0.1, timescale=0.0, shape=(), key=key)
    with pytest.raises(ValueError, match="must divide the 10 cells"):
        rs.coarsened(brownian, 3)
    with pytest.raises(ValueError, match="a row for each of the 10 cells"):
        rs.GridPath(np.ones((9, 2)), t0=0.0, t1=1.0, dt=0.1)
    with pytest.raises(ValueError, match="shape of `increments`"):
        rs.GridPath(np.ones((10, 2)), t0=0.0, t1=1.0, dt=0.1, areas=np.ones((10, 3)))
    with pytest.raises(ValueError, match="must be finite"):
        rs.GridPath(np.full((10, 2), np.inf), t0=0.0, t1=1.0, dt=0.1)


def test_noise_that_does_not_fit_a_network(key):
    path: Any = DRIVERS["rough"]
    with pytest.raises(ValueError, match=r"shape \(neurons, channels\) = \(3, 2\)"):
        spikes(PARAMS, rs.fractional_path(0.0, 1.0, 0.01, hurst=0.4, shape=(2, 2), key=jr.key(0)))
    with pytest.raises(TypeError, match=r"roughsnn\.GridPath"):
        rs.simulate(
            rs.SpikingNetwork(NETWORK["membrane"], NETWORK["firing"]),
            lambda t: jnp.ones(3),
            t0=0.0,
            t1=1.0,
            dt0=0.1,
            max_spikes=3,
            key=key,
            noise=lambda t: t,  # pyright: ignore
        )
    for method in ("event", "lockstep"):
        with pytest.raises(ValueError, match="whole multiples of the steps"):
            spikes(PARAMS, path(0.01), method, dt=0.02)
        short = rs.fractional_path(0.0, 0.5, 0.01, hurst=0.4, shape=(3, 2), key=jr.key(0))
        with pytest.raises(ValueError, match="reach t1"):
            spikes(PARAMS, short, method)
    with pytest.raises(ValueError, match="must be those of the solve"):
        spikes(PARAMS, path(0.02), "lockstep")
    assert int(spikes(PARAMS, path(0.02)).count) > 0
