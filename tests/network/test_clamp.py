"""Networks whose observed neurons spike when they did, and the density of that."""

import functools as ft
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from ..helpers import constant, lif_network

W = np.array([[0.0, 0.9, -0.4], [-0.6, 0.0, 0.8], [0.5, 0.3, 0.0]])
LEVEL, MU, RESET, BETA, TIMESCALE, T1 = (1.2, 1.1, 0.9), (8.0, 4.0), 1.2, 4.0, 0.5, 2.0
PARAMETERS = {
    "mu": np.array(MU),
    "reset": np.array(RESET),
    "beta": np.array(BETA),
    "threshold": np.array(1.0),
    "alpha": np.array(0.0),
    "weights": W,
    "input": np.array(LEVEL),
}


def network(p=PARAMETERS, sigma=None, weights=None):
    intensity = rs.ExponentialIntensity(p["beta"], p["threshold"], TIMESCALE)
    return lif_network(
        rs.StochasticFiring(intensity, p["alpha"]),
        p["weights"] if weights is None else weights,
        mu=p["mu"],
        sigma=sigma,
        reset=p["reset"],
    )


class Wave(eqx.Module):
    """A drive that is known by its level: made anew, it compiles nothing again."""

    level: Any

    def __call__(self, t):
        return self.level + 0.3 * jnp.sin(3 * t)


def drive(p=PARAMETERS):
    return Wave(jnp.asarray(p["input"]))


def observed(lists):
    """A train with the same room for all lists, so that one program serves them."""
    return rs.SpikeTrain.from_lists(lists, t0=0.0, t1=T1, max_spikes=60)


@pytest.fixture(scope="module")
def train():
    return rs.simulate(
        network(),
        drive(),
        rs.Window(0.0, T1, 0.01),
        max_spikes=60,
        key=jr.key(3),
        engine=rs.EventByEvent(),
    ).spikes


def potential(t, neuron, trains):
    """v before t, from the closed form of the input, the synapses and the resets."""
    (m, k), a = MU, 3.0
    v = LEVEL[neuron] * (1 - np.exp(-m * t))
    v = v + 0.3 * m * (m * np.sin(a * t) - a * np.cos(a * t) + a * np.exp(-m * t)) / (m**2 + a**2)
    for pre, spikes in enumerate(trains):
        age = t[:, None] - spikes[None]
        on, r = age > 0, np.maximum(age, 0)
        v = v + W[pre, neuron] * m / (m - k) * (on * (np.exp(-k * r) - np.exp(-m * r))).sum(1)
        if pre == neuron:
            v = v - RESET * (on * np.exp(-m * r)).sum(1)
    return v


def exact(trains, alpha=0.0):
    """The log-likelihood of each neuron by Gauss quadrature between all spikes."""
    x, weight = np.polynomial.legendre.leggauss(8)
    borders = np.unique(np.concatenate([np.linspace(0, T1, 401), *trains]))
    a, b = borders[:-1], borders[1:]
    nodes = (a + b)[:, None] / 2 + (b - a)[:, None] / 2 * x
    out = []
    for neuron, spikes in enumerate(trains):
        rate = np.exp(BETA * (potential(nodes.ravel(), neuron, trains) - 1)) / TIMESCALE
        pieces = (rate.reshape(nodes.shape) * weight).sum(1) * (b - a) / 2
        total = np.interp([*spikes, T1], borders, np.concatenate([[0], np.cumsum(pieces)]))
        excess = np.diff(total, prepend=0) - alpha
        log_rates = BETA * (potential(spikes, neuron, trains) - 1) - np.log(TIMESCALE)
        impossible = np.any(excess[:-1] < 0)
        likelihood = log_rates.sum() - excess[:-1].sum() - max(excess[-1], 0)
        out.append(-np.inf if impossible else likelihood)
    return np.array(out)


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.0, 0.01])
def test_the_log_likelihood_converges_to_the_closed_form_with_order_two(train, alpha):
    reference = exact(train.to_lists(), alpha)
    assert np.all(np.isfinite(reference)) and train.count > 15
    net = network(dict(PARAMETERS, alpha=np.array(alpha)))
    dts = (0.02, 0.005, 0.00125)
    found = [
        rs.clamp(net, drive(), train, rs.Window(train.t0, train.t1, dt)).log_likelihood
        for dt in dts
    ]
    errors = np.abs(np.array(found) - reference).max(1)
    assert errors[-1] < 1e-4 * np.abs(reference).max()
    assert np.polyfit(np.log(dts), np.log(errors), 1)[0] > 1.7


def test_a_spike_in_a_refractory_part_is_impossible(train):
    net = network(dict(PARAMETERS, alpha=np.array([0.0, 1.5, 0.0])))
    found = np.asarray(
        rs.clamp(net, drive(), train, rs.Window(train.t0, train.t1, 0.01)).log_likelihood
    )
    assert found[1] == -np.inf and np.all(np.isfinite(found[[0, 2]]))


