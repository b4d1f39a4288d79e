"""Mean gradients of functionals that jump where a spike leaves the window."""

import functools
from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import signax

import roughsnn as rs

from ..helpers import (
    ENGINES,
    constant,
    lif_network,
    optimised,
    recurrent_network,
    recurrent_parameters,
    single_neuron,
)

EDGES = (0.2, 0.45)
STEP = 0.02


def keys_of_samples():
    return jr.split(jr.key(1), 8192)


WINDOW = rs.Window(0.0, 0.6, 0.02)


def single(c, key, *, sigma=0.5, alpha=0.03, window=WINDOW, saveat=None):
    network = single_neuron(sigma, alpha)
    engine = rs.EventByEvent(saveat=saveat)
    return rs.simulate(
        network, lambda t: c[None], window, max_spikes=30, key=key, engine=engine
    ).spikes


def recurrent(scale, key, edges=()):
    p = recurrent_parameters()
    p["weights"], p["input"] = p["weights"] * scale, p["input"] * scale
    return rs.simulate(
        recurrent_network(p),
        lambda t: p["input"],
        rs.Window(0.0, 0.6, 0.02, edges=edges),
        max_spikes=60,
        key=key,
        engine=rs.EventByEvent(),
    ).spikes


def signature(train):
    return signax.signature(rs.marcus_lift(train), 3)


def values_and_slopes(fn, x):
    """Of `fn(x, key)` at x and a step above and below it for every key; and what it adds."""
    along = lambda y, key: jax.jvp(lambda z: fn(z, key), (y,), (jnp.ones_like(y),), has_aux=True)
    points = x + STEP * jnp.array([0.0, 1.0, -1.0])
    return jax.vmap(jax.vmap(along, (None, 0)), (0, None))(points, keys_of_samples())


@functools.cache
def neuron(sigma=0.5, alpha=0.03):
    """Counts, and functionals of one neuron's train as they are and with the boundary's part."""
    return jax.device_get(neuron_samples(jnp.asarray(1.5), sigma, alpha))


@optimised
def neuron_samples(c, sigma, alpha):
    ts = jnp.linspace(0.0, 0.6, 5)

    def functionals(train):
        return {
            "signature": signature(train),
            "tapered": signax.signature(rs.marcus_lift(train, taper=0.2), 2),
            "filtered": rs.losses.filtered(train, ts, 0.1),
        }

    def fn(c, key):
        train = single(c, key, sigma=sigma, alpha=alpha)
        mended = rs.losses.with_boundary(functionals, train)
        found = {"counts": rs.losses.counts(train), "plain": functionals(train), "mended": mended}
        return found, None

    return values_and_slopes(fn, c)[:2]


@functools.cache
def network():
    """Counts of three neurons, in all, in bins and in one bin; and the first sample's train."""

    def fn(x, key):
        train = recurrent(x, key, edges=EDGES)
        bins, part = (rs.losses.binned_counts(train, e) for e in ((0.0, *EDGES, 0.6), EDGES))
        return {"counts": rs.losses.counts(train), "bins": bins, "part": part}, train

    @optimised
    def samples(x):
        values, slopes, trains = values_and_slopes(fn, x)
        return values, slopes, jax.tree.map(lambda z: z[0, 0], trains)

    return jax.device_get(samples(jnp.asarray(1.0)))


@functools.cache
def cheap_and_general():
    """Counts of eight samples, and distances of their signatures from those of data; and the
    derivatives in the scale of each sample: (neurons, samples) and (samples,)."""

    def distances(trains, data):
        first, second = (
            jax.vmap(fn)(z)
            for fn, z in (
                (lambda train: rs.losses.with_boundary(signature, train), trains),
                (signature, data),
            )
        )
        gap = jnp.sum((first.mean(0) - second.mean(0)) ** 2)
        spread = [jnp.sum(jnp.var(f, 0, ddof=1)) / 8 for f in (first, second)]
        expected = functools.partial(
            rs.losses.expected_signature, trains, data, taper=0.0, allow_jumps=True
        )
        return {
            "cheap": expected(boundary=True),
            "general": gap - spread[0] - spread[1],
            "plain": expected(),
        }

    def fn(scales, keys):
        both = jnp.concatenate([scales, jnp.full(8, 0.9)])
        both = jax.vmap(recurrent)(both, jnp.concatenate([keys, jr.split(jr.key(5), 8)]))
        trains, data = (
            jax.tree.map(lambda z, part=p: z[part], both) for p in (slice(8), slice(8, 16))
        )
        floating = lambda train: train.counts().astype(float)
        counts = {
            "cheap": jax.vmap(rs.losses.counts)(trains),
            "general": jax.vmap(lambda t: rs.losses.with_boundary(floating, t))(trains),
        }
        # No train depends on another's scale, so derivatives of sums are those of each sample.
        found = jax.tree.map(lambda z: z.sum(0), counts), distances(trains, data)
        return found, (counts, jax.vmap(lambda t: t.counts())(trains), found[1])

    slopes, values = jax.jit(jax.jacrev(fn, has_aux=True))(jnp.ones(8), keys_of_samples()[:8])
    return jax.device_get((values, slopes))


