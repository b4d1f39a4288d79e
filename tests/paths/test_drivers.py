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
from roughsnn._engine.labels import of_population

from ..helpers import ENGINES, lif_network

SAMPLES = 20_000


def values(make, cells, **options: Any):
    """Values at the ends of the cells, shape (samples, cells)."""
    return np.cumsum(samples(make, 1 / cells, **options), 1)


def samples(make, dt, t1=1.0, seed=3, number=SAMPLES, shape=(), **options: Any):
    """Increments of many paths."""
    one = lambda k: make(0.0, t1, dt, shape=shape, key=k, **options).increments
    return np.asarray(jax.jit(lambda: jax.vmap(one)(jr.split(jr.key(seed), number)))())


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
    x = np.cumsum(samples(rs.fractional_path, 1 / cells, seed=0, number=400, hurst=hurst), 1)
    for lag in (1, 16, 256, 2048):
        jump = x[:, lag::lag] - x[:, :-lag:lag]
        per_sample = (jump**2).mean(1) / (lag / cells) ** (2 * hurst)
        error = per_sample.std(ddof=1) / len(per_sample) ** 0.5
        assert abs(per_sample.mean() - 1) < 4 * error


def test_entries_of_fractional_motion_are_independent():
    paths = samples(rs.fractional_path, 0.5, seed=1, shape=(2, 2), hurst=0.7)
    ends = paths.sum(1).reshape(SAMPLES, 4)
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
    x = samples(rs.coloured_path, 1e-3, t1=1e-3, seed=0, timescale=1.0, dtype=jnp.float32)
    assert x.dtype == np.float32
    x = x[:, 0].astype(float) / 1e-3
    assert abs(x.var() / 0.5 - 1) < 5 * (2 / SAMPLES) ** 0.5


@pytest.mark.parametrize("interpolation", ["linear", "parabola"])
def test_coarsened_brownian_motion_is_the_coarse_one(interpolation):
    make = lambda dt: rs.BrownianPath(
        0.0, 1.0, dt, shape=(2,), key=jr.key(0), interpolation=interpolation
    )
    factors = (1, 2, 8)
    paths = lambda: ([rs.coarsened(make(0.2 / m), m).arrays() for m in factors], make(0.2).arrays())
    coarse, expected = jax.jit(paths)()
    for found in coarse:
        for a, b in zip(found, expected, strict=True):
            assert (a is None) == (b is None)
            if a is not None and b is not None:
                np.testing.assert_allclose(a, b, atol=1e-14)


def test_correlated_noise_has_its_covariance():
    covariance = np.array([[1.0, 0.6, 0.0], [0.6, 1.0, -0.3], [0.0, -0.3, 0.5]])
    factor = np.linalg.cholesky(covariance)

    @jax.vmap
    def both(key):
        path = rs.BrownianPath(
            0.0, 1.0, 0.5, shape=(3, 1), key=key, interpolation="parabola", columns=None
        )
        mixed = rs.correlated(path, covariance=covariance)
        assert mixed.areas is not None
        other = rs.correlated(path, factor=factor)
        return mixed.evaluate(1.0)[:, 0], 12**0.5 * mixed.areas.sum(0)[:, 0], other.evaluate(1.0)

    ends, areas, others = jax.device_get(jax.jit(lambda: both(jr.split(jr.key(2), SAMPLES)))())
    for x in (ends, areas, others[..., 0]):
        check_covariance(x, covariance)


def test_a_singular_covariance_is_one():
    path = lambda: rs.BrownianPath(0.0, 1.0, 0.1, shape=(2, 1), key=jr.key(0))
    shared = jax.jit(lambda: rs.correlated(path(), covariance=np.ones((2, 2))).increments)()
    np.testing.assert_allclose(shared[:, 0], shared[:, 1], atol=1e-12)


FIRING = rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0, 1.0), 0.03)
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


@functools.partial(jax.jit, static_argnums=(0, 1))
def drivers(dt, factors=(1,)):
    """Each driver on a grid of dt, and on grids that are so many times coarser.

    All are parabolas, a chord one of area 0, so that they differ in numbers only.
    """

    def parabolas(path):
        areas = jnp.zeros_like(path.increments) if path.areas is None else path.areas
        return rs.GridPath(path.increments, t0=path.t0, t1=path.t1, dt=path.dt, areas=areas)

    paths = {name: driver(dt) for name, driver in DRIVERS.items()}
    return {
        name: [parabolas(rs.coarsened(path, m)) for m in factors] for name, path in paths.items()
    }


@functools.partial(jax.jit, static_argnames=("method", "dt"))
def spikes(params, noise, method: Any = "event", dt=0.01):
    drive = params["drive"]
    mu, sigma, weights = (params[name] for name in ("mu", "sigma", "weights"))
    network = lif_network(FIRING, weights, mu=mu, sigma=sigma, reset=1.2)
    return rs.simulate(
        network,
        lambda t: drive,
        rs.Window(0.0, 1.0, dt),
        max_spikes=30,
        key=jr.key(1),
        noise=noise,
        engine=ENGINES[method],
    ).spikes


PARAMS: Any = dict(
    drive=jnp.array([1.3, 1.1, 1.2]),
    mu=jnp.array([15.0, 6.0]),
    sigma=jnp.array([[0.3, 0.1], [0.0, 0.2]]),
    weights=jnp.asarray(WEIGHTS),
)


@functools.partial(jax.jit, static_argnums=3)
def derivatives(at, way, steps, method):
    """The number of spikes, the mean time at steps along a way, its derivative and its gradient."""

    def mean_time(at):
        train = spikes(at["params"], at["noise"], method)
        return jnp.sum(jnp.where(train.marks >= 0, train.times, 0)) / 5, train.count

    along = lambda step: jax.tree.map(lambda x, d: x + step * d, at, way)
    _, forward, count = jax.jvp(mean_time, (at,), (way,), has_aux=True)
    backward = jax.grad(mean_time, has_aux=True)(at)[0]
    return count, jax.lax.map(lambda s: mean_time(along(s))[0], steps), forward, backward