def total(p, times, train, dt0=0.01):
    train = eqx.tree_at(lambda t: t.times, train, times)
    out = rs.clamp(network(p), drive(p), train, rs.Window(train.t0, train.t1, dt0))
    return jnp.sum(out.log_likelihood) + 0.1 * jnp.sum(jnp.sin(out.hazards))


value_and_gradients = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))


@pytest.mark.slow
def test_gradients_in_all_parameters_and_in_the_spike_times(train):
    p = dict(PARAMETERS, alpha=np.array(0.01))
    rng = np.random.default_rng(0)
    along = jax.tree.map(lambda x: rng.normal(size=x.shape), p)
    along["weights"] *= 1 - np.eye(3)
    # The smallest steps that cells and order allow.
    shift = np.where(train.marks >= 0, rng.normal(size=train.times.shape), 0.0)

    @jax.jit
    def line(steps):
        def at(e):
            moved = jax.tree.map(lambda x, d: x + e * d, p, along)
            return total(moved, train.times + e * shift, train)

        return jax.lax.map(lambda e: jax.jvp(at, (e,), (1.0,)), steps)

    e = 1e-6
    (up, down, _), (_, _, forward) = line(np.array([e, -e, 0.0]))
    np.testing.assert_allclose(forward, (up - down) / (2 * e), rtol=1e-6)
    _, grads = value_and_gradients(p, train.times, train)
    products = jax.tree.map(
        lambda g, d: np.sum(np.where(d == 0, 0, g * d)), jax.device_get(grads), (along, shift)
    )
    np.testing.assert_allclose(sum(jax.tree.leaves(products)), forward, rtol=1e-9)


def test_it_is_continuous_as_a_spike_crosses_the_border_of_a_cell(train):
    for dt, bound in ((0.02, 3e-3), (0.01, 8e-4)):
        trains = (observed([[40 * dt + h], [0.3], [0.9]]) for h in (-1e-9, 1e-9))
        at = [
            rs.clamp(network(), drive(), train, rs.Window(train.t0, train.t1, dt)).log_likelihood
            for train in trains
        ]
        np.testing.assert_allclose(at[0], at[1], atol=bound)


def test_spikes_at_both_ends_of_the_window():
    train = observed([[0.0, T1], [], [0.5, T1]])
    for dt in (0.00125, 0.005):
        found = rs.clamp(network(), drive(), train, rs.Window(train.t0, train.t1, dt))
        # Of second order, as the hazard is a straight line between nodes.
        assert abs(found.log_intensities[0] + BETA + np.log(TIMESCALE)) < 30 * dt**2
        assert found.hazards[0] == 0 and abs(found.last_hazards[0]) < 1e-15
    # The spike at t0 acts like one just behind it.
    near = [np.array([1e-12, T1]), np.zeros(0), np.array([0.5, T1])]
    np.testing.assert_allclose(found.log_likelihood, exact(near), rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("at", "bound"), [(0.5, 0.06), (T1 - 0.006, 0.45)])
def test_several_spikes_in_one_cell(at, bound):
    """Also in the last one, behind which the potential is taken as constant."""
    lists = [np.array([0.2, at, at + 0.002, at + 0.004]), np.array([0.7]), np.array([at + 0.003])]
    train = observed(lists)
    reference, log_rates = exact(lists), exact_log_rates(lists)
    for dt, tolerance in ((0.02, bound), (0.01, bound), (0.000625, 1e-4)):
        found = rs.clamp(network(), drive(), train, rs.Window(train.t0, train.t1, dt))
        np.testing.assert_allclose(found.spikes.times, train.times, rtol=1e-12)
        log_intensities = np.asarray(found.log_intensities)[: len(log_rates)]
        np.testing.assert_allclose(log_intensities, log_rates, atol=tolerance)
        np.testing.assert_allclose(found.log_likelihood, reference, atol=tolerance, rtol=2.5e-3)


def exact_log_rates(lists):
    order = np.argsort(np.concatenate(lists))
    each = [BETA * (potential(t, k, lists) - 1) - np.log(TIMESCALE) for k, t in enumerate(lists)]
    return np.concatenate(each)[order]