def mean_and_error(values, slopes):
    """Mean gradient and difference of means on the same keys; and the error of their gap."""
    difference = (values[1] - values[2]) / (2 * STEP)
    error = np.std(slopes[0] - difference, axis=0, ddof=1) / len(difference) ** 0.5
    return slopes[0].mean(0), difference.mean(0), error


def assert_agree(values, slopes):
    gradient, difference, error = mean_and_error(values, slopes)
    # 4 standard errors: some of these are vectors of 10 to 20 components.
    assert np.all(np.abs(gradient - difference) <= 4 * error + 1e-12), (gradient, difference, error)
    return gradient, error


@pytest.mark.slow
@pytest.mark.parametrize("sigma, alpha", [(0.0, 0.03), (0.5, 0.7)])
def test_counts_of_one_neuron(sigma, alpha):
    values, slopes = neuron(sigma, alpha)
    gradient, error = assert_agree(values["counts"], slopes["counts"])
    assert gradient[0] > 20 * error[0]


@pytest.mark.slow
def test_counts_of_a_recurrent_network():
    values, slopes, _ = network()
    gradient, error = assert_agree(values["counts"], slopes["counts"])
    assert np.all(gradient > 10 * error)


@pytest.mark.slow
def test_binned_counts():
    values, slopes, train = network()
    assert_agree(values["bins"], slopes["bins"])
    edges = (0.0, *EDGES, 0.6)
    times = [train.times[train.marks == n] for n in range(3)]
    expected = np.transpose([np.histogram(t, edges)[0] for t in times])
    np.testing.assert_array_equal(values["bins"][0, 0], expected)
    np.testing.assert_array_equal(values["part"][0, 0, 0], expected[1])
    # Of the same samples, simulated without times inside of the window.
    total = cheap_and_general()[1][0]["cheap"]
    np.testing.assert_allclose(slopes["bins"][0, :8].sum(1), total.T, rtol=1e-10)


def test_untapered_signatures_are_mended_and_were_biased():
    values, slopes = neuron()
    assert_agree(values["mended"]["signature"], slopes["mended"]["signature"])
    gradient, difference, error = mean_and_error(
        values["plain"]["signature"], slopes["plain"]["signature"]
    )
    # The height (the level-1 term of the neuron) is a count: no pathwise gradient at all.
    assert gradient[1] == 0 and difference[1] > 20 * error[1]


def test_a_signature_mmd():
    """A nonlinear function of means: correct the features, then take the distance."""

    @jax.jit
    def loss(features, slopes):
        data = jax.vmap(lambda k: single(jnp.asarray(1.2), k))(jr.split(jr.key(5), 64))
        target = jnp.mean(jax.vmap(signature)(data), 0)

        def of_four(features):
            gap = jnp.sum((features.mean(0) - target) ** 2)
            return gap - jnp.sum(jnp.var(features, 0, ddof=1)) / 4

        along = jax.vmap(jax.vmap(lambda f, s: jax.jvp(of_four, (f,), (s,))))
        return along(*(z.reshape(3, -1, 4, z.shape[-1]) for z in (features, slopes)))

    values, slopes = (z["mended"]["signature"] for z in neuron())
    gradient, error = assert_agree(*jax.device_get(loss(values, slopes)))
    assert gradient > 5 * error


def test_the_cheap_form_for_signatures_is_the_general_one():
    """In the distance of expected signatures, for several neurons."""
    (_, _, values), (_, slopes) = cheap_and_general()
    np.testing.assert_allclose(values["cheap"], values["general"], rtol=1e-9)
    slopes = {name: slope.sum() for name, slope in slopes.items()}
    np.testing.assert_allclose(slopes["cheap"], slopes["general"], rtol=1e-9)
    assert abs(slopes["plain"] - slopes["general"]) > 0.01 * abs(slopes["general"])
    known = rs.SpikeTrain.stack([rs.SpikeTrain.from_lists([[0.1]], t0=0.0, t1=1.0)] * 2)
    with pytest.raises(ValueError, match="needs `taper=0`"):
        rs.losses.expected_signature(known, known, boundary=True)
    with pytest.raises(ValueError, match="simulate"):
        rs.losses.expected_signature(known, known, taper=0.0, boundary=True)