@pytest.mark.slow
@pytest.mark.parametrize("method", ["event", "lockstep"])
def test_gradients_under_every_driver(method):
    """Reverse and forward mode against differences on the same noise, also in the noise."""
    rng = np.random.default_rng(0)
    steps = np.array([2e-6, 1e-6, -1e-6, -2e-6])
    # And a chord, which has no area.
    for path in [*(path for (path,) in drivers(0.01).values()), DRIVERS["rough"](0.01)]:
        at = jax.device_get({"params": PARAMS, "noise": path})
        way = jax.tree.map(lambda x: rng.normal(size=x.shape) * (1e-2 + abs(x)), at)
        way["params"]["weights"] = np.where(WEIGHTS != 0, way["params"]["weights"], 0)
        count, values, forward, backward = jax.device_get(derivatives(at, way, steps, method))
        leaves = (jax.tree.leaves(tree) for tree in (backward, way))
        slope = sum(float(np.sum(a * b)) for a, b in zip(*leaves, strict=True))
        assert count >= 4 and abs(slope) > 1e-4
        np.testing.assert_allclose(forward, slope, rtol=1e-9)
        difference = (8 * (values[1] - values[2]) - (values[0] - values[3])) / 12e-6
        np.testing.assert_allclose(slope, difference, rtol=2e-6)


@functools.partial(jax.jit, static_argnums=(1, 2))
def first_spikes(paths, method, dt):
    """The number of spikes, and the first of each neuron, under each of some paths."""
    trains = jax.tree.map(lambda *z: jnp.stack(z), *paths)
    trains = jax.vmap(lambda path: spikes(PARAMS, path, method, dt))(trains)
    # With t1 for what is missing: continuous where a spike leaves the window.
    return trains.count, jnp.minimum(jax.vmap(lambda z: z.per_neuron(6))(trains), 1.0)


@pytest.mark.slow
def test_both_engines_agree_as_dt_falls():
    """On one path of each driver, refined as far as the finest grid goes."""
    gaps = []
    for grids in zip(*drivers(1 / 1600, (64, 8, 1)).values(), strict=True):
        (n, a), (m, b) = (
            jax.device_get(first_spikes(grids, method, grids[0].dt))
            for method in ("event", "lockstep")
        )
        assert np.all(n >= 4) and np.all(m >= 4)
        gaps.append(np.abs(a - b).max((1, 2)))
    print(list(DRIVERS), gaps)
    # A step 64 times finer, and more than 64 times closer: slope 1 and more.
    assert np.all(gaps[-1] < gaps[0] / 64)


def test_brownian_motion_as_noise_is_the_default():
    """Its key is that of the population."""

    @jax.jit
    def equal():
        own = of_population(jr.split(jr.key(1))[0], "neurons")
        path = rs.BrownianPath(0.0, 1.0, 0.01, shape=(3, 2), key=own, interpolation="linear")
        a, b = (spikes(PARAMS, noise) for noise in (None, path))
        return a.equals(b), a.count

    same, count = equal()
    assert same and count > 0


@pytest.mark.slow
def test_a_grid_path_drives_an_equation():
    """dY = Y o dX has the solution exp X for a driver of any roughness."""

    @jax.jit
    def error(path):
        term = dfx.ControlTerm(lambda t, y, args: y, path)
        sol = rs.eventsolve(
            term,
            rs.Window(0.0, 1.0, path.dt),
            jnp.array([1.0]),
            event=rs.Event(lambda t, y, args: y - 1e6, lambda t, y, args, k, u: y, "waive"),
            max_events=1,
            key=jr.key(0),
            engine=rs.EventByEvent(solver=dfx.Heun()),
        )
        return jnp.abs(jnp.log(sol.y1[0]) - path.evaluate(1.0))

    @jax.jit
    def grids():
        finest = rs.fractional_path(0.0, 1.0, 1 / 1024, hurst=0.4, shape=(), key=jr.key(0))
        return [rs.coarsened(finest, factor) for factor in (16, 4, 1)]

    errors = [error(path) for path in grids()]
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
    fractional = lambda t1, neurons: rs.fractional_path(
        0.0, t1, 0.01, hurst=0.4, shape=(neurons, 2), key=jr.key(0)
    )
    with pytest.raises(ValueError, match=r"shape \(neurons, channels\) = \(3, 2\)"):
        jax.eval_shape(lambda: spikes(PARAMS, fractional(1.0, 2)))
    with pytest.raises(TypeError, match=r"roughsnn\.GridPath"):
        rs.simulate(
            lif_network(FIRING, size=3),
            lambda t: jnp.ones(3),
            rs.Window(0.0, 1.0, 0.05),
            max_spikes=3,
            key=key,
            noise=lambda t: t,  # pyright: ignore[reportArgumentType]
        )
    for method in ("event", "lockstep"):
        with pytest.raises(ValueError, match="whole multiples of the steps"):
            jax.eval_shape(lambda m=method: spikes(PARAMS, path(0.01), m, dt=0.02))
        with pytest.raises(ValueError, match="reach t1"):
            jax.eval_shape(lambda m=method: spikes(PARAMS, fractional(0.5, 3), m))
    with pytest.raises(ValueError, match="must be those of the solve"):
        jax.eval_shape(lambda: spikes(PARAMS, path(0.02), "lockstep"))
    assert jax.jit(lambda: spikes(PARAMS, path(0.02)).count)() > 0