@pytest.mark.slow
def test_sparse_weights_and_a_batch(train):
    sparse = network(weights=rs.SparseWeights.from_dense(W))
    run = lambda net, train: (
        rs.clamp(net, drive(), train, rs.Window(train.t0, train.t1, 0.01)).log_likelihood
    )
    dense = run(network(), train)
    np.testing.assert_allclose(run(sparse, train), dense, rtol=1e-12)
    batch = rs.SpikeTrain.stack([train.first(60), train.first(5).with_room(60)])
    found = jax.jit(jax.vmap(ft.partial(run, network())))(batch)
    np.testing.assert_allclose(found[0], dense, rtol=1e-12)
    assert not np.allclose(found[1], dense)


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [None, ((0.3,), (0.2,))])
def test_hazards_are_the_thresholds_that_were_drawn(sigma):
    """The simulated network, clamped to its own spikes, is itself."""
    net, dt = network(sigma=sigma), 1 / 256
    path = None
    if sigma is not None:
        draw = ft.partial(rs.BrownianPath, 0.0, T1, dt, shape=(3, 1), interpolation="linear")
        path = jax.jit(lambda: draw(key=jr.key(1)))()
    options: dict[str, Any] = dict(window=rs.Window(0.0, T1, dt), max_spikes=80, noise=path)
    train = rs.simulate(net, drive(), key=jr.key(4), **options).spikes
    found = rs.clamp(net, drive(), train, rs.Window(train.t0, train.t1, dt), noise=path)
    # From the hidden state at the start: -log u of each spike.
    start = {"s": jnp.full(3, -0.7)}
    again = rs.simulate(net, drive(), key=jr.key(4), initial=start, **options).spikes
    first = np.asarray(
        rs.clamp(net, drive(), again, rs.Window(again.t0, again.t1, dt), noise=path).hazards
    )[0]
    np.testing.assert_allclose(first, 0.7, atol=2e-3)
    there = np.asarray(train.marks) >= 0
    thresholds = np.asarray(found.hazards)[there]
    # Uniform numbers: mean and variance within four standard errors.
    u = np.exp(-thresholds)
    assert len(u) > 12
    assert abs(u.mean() - 0.5) < 4 / np.sqrt(12 * len(u))
    assert found.spikes.equals(train)


def hidden_pair(sigma=((0.4,), (0.3,))):
    weights = jnp.array([[0.0, 1.5], [-0.8, 0.0]])
    return network(sigma=sigma, weights=weights)


@pytest.mark.slow
def test_the_mean_density_is_the_probability_of_the_spikes():
    """Over noise and a hidden neuron, against how often a free simulation does the same: no spike
    of the observed neuron, and one spike alone in a part of the window."""
    net, t1, dt, a, b = hidden_pair(), 1.0, 0.02, 0.3, 0.8
    keys = jr.split(jr.key(0), 20_000)
    options: dict[str, Any] = dict(window=rs.Window(0.0, t1, dt), max_spikes=24)
    simulate = lambda k: rs.simulate(net, constant(1.0, 0.7), key=k, **options).spikes
    free = jax.jit(jax.vmap(simulate))(keys)
    own = np.asarray(free.marks) == 1
    single = own.sum(1) == 1
    when = np.where(own, np.asarray(free.times), 0).sum(1)
    events = np.stack([own.sum(1) == 0, single & (when > a) & (when < b)])

    def density(times, key):
        marks = jnp.where(jnp.isfinite(times), 0, -1)
        train = rs.SpikeTrain(times, marks, jnp.sum(marks >= 0), jnp.array(False), 0.0, t1, 1)
        hidden: Any = dict(observed=[1], key=key, max_spikes=24)
        found = rs.clamp(
            net, constant(1.0, 0.7), train, rs.Window(train.t0, train.t1, dt), **hidden
        )
        return jnp.exp(found.log_likelihood[0])

    x, weight = np.polynomial.legendre.leggauss(6)
    nodes = jnp.concatenate([jnp.array([jnp.inf]), (a + b) / 2 + (b - a) / 2 * jnp.asarray(x)])
    each = jax.jit(jax.vmap(jax.vmap(density, (0, None)), (None, 0)))
    densities = np.asarray(each(nodes[:, None], jr.split(jr.key(1), 2000)))
    found = np.stack([densities[:, 0], densities[:, 1:] @ (weight * (b - a) / 2)])
    for probability, event in zip(found, events, strict=True):
        error = np.hypot(probability.std() / len(probability) ** 0.5, event.std() / event.size**0.5)
        # The error of the cells is about 1e-3 here.
        assert abs(probability.mean() - event.mean()) < 4 * error + 1e-3
        assert 0.05 < event.mean() < 0.6 and error < 0.01