def test_the_cheap_form_is_the_general_one():
    (values, counts, _), (slopes, _) = cheap_and_general()
    np.testing.assert_allclose(slopes["cheap"], slopes["general"], rtol=1e-12)
    np.testing.assert_array_equal(values["cheap"], counts)


def test_nothing_is_added_where_a_spike_may_leave():
    """Filtered trains and a tapered lift are continuous: the correction is zero."""
    values, slopes = neuron()
    for name in ("filtered", "tapered"):
        plain, mended = (slopes[kind][name] for kind in ("plain", "mended"))
        np.testing.assert_allclose(mended, plain, rtol=1e-9, atol=1e-12)
    assert_agree(values["plain"]["filtered"], slopes["plain"]["filtered"])


def test_filtered_trains():
    train = rs.SpikeTrain.from_lists([[0.1, 0.4], [0.3]], t0=0.0, t1=1.0, max_spikes=5)
    ts = jnp.array([0.05, 0.3, 1.0])
    kernel = lambda t: np.where(t > 0, t / 0.2 * np.exp(1 - t / 0.2), 0)
    expected = [[kernel(t - np.array(x)).sum() for x in ([0.1, 0.4], [0.3])] for t in ts]
    np.testing.assert_allclose(rs.losses.filtered(train, ts, 0.2), expected, rtol=1e-12)


def test_cutting_a_train_keeps_what_belongs_to_the_end():
    whole = network()[-1]
    assert whole.boundary.ts == (*EDGES, 0.6)

    @jax.jit
    def cut(train):
        early, one = train.window(0.0, 0.45), train.only([1])
        counts = rs.losses.counts(early), early.counts(), rs.losses.counts(one)
        return early, counts, train.only([2, 0]), train.first(2)

    early, counts, part, first = jax.device_get(cut(whole))
    assert early.boundary.ts == EDGES
    np.testing.assert_array_equal(counts[0], counts[1])
    assert counts[2].shape == (1,)
    # Of the right neurons, in their order.
    whole, part = whole.boundary, part.boundary
    assert not np.array_equal(whole.excess[:, 0], whole.excess[:, 2])
    np.testing.assert_array_equal(part.excess, whole.excess[:, [2, 0]])
    np.testing.assert_array_equal(part.at_risk, whole.at_risk[:, [2, 0]])
    assert first.boundary is None


@pytest.mark.slow
def test_no_random_threshold_no_correction():
    known = rs.SpikeTrain.from_lists([[0.1]], t0=0.0, t1=1.0)
    hard = lif_network(rs.HardThreshold())
    options: Any = dict(max_spikes=9, key=jr.key(0), engine=rs.EventByEvent())
    silent = lambda: rs.simulate(hard, constant(1.5), WINDOW, **options).spikes
    one = functools.partial(single, jnp.asarray(1.5), jr.key(0))
    with_edges = lambda *ts: rs.Window(0.0, 0.6, 0.02, edges=ts)
    refused = {
        "simulate": lambda: rs.losses.counts(known),
        "stochastically": lambda: rs.losses.counts(silent()),
        "interior times": lambda: rs.losses.binned_counts(one(), (0.0, 0.3, 0.6)),
        "increasing": lambda: one(window=with_edges(0.3, 0.2)),
        "saveat": lambda: one(window=with_edges(0.3), saveat=dfx.SaveAt(t1=True)),
        "edges": lambda: rs.losses.binned_counts(one(), (0.0,)),
    }
    for message, fn in refused.items():
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(fn)
    # A solve that was ended on purpose did not reach the end of the window.
    ended = one(window=rs.Window(0.0, 0.6, 0.02, stop_after=1))
    assert ended.boundary is not None and not np.any(ended.boundary.at_risk)


@pytest.mark.slow
@pytest.mark.parametrize("method", ENGINES)
def test_an_early_end_has_no_boundary(method):
    """The window was never left, so that nobody could have fired there."""
    window = lambda stop_after: rs.Window(0.0, 1.5, 0.02, stop_after=stop_after)

    def run(stop_after):
        return rs.simulate(
            recurrent_network(recurrent_parameters()),
            recurrent_parameters()["input"],
            window(stop_after),
            max_spikes=60,
            key=jr.key(2),
            engine=ENGINES[method],
        ).spikes

    ended, whole = jax.jit(lambda: (run(3), run(None)))()
    assert ended.boundary is not None and whole.boundary is not None
    assert int(ended.count) == 3 and int(whole.count) > 5
    assert not np.any(ended.boundary.at_risk) and np.any(whole.boundary.at_risk)
