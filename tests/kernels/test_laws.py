"""What every kernel of spike trains must do: a new one is tested by adding a row."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import roughsnn as rs
from roughsnn._kernel.whitening import Whitening

WINDOW = 2.0
SIGNATURE = rs.SignatureKernel(0.5, order=4)
KERNELS: dict[str, rs.AbstractTrainKernel] = {
    "ito": SIGNATURE,
    "ito, own heights": rs.SignatureKernel(jnp.array([0.2, 0.7]), time_scale=2.0, order=4),
    "marcus": rs.SignatureKernel(0.5, lifting=rs.MarcusLift(), order=4),
    "ramp": rs.SignatureKernel(0.5, lifting=rs.RampLift(0.05), order=4),
    "robust": rs.SignatureKernel(1.5, scaling="robust", order=4),
    "dilated": rs.SignatureKernel(0.5, dilation=0.7, order=4),
    "per neuron": rs.PerNeuronKernel(SIGNATURE),
    "per neuron, one by one": rs.PerNeuronKernel(rs.SignatureKernel(0.5), 5, 1),
    "ordered": rs.OrderedKernel(0.1),
    "point": rs.PointKernel(0.1),
    "lag": rs.LagKernel(0.05),
    "sum": rs.SumKernel((rs.PointKernel(0.1), SIGNATURE)),
    "product": rs.ProductKernel((rs.PointKernel(0.1), SIGNATURE)),
}
BOUNDED = set(KERNELS) - {"robust", "dilated", "sum"}


def batch(seed: int, samples: int = 7, room: int = 6) -> rs.SpikeTrain:
    """Random trains of two neurons; one is silent, one full."""
    rng = np.random.default_rng(seed)
    counts = np.minimum(rng.poisson(3.0, samples), room)
    counts[:2] = 0, room
    trains = []
    for count in counts:
        times, marks = np.sort(rng.uniform(0, WINDOW, count)), rng.integers(0, 2, count)
        trains.append([times[marks == n] for n in range(2)])
    made = [rs.SpikeTrain.from_lists(t, t0=0.0, t1=WINDOW, max_spikes=room) for t in trains]
    return rs.SpikeTrain.stack(made)


X = batch(0)
# The first two of the others are samples 0 and 3.
Y = jax.tree.map(lambda a, b: jnp.concatenate([a[jnp.array([0, 3])], b[:3]]), X, batch(1, 5))
FITTED = {name: kernel.fitted(batch(2, 12)) for name, kernel in KERNELS.items()}


def moved(x: rs.SpikeTrain, times) -> rs.SpikeTrain:
    times = jnp.where(x.marks >= 0, times, x.times)
    return rs.SpikeTrain(times, x.marks, x.count, x.overflow, x.t0, x.t1, x.num_neurons)


@pytest.mark.parametrize("name", KERNELS)
def test_gram_matrices(name):
    """Symmetric, positive, the same by pairs and in blocks, whatever the padding."""
    kernel = FITTED[name]
    gram = np.asarray(rs.gram_matrix(kernel, X, X))
    np.testing.assert_allclose(gram, gram.T, rtol=1e-14)
    assert np.linalg.eigvalsh(gram).min() > -1e-10 * gram.max()
    cross = np.asarray(rs.gram_matrix(kernel, X, Y))
    np.testing.assert_allclose(cross[:, :2], gram[:, [0, 3]], rtol=1e-10)
    tight = rs.gram_matrix(kernel, X.with_room(9), Y, megabytes=1e-3)
    # Padding cuts a segment of the ramp's path, which changes what its series leave out.
    np.testing.assert_allclose(tight, cross, rtol=1e-8 if name == "ramp" else 1e-10)
    pick = lambda z, n: jax.tree.map(lambda a: a[n], z)
    np.testing.assert_allclose(cross[2, 3], kernel(pick(X, 2), pick(Y, 3)), rtol=1e-10)
    if name in BOUNDED:
        np.testing.assert_allclose(np.diag(gram), 1, rtol=1e-10)
    if name == "robust":
        plain = dataclasses.replace(kernel, scaling="none")
        square = np.diag(np.asarray(rs.gram_matrix(plain, X, X)))
        assert square.min() < 4 < square.max()
        # The identity up to 4, then 4 + 16 (1/4 - 1/square).
        expected = np.where(square <= 4, square, 8 - 16 / np.maximum(square, 4))
        np.testing.assert_allclose(np.diag(gram), expected, rtol=1e-10)


@pytest.mark.parametrize("samples", [2, 6, 7])
def test_half_of_the_pairs_are_enough(samples):
    """Even and odd numbers of samples, in one block and in several."""
    # A kernel for which k(x, y) and k(y, x) round differently.
    x, kernel = batch(5, samples), FITTED["marcus"]
    # Equal, but not the same object: all pairs are computed.
    expected = rs.gram_matrix(kernel, x, batch(5, samples))
    for megabytes in (16.0, 1e-3):
        gram = rs.gram_matrix(kernel, x, x, megabytes=megabytes)
        np.testing.assert_allclose(gram, expected, rtol=1e-12)
        np.testing.assert_array_equal(gram, gram.T)


def test_the_parts_of_a_sum_fluctuate_alike():
    """The centred Gram matrix of each weighted part has root mean square 1 over the data."""
    data = batch(2, 12)
    kernel = rs.SumKernel((rs.PointKernel(0.1), SIGNATURE)).fitted(data)
    off = ~np.eye(12, dtype=bool)
    assert kernel.weights is not None
    for weight, part in zip(kernel.weights, kernel.kernels, strict=True):
        gram = np.where(off, float(weight) * np.asarray(rs.gram_matrix(part, data, data)), 0)
        mean = gram.sum(0) / 11
        centred = (gram - mean[:, None] - mean + mean.mean())[off]
        np.testing.assert_allclose(np.mean(centred**2), 1, rtol=1e-10)


@pytest.mark.parametrize("samples", [4, 60])
def test_whitening_is_the_inverse_root_of_the_covariance(samples):
    """With fewer samples than features, and with more."""
    rng = np.random.default_rng(4)
    features = rng.normal(size=(samples, 9)) @ rng.normal(size=(9, 9))
    variance = features.var(0)
    scaled = features / np.sqrt(variance + 0.1 * variance.mean())
    covariance = np.cov(scaled.T, ddof=0)
    values, vectors = np.linalg.eigh(covariance + 0.3 * np.trace(covariance) / 9 * np.eye(9))
    expected = scaled @ (vectors / np.sqrt(values)) @ vectors.T
    found = Whitening.of(jnp.asarray(features), 0.3)(jnp.asarray(features))
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)


# Derivatives by a second sweep are those of the kernel, not of a truncated series.
EXACT = {
    "ito": rs.SignatureKernel(jnp.array([0.2, 0.7]), order=9),
    "marcus": rs.SignatureKernel(jnp.array([0.2, 0.7]), lifting=rs.MarcusLift(), order=7),
    **{name: FITTED[name] for name in ("ramp", "ordered", "point", "lag")},
}


@pytest.mark.parametrize("name", EXACT)
def test_derivatives_agree_with_differences(name):
    """In all spike times of one side, or of both, in both modes; relative to 1e-7."""
    kernel = EXACT[name]
    rng = np.random.default_rng(3)
    weights = jnp.asarray(rng.normal(size=(7, 7)))
    direction = jnp.asarray(rng.normal(size=X.times.shape))

    @jax.jit
    def along(s):
        x = moved(X, X.times + s * direction)
        cross = jnp.sum(weights[:, :5] * rs.gram_matrix(kernel, x, Y))
        return cross + jnp.sum(weights * rs.gram_matrix(kernel, x, x))

    h = 2e-4
    gap = lambda k: along(k * h) - along(-k * h)
    numeric = (45 * gap(1) - 9 * gap(2) + gap(3)) / (60 * h)
    forward = jax.jit(lambda: jax.jvp(along, (0.0,), (1.0,))[1])()
    np.testing.assert_allclose(forward, numeric, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(jax.jit(jax.grad(along))(0.0), forward, rtol=1e-9)


# Robust scaling of the Marcus lift takes long to compile.
CASES = [(rs.ItoLift(), "robust"), (rs.RampLift(), "robust"), (rs.MarcusLift(), "none")]


@pytest.mark.parametrize("lift, scaling", CASES)
def test_derivatives_in_the_parameters(lift, scaling: Any):
    """Heights of each neuron, and the dilation, which a robust scaling sees through a root."""

    @jax.jit
    def value(p):
        kernel = rs.SignatureKernel(
            p[:2],
            lifting=lift,
            dilation=p[2],
            scaling=scaling,
            order=7 if scaling == "robust" else 10,
        )
        return jnp.sum(rs.gram_matrix(kernel, X, Y) ** 2)

    p, h = jnp.array([0.4, 0.6, 1.6]), 1e-5
    numeric = [(value(p + h * e) - value(p - h * e)) / (2 * h) for e in jnp.eye(3)]
    np.testing.assert_allclose(jax.grad(value)(p), jnp.stack(numeric), rtol=1e-7)


@pytest.mark.parametrize("name", EXACT)
def test_derivatives_are_finite_at_the_edge(name):
    """Coincident spikes, spikes at 0 and at the end, silent trains."""
    lists = ([[0.5, 0.5], [0.5]], [[0.0, WINDOW], [WINDOW]], [[], []], [[0.0], [0.0, 0.0]])
    x = rs.SpikeTrain.stack(
        [rs.SpikeTrain.from_lists(t, t0=0.0, t1=WINDOW, max_spikes=4) for t in lists]
    )
    kernel = FITTED[name]
    value = lambda t: jnp.sum(rs.gram_matrix(kernel, moved(x, t), x))
    value, slope = jax.jit(jax.value_and_grad(value))(x.times)
    assert np.isfinite(value) and np.all(np.isfinite(slope))


@pytest.mark.parametrize("name", ["ito", "ramp", "point", "lag", "ordered"])
def test_float32(name):
    """Within some roundings of float64."""
    cast = lambda z: jax.tree.map(
        lambda a: a.astype(jnp.float32) if jnp.issubdtype(a.dtype, jnp.floating) else a, z
    )
    low = rs.gram_matrix(cast(FITTED[name]), cast(X), cast(Y))
    assert low.dtype == jnp.float32
    np.testing.assert_allclose(low, rs.gram_matrix(FITTED[name], X, Y), rtol=3e-5)


def test_lag_and_point_kernels_from_their_definitions():
    """Features by loops over spikes."""
    x = jax.tree.map(lambda a: a[1], X)
    lists = x.to_lists()
    point = rs.PointKernel(0.1, population=0.5, taper=0.2)
    weight = lambda s: min(1, (1 - s / WINDOW) / 0.2)
    centres = np.arange(-0.2, 1.25, 0.1)
    alone = np.array(
        [
            [sum(weight(s) * np.exp(-((s / WINDOW - c) ** 2) / 0.02) for s in t) for c in centres]
            for t in lists
        ]
    )
    expected = np.concatenate([alone, 0.5 * alone.sum(0)[None]]).reshape(-1)
    np.testing.assert_allclose(point.features(x), expected, rtol=1e-12)

    lag = rs.LagKernel(0.05, 0.3, bumps=2, taper=0.2)
    spacing = np.arcsinh(6.0) / 2
    bump = lambda d, c: np.exp(-((np.arcsinh(d / WINDOW / 0.05) / spacing - c) ** 2) / 2)

    def pairs(m, n, c):
        return sum(
            weight(s) * weight(t) * bump(t - s, c)
            for i, s in enumerate(lists[m])
            for j, t in enumerate(lists[n])
            if m != n or i != j
        )

    auto = [[pairs(m, m, c) for m in range(2)] for c in range(3)]
    cross = [pairs(0, 1, c) for c in range(-2, 3)]
    np.testing.assert_allclose(lag.features(x), [*np.reshape(auto, -1), *cross], rtol=1e-12)


def test_the_lag_kernel_is_gaussian_in_whitened_features():
    """Of bandwidth the mean square distance over the data."""
    data = batch(2, 12)
    kernel = rs.LagKernel(0.05).fitted(data)
    white = Whitening.of(jax.vmap(kernel.features)(data), kernel.shrinkage)
    x, y, z = (np.asarray(white(jax.vmap(kernel.features)(b))) for b in (X, Y, data))
    square = lambda a, b: np.sum((a[:, None] - b[None]) ** 2, -1)
    bandwidth = np.mean(square(z, z)[~np.eye(12, dtype=bool)])
    expected = np.exp(-square(x, y) / 2 / bandwidth)
    np.testing.assert_allclose(rs.gram_matrix(kernel, X, Y), expected, rtol=1e-10)


def test_many_neurons_are_mixed():
    """Twenty neurons: as many features as twelve mixtures have."""
    trains = [[[0.1 * n % 1.9] for n in range(20)], [[0.13 * n % 1.9] for n in range(20)]]
    x = rs.SpikeTrain.stack([rs.SpikeTrain.from_lists(t, t0=0.0, t1=WINDOW) for t in trains])
    features = jax.vmap(rs.LagKernel().features)(x)
    assert features.shape == (2, 7 * 20 + 13 * 78)
    assert np.all(np.isfinite(features))


def test_level_weights_are_moments_of_dilations():
    """Weights 1/(n+1) of level n: the mean over dilations with uniform squares (Cass et al.)."""
    nodes, weights = np.polynomial.legendre.leggauss(8)
    rho, weights = np.sqrt((nodes + 1) / 2), weights / 2
    plain = lambda r: rs.SignatureKernel(0.5, dilation=r, scaling="none", order=8)
    kernel = rs.SumKernel([plain(r) for r in rho.tolist()], weights)
    silent = rs.SpikeTrain.from_lists([[], []], t0=0.0, t1=WINDOW, max_spikes=1)
    # Time alone: levels 1/n!^2, with the weights the series of (I_1)(2).
    expected = sum(1 / (n + 1) / np.prod(np.arange(1, n + 1.0)) ** 2 for n in range(15))
    np.testing.assert_allclose(kernel(silent, silent), expected, rtol=1e-12)


def test_bad_input():
    with pytest.raises(ValueError, match="must not be negative"):
        rs.SumKernel((SIGNATURE, SIGNATURE), [1.0, -1.0])
    with pytest.raises(ValueError, match="one for each kernel"):
        rs.SumKernel((SIGNATURE, SIGNATURE), [1.0])
    with pytest.raises(TypeError, match="kernels of spike trains"):
        rs.ProductKernel(())
    with pytest.raises(ValueError, match="must not be negative"):
        rs.OrderedKernel(height=-1.0)
    wrong: Any = "ito"
    with pytest.raises(ValueError, match="`scaling` must be one of"):
        rs.SignatureKernel(scaling=wrong)
    with pytest.raises(TypeError, match="`lifting` must be"):
        rs.SignatureKernel(lifting=wrong)
    with pytest.raises(ValueError, match="`width` must be positive"):
        rs.RampLift(0.0)
    with pytest.raises(ValueError, match="must be larger than `resolution`"):
        rs.LagKernel(0.2, 0.1)
    with pytest.raises(ValueError, match="`megabytes` must be positive"):
        rs.gram_matrix(SIGNATURE, X, Y, megabytes=0.0)
    for kernel in (rs.PointKernel(), rs.LagKernel(), rs.OrderedKernel(), rs.SignatureKernel()):
        with pytest.raises(ValueError, match="kernel.fitted"):
            rs.gram_matrix(kernel, X, Y)
    with pytest.raises(ValueError, match="at least 3 trains"):
        rs.SumKernel((SIGNATURE, SIGNATURE)).fitted(jax.tree.map(lambda a: a[:2], X))
    with pytest.raises(ValueError, match=r"have shape \(2,\)"):
        rs.gram_matrix(rs.SignatureKernel([0.1, 0.2, 0.3]), X, Y)


def test_bad_trains():
    t, m = X.times, X.marks
    make = lambda t, m: rs.SpikeTrain(t, m, X.count, X.overflow, 0.0, WINDOW, 2)
    wrong = {
        "not in increasing order": make(t.at[1, :2].set(t[1, 1::-1]), m),
        "marks from": make(t, m.at[1, 0].set(2)),
        "outside of its window": make(t.at[1, -1].set(3.0), m),
        "must come last": make(t, m.at[1, 0].set(-1)),
    }
    for message, bad in wrong.items():
        with pytest.raises(ValueError, match=message):
            rs.gram_matrix(SIGNATURE, bad, Y)


def test_an_overflow_is_an_error():
    times = jnp.linspace(0.01, 1.99, 200, dtype=jnp.float32)[None]
    full = rs.SpikeTrain(
        times, jnp.zeros((1, 200), jnp.int32), jnp.array([200]), jnp.array([False]), 0.0, WINDOW, 1
    )
    kernel = rs.SignatureKernel(jnp.float32(3.0), scaling="none")
    with pytest.raises(ValueError, match="scaling='normalized' or 'robust'"):
        rs.gram_matrix(kernel, full, full)