@pytest.mark.slow
def test_without_a_refractory_part_no_spike_is_impossible():
    """Two spikes of a neuron in one cell, as close as single precision has them."""
    single = lambda *x: jnp.asarray(x, jnp.float32)
    one = single(1)[0]

    train = rs.SpikeTrain.from_lists([[0.3, 0.6, 0.7]], t0=0.0, t1=1.2)

    @jax.jit
    @ft.partial(jax.grad, has_aux=True)
    def found(beta, times):
        firing = rs.StochasticFiring(rs.ExponentialIntensity(beta, one, one), 0 * one)
        net = lif_network(firing, mu=single(1, 1), reset=one)
        given = eqx.tree_at(lambda z: z.times, train, times)
        out = rs.clamp(net, lambda t: single(3), given, rs.Window(given.t0, given.t1, 0.2))
        return out.log_likelihood[0], out.hazards

    for first in np.linspace(0.61, 0.79, 10, dtype=np.float32):
        times = single(0.3, first, np.nextafter(first, np.float32(2)))
        gradient, hazards = found(8 * one, times)
        assert hazards.dtype == jnp.float32
        assert np.all(np.asarray(hazards) >= 0) and hazards[2] < 1e-5
        assert np.isfinite(gradient) and gradient != 0


def test_a_window_that_ends_in_a_refractory_part():
    lists = [np.array([0.8, T1 - 0.002]), np.zeros(0), np.zeros(0)]
    train = observed(lists)
    net = network(dict(PARAMETERS, alpha=np.array(0.3)))
    found = rs.clamp(net, drive(), train, rs.Window(train.t0, train.t1, 0.005))
    assert found.last_hazards[0] < 0.3
    np.testing.assert_allclose(found.log_likelihood, exact(lists, 0.3), rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_float32(train):
    cast = lambda tree: jax.tree.map(
        lambda x: np.asarray(x, np.float32) if eqx.is_inexact_array_like(x) else x, tree
    )
    value, grads = value_and_gradients(*cast((PARAMETERS, train.times, train)))
    assert value.dtype == jnp.float32
    double, exact = value_and_gradients(PARAMETERS, train.times, train)
    np.testing.assert_allclose(value, double, rtol=1e-4)
    for name, gradient in grads[0].items():
        np.testing.assert_allclose(gradient, exact[0][name], rtol=2e-3, atol=2e-3, err_msg=name)


@pytest.mark.slow
def test_bad_input(train):
    run = lambda net=None, train=train, dt0=0.01, **options: rs.clamp(
        network() if net is None else net,
        drive(),
        train,
        rs.Window(train.t0, train.t1, dt0),
        **options,
    )
    hard = lif_network(rs.HardThreshold(1.0), mu=MU, size=3)
    with pytest.raises(TypeError, match="StochasticFiring"):
        run(hard)
    with pytest.raises(ValueError, match="has noise, which must be drawn: give a `key`"):
        run(network(sigma=((0.1,), (0.0,))))
    with pytest.raises(ValueError, match="train has 3 neurons, but 2 of the network's 3"):
        run(observed=[0, 1])
    two = train.merged([0, 1, 1])
    with pytest.raises(ValueError, match="Name the ones that it holds by `observed`"):
        run(train=two)
    with pytest.raises(ValueError, match="hidden neurons, which must be drawn: give a `key`"):
        run(train=two, observed=[0, 1], max_spikes=50)
    with pytest.raises(ValueError, match="2 of 3 neurons are observed: give `max_spikes`"):
        run(train=two, observed=[0, 1], key=jr.key(0))
    for wrong in ([0, 0, 1], [0, 1, 3], [-1, 0, 1]):
        with pytest.raises(ValueError, match=r"different numbers in 0 \.\.\. 2"):
            run(observed=wrong)
    with pytest.raises(ValueError, match="list of integers"):
        run(observed=[0.0, 1.0, 2.0])
    burst = observed([np.linspace(0.101, 0.102, 7), [], []])
    with pytest.raises(RuntimeError, match="many spikes in a few cells"):
        jax.block_until_ready(run(train=burst).hazards)
    with pytest.raises(ValueError, match="one train with times of shape"):
        run(train=rs.SpikeTrain.stack([train]))
    with pytest.raises(ValueError, match="times that are not finite"):
        run(train=eqx.tree_at(lambda t: t.times, train, train.times + np.nan))
    cut = eqx.tree_at(lambda t: t.overflow, train, jnp.array(True))
    with pytest.raises((ValueError, RuntimeError), match="missing"):
        run(train=cut)
    hidden: Any = dict(
        train=train.only([1]), window=rs.Window(0.0, T1, 0.05), observed=[1], key=jr.key(0)
    )
    with pytest.raises(RuntimeError, match="max_spikes"):
        found = rs.clamp(hidden_pair(), constant(1.0, 0.7), max_spikes=3, **hidden)
        jax.block_until_ready(found.hazards)
    # Without raising, the train is refused wherever it goes, however it failed.
    failed = rs.clamp(hidden_pair(), constant(900.0, 0.7), max_spikes=900, throw=False, **hidden)
    assert int(failed.spikes.count) < 900
    with pytest.raises(ValueError, match="its simulation failed"):
        failed.spikes.complete()
