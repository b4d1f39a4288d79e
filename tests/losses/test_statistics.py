from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from ..helpers import lif_network

# pyright: reportArgumentType=false

T1, TS, TAU = 1.0, jnp.linspace(0.05, 1.0, 20), 0.05
INPUT, ALONG = jnp.array([1.2, 1.0]), jnp.array([1.0, 0.5])
WEIGHTS = jnp.array([[0.0, 0.8], [-0.5, 0.0]])


def simulate(c, keys, weights=WEIGHTS):
    firing = rs.StochasticFiring(rs.ExponentialIntensity(4.0, 1.0, 0.3))
    net = lif_network(firing, weights, mu=(8.0, 4.0), sigma=((0.4,), (0.2,)), reset=1.2)
    one = lambda key: (
        rs.simulate(net, lambda t: c, rs.Window(0.0, T1, 0.02), max_spikes=40, key=key).spikes
    )
    return jax.vmap(one)(keys)


@pytest.fixture(scope="module")
def data():
    return jax.jit(simulate)(INPUT, jr.split(jr.key(0), 24))


def rates(batch):
    """By hand."""
    out = np.zeros((len(batch.times), len(TS), batch.num_neurons))
    for k, trial in enumerate(batch.to_lists()):
        for n, spikes in enumerate(trial):
            age = np.maximum(np.asarray(TS)[:, None] - spikes[None], 0)
            out[k, :, n] = (age * np.exp(-age / TAU) / TAU**2).sum(1)
    return out


@pytest.mark.slow
def test_smoothed_rates_and_their_statistics(data):
    z, age = rates(data), np.asarray(TS)[None, :, None] / TAU
    seen = 1 - np.exp(-age) * (1 + age)
    np.testing.assert_allclose(rs.losses.smoothed(data, TS, TAU), z / seen, atol=1e-12)
    np.testing.assert_allclose(rs.losses.psth(data, TS, TAU), (z / seen).mean(0), atol=1e-12)
    found = rs.losses.noise_covariance(data, TS, TAU, lags=(0, 3))
    assert found.shape == (2, 2, 2)
    for row, lag in zip(found, (0, 3), strict=True):
        for i in range(2):
            for j in range(2):
                pairs = [np.cov(z[:, t - lag, i], z[:, t, j])[0, 1] for t in range(lag, len(TS))]
                np.testing.assert_allclose(row[i, j], np.mean(pairs), rtol=1e-10)
    correlation = rs.losses.noise_correlation(data, TS, TAU)[0]
    np.testing.assert_allclose(np.diag(correlation), 1, rtol=1e-12)
    assert abs(correlation[0, 1]) < 1


def test_the_kernel_is_a_rate():
    """A spike counts 1 in the end, where all of the kernel lies in the window."""
    train = rs.SpikeTrain.from_lists([[1.0]], t0=0.0, t1=2.0)
    ts = jnp.linspace(0.9, 2, 2201)
    z = rs.losses.smoothed(rs.SpikeTrain.stack([train]), ts, TAU)[0, :, 0]
    np.testing.assert_allclose(jnp.sum(z) * (ts[1] - ts[0]), 1, rtol=1e-4)


def poisson(rate, trials, max_spikes):
    """Trains of one neuron with a constant rate, made without this package's simulators."""
    rng = np.random.default_rng(0)
    spikes = [np.sort(rng.uniform(0, T1, rng.poisson(rate * T1))) for _ in range(trials)]
    made = [rs.SpikeTrain.from_lists([x], t0=0.0, t1=T1, max_spikes=max_spikes) for x in spikes]
    return rs.SpikeTrain.stack(made)


@pytest.mark.slow
def test_a_constant_rate_reads_constant_from_the_first_bin_on():
    batch, ts, timescale = poisson(10.0, 1000, 30), np.linspace(0.01, T1, 34), 0.1
    each = np.asarray(rs.losses.smoothed(batch, ts, timescale))[..., 0]
    error = each.std(0, ddof=1) / len(each) ** 0.5
    # Little is seen just behind the start, and yet enough to tell 10 from what is seen of it.
    assert np.all(error < 1.5)
    found = np.asarray(rs.losses.psth(batch, ts, timescale))[:, 0]
    assert np.all(np.abs(found - 10) < 4 * error)


