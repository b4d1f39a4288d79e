"""Mean gradients of functionals that jump where a spike leaves the window."""

from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import signax

import roughsnn as rs

from ..helpers import constant, recurrent_network, recurrent_parameters, standard_error

EDGES = (0.2, 0.45)


def single(c, key, *, sigma=0.5, alpha=0.03, **kwargs):
    network = rs.SpikingNetwork(
        rs.LIF(jnp.array([15.0, 0.0]), jnp.array([[sigma], [0.0]]), 1.4),
        rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0, 1.0), alpha),
    )
    return rs.simulate(
        network, lambda t: c[None], t0=0.0, t1=0.6, dt0=0.02, max_spikes=30, key=key, **kwargs
    )


def recurrent(scale, key, **kwargs):
    p = recurrent_parameters()
    p["weights"], p["input"] = p["weights"] * scale, p["input"] * scale
    return rs.simulate(
        recurrent_network(p),
        lambda t: p["input"],
        t0=0.0,
        t1=0.6,
        dt0=0.02,
        max_spikes=60,
        key=key,
        **kwargs,
    )


def signature(train):
    return signax.signature(rs.marcus_lift(train), 3)


def mean_and_error(fn, x, samples, h=0.02):
    """Mean gradient and difference of means on the same keys; and the error of their gap."""
    keys = jr.split(jr.key(1), samples)

    @jax.jit
    def both(x):
        gradient = jax.vmap(lambda k: jax.jacfwd(fn)(x, k))(keys)
        up, down = (jax.vmap(lambda k, s=s: fn(x + s * h, k))(keys) for s in (1, -1))
        return gradient, (up - down) / (2 * h)

    gradient, difference = both(x)
    return gradient.mean(0), difference.mean(0), standard_error(gradient - difference)


def assert_agree(fn, x, samples=8192):
    gradient, difference, error = mean_and_error(fn, x, samples)
    # 4 standard errors: some of these are vectors of 10 to 20 components.
    assert np.all(np.abs(gradient - difference) <= 4 * error + 1e-12), (gradient, difference, error)
    return gradient, difference, error


@pytest.mark.parametrize("sigma, alpha", [(0.0, 0.03), (0.5, 0.7)])
def test_counts_of_one_neuron(sigma, alpha):
    fn = lambda c, key: rs.losses.counts(single(c, key, sigma=sigma, alpha=alpha))
    gradient, _, error = assert_agree(fn, jnp.asarray(1.5))
    assert gradient[0] > 20 * error[0]


def test_counts_of_a_recurrent_network():
    fn = lambda x, key: rs.losses.counts(recurrent(x, key))
    gradient, _, error = assert_agree(fn, jnp.asarray(1.0))
    assert np.all(gradient > 10 * error)


def test_binned_counts():
    edges = (0.0, *EDGES, 0.6)

    def fn(x, key):
        train = recurrent(x, key, boundary_ts=EDGES)
        return rs.losses.binned_counts(train, edges)

    gradient, _, _ = assert_agree(fn, jnp.asarray(1.0))
    train = recurrent(jnp.asarray(1.0), jr.key(3), boundary_ts=EDGES)
    expected = [np.histogram(times, edges)[0] for times in train.to_lists()]
    np.testing.assert_array_equal(rs.losses.binned_counts(train, edges), np.transpose(expected))
    part = rs.losses.binned_counts(train, (0.2, 0.45))
    np.testing.assert_array_equal(part[0], np.transpose(expected)[1])
    total = jax.jacfwd(lambda x: rs.losses.counts(recurrent(x, jr.key(3))))(jnp.asarray(1.0))
    bins = jax.jacfwd(fn)(jnp.asarray(1.0), jr.key(3))
    np.testing.assert_allclose(bins.sum(0), total, rtol=1e-10)


def test_untapered_signatures_are_mended_and_were_biased():
    plain = lambda c, key: signature(single(c, key))
    mended = lambda c, key: rs.losses.with_boundary(signature, single(c, key))
    c = jnp.asarray(1.5)
    assert_agree(mended, c)
    gradient, difference, error = mean_and_error(plain, c, 4096)
    # The height (the level-1 term of the neuron) is a count: no pathwise gradient at all.
    assert gradient[1] == 0 and difference[1] > 20 * error[1]


def test_a_signature_mmd():
    """A nonlinear function of means: correct the features, then take the distance."""
    data = jax.vmap(lambda k: single(jnp.asarray(1.2), k))(jr.split(jr.key(5), 64))
    target = jnp.mean(jax.vmap(signature)(data), 0)

    def loss(c, key):
        keys = jr.split(key, 4)
        features = jax.vmap(lambda k: rs.losses.with_boundary(signature, single(c, k)))(keys)
        gap = jnp.sum((features.mean(0) - target) ** 2)
        return gap - jnp.sum(jnp.var(features, 0, ddof=1)) / 4

    gradient, _, error = assert_agree(loss, jnp.asarray(1.5), 2048)
    assert gradient > 5 * error


