"""Random connections against the laws of their degrees."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

C, KEY = rs.connectors, jr.key(1)
FIXED: Any = {
    "probability": (C.fixed_probability, lambda others, p: p),
    "out": (C.fixed_out_degree, lambda others, p: round(p * others["post"])),
    "in": (C.fixed_in_degree, lambda others, p: round(p * others["pre"])),
}


def there(made: rs.SparseWeights) -> np.ndarray:
    """Which synapses exist, as a matrix."""
    targets = np.asarray(made.targets)
    found = np.zeros(made.shape, int)
    rows, places = np.nonzero(targets >= 0)
    np.add.at(found, (rows, targets[rows, places]), 1)
    return found


def connect(kind: str, pre: int, post: int, p: float, **options: Any) -> rs.SparseWeights:
    """By any of them, with a fraction p of all synapses."""
    make, number = FIXED[kind]
    less = 0 if options.get("autapses", True) else 1
    others = {"pre": pre - less, "post": post - less}
    return make(pre, post, number(others, p), **(dict(key=KEY, weights=1.0) | options))


# Few synapses, some and most, which are drawn in two ways.
@pytest.mark.parametrize("p", [0.05, 0.3, 0.9])
@pytest.mark.parametrize("shape", [(400, 400, False), (400, 400, True), (300, 500, True)])
@pytest.mark.parametrize("kind", FIXED)
def test_degrees(kind, shape, p):
    """Out- and in-degrees are exact, or have the mean and the variance of a binomial."""
    pre, post, autapses = shape
    made = connect(kind, pre, post, p, autapses=autapses)
    assert made.shape == (pre, post) and made.targets.dtype == jnp.int32
    found = there(made)
    assert found.max() == 1
    less = 0 if autapses else 1
    if not autapses:
        assert not np.any(np.diag(found))
        made.check_no_autapses()
    for axis, fixed, trials in ((1, "out", post - less), (0, "in", pre - less)):
        degrees = found.sum(axis)
        if kind == fixed:
            assert np.all(degrees == round(p * trials))
            continue
        n, variance = len(degrees), trials * p * (1 - p)
        total = kind == "probability"
        # With one kind of degree fixed the mean of the other is.
        error = (variance / n) ** 0.5 if total else 1.0
        assert abs(degrees.mean() - p * trials) < 4 * error
        assert abs(degrees.var(ddof=1) / variance - 1) < 4 * (2 / n) ** 0.5
    if kind == "out":
        assert np.all(np.asarray(made.targets) >= 0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", FIXED)
def test_every_pair_is_as_likely(kind):
    """Over many keys each entry of a small matrix exists equally often."""
    samples, p = 4000, 0.4
    total = np.zeros((6, 6))
    for seed in range(samples):
        total += there(connect(kind, 6, 6, p, key=jr.key(seed), autapses=False))
    p = p if kind == "probability" else round(p * 5) / 5
    off = ~np.eye(6, dtype=bool)
    z = (total[off] - samples * p) / (samples * p * (1 - p)) ** 0.5
    assert np.all(total[~off] == 0)
    assert np.max(np.abs(z)) < 4.2, z
    # Of 30 numbers; those of a row or column are slightly dependent.
    assert 0.4 < np.mean(z**2) < 1.8


@pytest.mark.parametrize("kind", FIXED)
def test_a_key_gives_one_network(kind):
    one, same, other = (connect(kind, 50, 40, 0.2, key=jr.key(n)) for n in (0, 0, 1))
    np.testing.assert_array_equal(one.targets, same.targets)
    assert not np.array_equal(there(one), there(other))
    # A raw key is one, too, and the weights do not move the synapses.
    drawn = connect(kind, 50, 40, 0.2, key=jr.PRNGKey(0), weights=jr.normal)
    np.testing.assert_array_equal(one.targets, drawn.targets)


@pytest.mark.parametrize("kind", FIXED)
def test_weights(kind):
    """Numbers and draws, 0 where there is no target, and a gradient in what they are made from."""
    made = connect(kind, 300, 200, 0.3, weights=jr.normal)
    exists = np.asarray(made.targets) >= 0
    values = np.asarray(made.values)
    assert np.all(values[~exists] == 0)
    n = exists.sum()
    assert abs(values[exists].mean()) < 4 / n**0.5
    assert abs(values[exists].var() - 1) < 4 * (2 / n) ** 0.5
    small = connect(kind, 9, 9, 0.5, weights=0.7)
    np.testing.assert_allclose(small.to_dense(), 0.7 * there(small), rtol=1e-6)

    def total(scale):
        by_number = connect(kind, 30, 20, 0.3, weights=scale).values
        draw = lambda key, shape: scale * jr.uniform(key, shape)
        return jnp.sum(by_number) + jnp.sum(connect(kind, 30, 20, 0.3, weights=draw).values)

    np.testing.assert_allclose(jax.jit(jax.grad(total))(0.5), 2 * total(0.5), rtol=1e-6)


def test_all_and_none():
    assert np.all(there(connect("probability", 5, 7, 1.0)) == 1)
    assert np.all(there(connect("probability", 5, 7, 0.0)) == 0)
    assert np.all(there(connect("out", 5, 5, 1.0, autapses=False)) == ~np.eye(5, dtype=bool))
    assert np.all(there(connect("in", 5, 7, 1.0)) == 1)


@pytest.mark.slow
def test_in_a_network():
    """As lists and as the matrix of them, from one population onto another and onto itself."""
    lists = (
        connect("in", 8, 5, 0.5, weights=jr.normal),
        connect("probability", 5, 5, 0.6, weights=jr.normal, autapses=False),
    )
    ports = {"syn": rs.synapses.Exponential(0.05)}
    out = rs.Population(5, rs.neurons.LIF(0.07), rs.HardThreshold(1.0), ports)
    parts = {"in": rs.Poisson(8, 20.0), "out": out}

    def spikes(a, b):
        net = rs.SpikingNetwork(
            parts, [rs.Projection("in", "out", a), rs.Projection("out", "out", b)]
        )
        drive = {"out": jnp.full(5, 1.3)}
        window = rs.Window(0.0, 0.5, 0.01)
        return rs.simulate(net, drive, window, key=jr.key(1), max_spikes=300).spikes

    sparse, dense = spikes(*lists), spikes(*(x.to_dense() for x in lists))
    assert int(np.sum(np.asarray(sparse.marks) >= 8)) >= 5
    np.testing.assert_array_equal(sparse.marks, dense.marks)
    np.testing.assert_allclose(sparse.times, dense.times, rtol=1e-9)


WRONG: Any = {
    "too many targets": (lambda: connect("out", 3, 5, 1.2), r"`degree` must be in 1 ... 5.*got 6"),
    "too many others": (
        lambda: C.fixed_in_degree(5, 5, 5, key=jr.key(0), weights=1.0, autapses=False),
        r"`degree` must be in 1 ... 4.*got 5",
    ),
    "no synapse": (
        lambda: C.fixed_out_degree(5, 5, 0, key=jr.key(0), weights=1.0),
        "`degree` must be a positive integer, got 0",
    ),
    "no probability": (lambda: connect("probability", 3, 5, 1.2), r"must be in \[0, 1\], got 1.2"),
    "sizes of two populations": (
        lambda: connect("out", 3, 5, 0.5, autapses=False),
        "`autapses=False` is for a population onto itself",
    ),
    "one neuron": (lambda: connect("out", 1, 1, 1.0, autapses=False), "nothing to connect"),
    "weights of a shape": (
        lambda: connect("out", 3, 5, 0.5, weights=np.ones((3, 2))),
        "`weights` must be a number, or a function",
    ),
    "weights of another shape": (
        lambda: connect("out", 3, 5, 0.4, weights=lambda key, shape: jnp.ones(3)),
        r"the shape that it is given, \(3, 2\), got \(3,\)",
    ),
    "autapses by chance": (
        lambda: rs.Projection("a", "a", connect("in", 5, 5, 0.8)),
        "make none with `autapses=False`",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_mistakes_are_named(kind):
    make, message = WRONG[kind]
    with pytest.raises(ValueError, match=message):
        make()


def test_keys():
    with pytest.raises(TypeError, match="`key` must be one key"):
        connect("out", 3, 5, 0.5, key=0)
    with pytest.raises(TypeError, match="`key` must be concrete, got a traced one"):
        jax.jit(lambda key: connect("out", 3, 5, 0.5, key=key).values)(jr.key(0))