LOSSES = {
    "psth": lambda x, y: rs.losses.psth_distance(x, y, TS, TAU),
    "covariance": lambda x, y: rs.losses.covariance_distance(x, y, TS, TAU, lags=(0, 2)),
    "rate": lambda x, y: rs.losses.rate_penalty(x, 4.0, neurons=[1]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_the_mean_gradient_is_the_derivative_of_the_mean(name, data):
    """In the input, or, as covariances do not say much of it, in the size of the weights."""
    e, batches = 0.03, jr.split(jr.key(4), 400)

    def loss(e, key):
        keys = jr.split(key, 12)
        if name == "covariance":
            return LOSSES[name](simulate(INPUT, keys, (1 + e) * WEIGHTS), data)
        return LOSSES[name](simulate(INPUT + e * ALONG, keys), data)

    both = jax.vmap(jax.value_and_grad(loss), (None, 0))
    at = jax.jit(lambda e: both(e, batches))
    gradient = np.asarray(at(1.0)[1])
    difference = np.asarray(at(1.0 + e)[0] - at(1.0 - e)[0]) / (2 * e)
    gap = gradient - difference
    error = gap.std() / len(gap) ** 0.5
    assert abs(gap.mean()) < 4 * error + 0.01 * abs(difference.mean())
    # It is seen at all.
    assert abs(gradient.mean()) > 4 * gradient.std() / len(gap) ** 0.5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["psth", "covariance"])
def test_the_minimum_is_at_the_truth(name, data):
    """The unbiased loss is zero on average there; the other is not."""
    fresh = jax.jit(jax.vmap(lambda key: simulate(INPUT, jr.split(key, 16))))
    x, y = fresh(jr.split(jr.key(2), 300)), fresh(jr.split(jr.key(3), 300))
    found = np.asarray(jax.vmap(LOSSES[name])(x, y))
    error = found.std() / len(found) ** 0.5
    assert abs(found.mean()) < 4 * error
    biased = {
        "psth": lambda x, y: rs.losses.psth_distance(x, y, TS, TAU, unbiased=False),
        "covariance": lambda x, y: rs.losses.covariance_distance(x, y, TS, TAU, unbiased=False),
    }[name]
    assert np.asarray(jax.vmap(biased)(x, y)).mean() > 10 * error


@pytest.mark.slow
def test_the_rate_penalty_is_unbiased():
    """Zero on average at the right rates, where a plain square is the variance of the mean."""
    many = jax.jit(simulate)(INPUT, jr.split(jr.key(5), 8000))
    counts = np.asarray(jax.vmap(lambda t: t.counts())(many))
    rates, keys = jnp.asarray(counts.mean(0) / T1), jr.split(jr.key(4), 400)
    penalty = lambda key: rs.losses.rate_penalty(simulate(INPUT, jr.split(key, 8)), rates)
    found = np.asarray(jax.jit(jax.vmap(penalty))(keys))
    error = found.std() / len(found) ** 0.5
    assert abs(found.mean()) < 4 * error < 0.5 * counts.var(0).mean() / 8
    off = jax.jit(
        jax.vmap(lambda key: rs.losses.rate_penalty(simulate(INPUT, jr.split(key, 8)), rates + 2.0))
    )(keys)
    assert abs(np.mean(off) - 4) < 4 * np.std(off) / len(keys) ** 0.5


# Of everything that takes times.
AT: dict[str, Any] = {
    "filtered": lambda x, ts: rs.losses.filtered(jax.tree.map(lambda z: z[0], x), ts, TAU),
    "smoothed": lambda x, ts: rs.losses.smoothed(x, ts, TAU),
    "psth": lambda x, ts: rs.losses.psth(x, ts, TAU),
    "psth_distance": lambda x, ts: rs.losses.psth_distance(x, x, ts, TAU),
    "noise_covariance": lambda x, ts: rs.losses.noise_covariance(x, ts, TAU),
    "noise_correlation": lambda x, ts: rs.losses.noise_correlation(x, ts, TAU),
    "covariance_distance": lambda x, ts: rs.losses.covariance_distance(x, x, ts, TAU),
    "behaviour": lambda x, ts: rs.losses.behaviour(x, np.ones((2, 1)), ts, TAU),
    "TrialFeatures": lambda x, ts: rs.losses.TrialFeatures.of(x, ts, timescale=TAU),
    "psth_correlation": lambda x, ts: rs.scores.psth_correlation(x, x, ts, TAU),
}
NO_TIMES: dict[str, tuple[Any, str]] = {
    "at the start": ([0.0, 0.5], "`ts` must begin after the start of the window, 0.0"),
    "before the start": ([-0.1, 0.5], r"`ts` must lie in the window \[0.0, 1.0\]"),
    "behind the end": ([0.5, 1.1], r"`ts` must lie in the window \[0.0, 1.0\]"),
    "unsorted": ([0.5, 0.2], "`ts` must be in increasing order"),
    "twice the same": ([0.5, 0.5], "`ts` must be in increasing order"),
    "nan": ([0.5, np.nan], "`ts` must be finite"),
    "none": ([], r"`ts` must be times of shape \(times,\)"),
    "a matrix": ([[0.2, 0.5]], r"`ts` must be times of shape \(times,\)"),
    "a word": ("now", "`ts` must be a number or an array of numbers, got 'now'"),
}


@pytest.mark.parametrize("name", AT)
def test_times_at_which_nothing_is_known(name, data):
    for kind, (ts, message) in NO_TIMES.items():
        # What is filtered, and no rate, is 0 at the start.
        if (name, kind) != ("filtered", "at the start"):
            with pytest.raises((ValueError, TypeError), match=message):
                AT[name](data, ts)


def test_bad_input(data):
    single = rs.SpikeTrain.stack([rs.SpikeTrain.from_lists([[0.1], [0.2]], t0=0.0, t1=T1)])
    for call, message in (
        (lambda: rs.losses.noise_covariance(single, TS, TAU), "at least two trials"),
        (lambda: rs.losses.rate_penalty(single, 1.0), "at least two trials"),
        (
            lambda: rs.losses.psth_distance(single, data, TS, TAU),
            "`x` must hold at least 2",
        ),
        (
            lambda: rs.losses.psth_distance(data, single, TS, TAU),
            "`y` must hold at least 2",
        ),
        (
            lambda: rs.losses.covariance_distance(data, single, TS, TAU),
            "`y` must hold at least",
        ),
        (lambda: rs.losses.noise_covariance(data, TS, TAU, lags=()), "`lags` must be"),
        (lambda: rs.losses.noise_correlation(data, TS, TAU, lags=[[0], [1, 2]]), "`lags` must be"),
        (lambda: rs.losses.noise_covariance(data, TS, TAU, lags=jr.key(0)), "`lags` must be"),
        (lambda: rs.losses.rate_penalty(data, np.nan), "`rate` must be finite"),
        (lambda: rs.losses.rate_penalty(data, -1.0), "`rate` must not be negative"),
        (lambda: rs.losses.rate_penalty(data, np.ones(3)), "`rate` must be a number, or one for"),
        (
            lambda: rs.losses.rate_penalty(data, 1.0, neurons=[0, 2]),
            r"`neurons` must .* \.\.\. 1",
        ),
        (lambda: rs.losses.rate_penalty(data, 1.0, neurons=[[0]]), "`neurons` must be"),
        (lambda: rs.losses.smoothed(data, TS, 0.0), "`timescale` must be positive"),
        (lambda: rs.losses.noise_covariance(data, TS, TAU, lags=(20,)), r"in 0 \.\.\. 19"),
        (lambda: rs.losses.noise_covariance(data, TS, TAU, lags=(-1,)), r"in 0 \.\.\. 19"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    for rate in (None, "fast", 1j, jr.key(0)):
        with pytest.raises(TypeError, match="`rate` must be a number or an array of numbers"):
            rs.losses.rate_penalty(data, rate)
    with pytest.raises(TypeError, match="must be a roughsnn.SpikeTrain"):
        rs.losses.psth(data.times, TS, TAU)
    # Recorded trains have no boundary term.
    lists = [rs.SpikeTrain.from_lists([[0.1], [0.2]], t0=0.0, t1=T1) for _ in range(2)]
    with pytest.raises(ValueError, match="`x` does not hold .* must come from `roughsnn.simulate`"):
        rs.losses.rate_penalty(rs.SpikeTrain.stack(lists), 1.0)