def test_the_cheap_form_for_signatures_is_the_general_one():
    """In the distance of expected signatures, for several neurons."""
    data = jax.vmap(lambda k: recurrent(jnp.asarray(0.9), k))(jr.split(jr.key(5), 8))
    target = jax.vmap(signature)(data)
    keys = jr.split(jr.key(6), 8)

    def trains(x):
        return jax.vmap(lambda k: recurrent(x, k))(keys)

    def cheap(x):
        return rs.losses.expected_signature(
            trains(x), data, taper=0.0, boundary=True, allow_jumps=True
        )

    def general(x):
        features = jax.vmap(lambda train: rs.losses.with_boundary(signature, train))(trains(x))
        gap = jnp.sum((features.mean(0) - target.mean(0)) ** 2)
        spread = [jnp.sum(jnp.var(f, 0, ddof=1)) / 8 for f in (features, target)]
        return gap - spread[0] - spread[1]

    x = jnp.asarray(1.0)
    a, b = (jax.jit(jax.value_and_grad(f))(x) for f in (cheap, general))
    np.testing.assert_allclose(a, b, rtol=1e-9)
    options: Any = dict(taper=0.0, allow_jumps=True)
    plain = jax.grad(lambda x: rs.losses.expected_signature(trains(x), data, **options))(x)
    assert abs(plain - b[1]) > 0.01 * abs(b[1])
    with pytest.raises(ValueError, match="needs `taper=0`"):
        rs.losses.expected_signature(data, data, boundary=True)
    with pytest.raises(ValueError, match="simulate"):
        known = rs.SpikeTrain.stack([rs.SpikeTrain.from_lists([[0.1]], t0=0.0, t1=1.0)] * 2)
        rs.losses.expected_signature(known, known, taper=0.0, boundary=True)


def test_the_cheap_form_is_the_general_one():
    floating = lambda train: train.counts().astype(float)
    general = lambda x, key: rs.losses.with_boundary(floating, recurrent(x, key))
    cheap = lambda x, key: rs.losses.counts(recurrent(x, key))
    x, keys = jnp.asarray(1.0), jr.split(jr.key(2), 5)
    a, b = (jax.jit(jax.vmap(jax.jacrev(f), (None, 0)))(x, keys) for f in (general, cheap))
    np.testing.assert_allclose(a, b, rtol=1e-12)
    values = jax.vmap(lambda k: cheap(x, k))(keys)
    trains = jax.vmap(lambda k: recurrent(x, k))(keys)
    np.testing.assert_array_equal(values, jax.vmap(lambda t: t.counts())(trains))


def test_nothing_is_added_where_a_spike_may_leave():
    """Filtered trains and a tapered lift are continuous: the correction is zero."""
    ts = jnp.linspace(0.0, 0.6, 5)
    filtered = lambda train: rs.losses.filtered(train, ts, 0.1)
    tapered = lambda train: signax.signature(rs.marcus_lift(train, taper=0.2), 2)
    for fn in (filtered, tapered):
        plain = jax.jacfwd(lambda c, fn=fn: fn(single(c, jr.key(0))))(jnp.asarray(1.5))
        mended = jax.jacfwd(lambda c, fn=fn: rs.losses.with_boundary(fn, single(c, jr.key(0))))(
            jnp.asarray(1.5)
        )
        np.testing.assert_allclose(mended, plain, rtol=1e-9, atol=1e-12)
    assert_agree(lambda c, key: filtered(single(c, key)), jnp.asarray(1.5), 2048)


def test_filtered_trains():
    train = rs.SpikeTrain.from_lists([[0.1, 0.4], [0.3]], t0=0.0, t1=1.0, max_spikes=5)
    ts = jnp.array([0.05, 0.3, 1.0])
    kernel = lambda t: np.where(t > 0, t / 0.2 * np.exp(1 - t / 0.2), 0)
    expected = [[kernel(t - np.array(x)).sum() for x in ([0.1, 0.4], [0.3])] for t in ts]
    np.testing.assert_allclose(rs.losses.filtered(train, ts, 0.2), expected, rtol=1e-12)


def test_cutting_a_train_keeps_what_belongs_to_the_end():
    train = recurrent(jnp.asarray(1.0), jr.key(0), boundary_ts=EDGES)
    assert train.boundary.ts == (*EDGES, 0.6)
    early = train.window(0.0, 0.45)
    assert early.boundary.ts == EDGES
    np.testing.assert_array_equal(rs.losses.counts(early), early.counts())
    assert rs.losses.counts(train.only([1])).shape == (1,)
    # Of the right neurons, in their order.
    whole, part = train.boundary, train.only([2, 0]).boundary
    assert not np.array_equal(whole.excess[:, 0], whole.excess[:, 2])
    np.testing.assert_array_equal(part.excess, whole.excess[:, [2, 0]])
    np.testing.assert_array_equal(part.at_risk, whole.at_risk[:, [2, 0]])
    assert train.first(2).boundary is None


def test_no_random_threshold_no_correction():
    data = rs.SpikeTrain.from_lists([[0.1]], t0=0.0, t1=1.0)
    with pytest.raises(ValueError, match="simulate"):
        rs.losses.counts(data)
    hard = rs.SpikingNetwork(rs.LIF((5.0, 1.0)), rs.ThresholdFiring())
    options: Any = dict(t0=0.0, t1=0.6, dt0=0.02, max_spikes=9, key=jr.key(0))
    with pytest.raises(ValueError, match="stochastically"):
        rs.losses.counts(rs.simulate(hard, constant(1.5), **options))
    with pytest.raises(ValueError, match="boundary_ts"):
        rs.losses.binned_counts(single(jnp.asarray(1.5), jr.key(0)), (0.0, 0.3, 0.6))
    with pytest.raises(ValueError, match="increasing"):
        single(jnp.asarray(1.5), jr.key(0), boundary_ts=(0.3, 0.2))
    with pytest.raises(ValueError, match="saveat"):
        single(jnp.asarray(1.5), jr.key(0), boundary_ts=(0.3,), saveat=dfx.SaveAt(t1=True))
    with pytest.raises(ValueError, match="edges"):
        rs.losses.binned_counts(single(jnp.asarray(1.5), jr.key(0)), (0.0,))
    # A solve that was ended on purpose did not reach the end of the window.
    ended = single(jnp.asarray(1.5), jr.key(0), stop_after=1)
    assert not bool(jnp.any(ended.boundary.at_risk))
