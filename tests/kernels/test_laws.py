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
    # Traced, it is the program of "ito".
    "dilated": rs.SignatureKernel(0.5, dilation=0.7, longest=1.0, order=4),
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
    return stacked(trains, room)


def stacked(trains, room: int) -> rs.SpikeTrain:
    made = [rs.SpikeTrain.from_lists(t, t0=0.0, t1=WINDOW, max_spikes=room) for t in trains]
    return jax.tree.map(lambda *z: jnp.asarray(np.stack(z)), *made)


def of_both(fn, x, y):
    """`fn` of the arrays of two batches."""
    return jax.tree.map(lambda a, b: jnp.asarray(fn(np.asarray(a), np.asarray(b))), x, y)


X = batch(0)
# The first two of the others are samples 0 and 3.
Y = of_both(lambda a, b: np.concatenate([a[[0, 3]], b[:3]]), X, batch(1, 5))
fitted = jax.jit(lambda kernels, data: {name: k.fitted(data) for name, k in kernels.items()})
FITTED = fitted(KERNELS, batch(2, 12))


def moved(x: rs.SpikeTrain, times) -> rs.SpikeTrain:
    times = jnp.where(x.marks >= 0, times, x.times)
    return rs.SpikeTrain(times, x.marks, x.count, x.overflow, x.t0, x.t1, x.num_neurons)


@jax.jit
def gram_matrices(kernel, x, y):
    """Of x, of both, of both in small blocks of wider trains, and one pair."""
    pick = lambda z, n: jax.tree.map(lambda a: a[n], z)
    tight = rs.gram_matrix(kernel, x.with_room(9), y, megabytes=1e-3)
    one = kernel(pick(x, 2), pick(y, 3))
    return rs.gram_matrix(kernel, x, x), rs.gram_matrix(kernel, x, y), tight, one


@pytest.mark.parametrize("name", KERNELS)
def test_gram_matrices(name):
    """Symmetric, positive, the same by pairs and in blocks, whatever the padding."""
    kernel = FITTED[name]
    gram, cross, tight, one = jax.device_get(gram_matrices(kernel, X, Y))
    np.testing.assert_allclose(gram, gram.T, rtol=1e-14)
    assert np.linalg.eigvalsh(gram).min() > -1e-10 * gram.max()
    np.testing.assert_allclose(cross[:, :2], gram[:, [0, 3]], rtol=1e-10)
    # Padding cuts a segment of the ramp's path, which changes what its series leave out.
    np.testing.assert_allclose(tight, cross, rtol=1e-8 if name == "ramp" else 1e-10)
    np.testing.assert_allclose(cross[2, 3], one, rtol=1e-10)
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
    off = ~np.eye(12, dtype=bool)

    @jax.jit
    def parts(data):
        kernel = rs.SumKernel((rs.PointKernel(0.1), SIGNATURE)).fitted(data)
        assert kernel.weights is not None
        return kernel.weights, [rs.gram_matrix(part, data, data) for part in kernel.kernels]

    weights, grams = jax.device_get(parts(data))
    for weight, gram in zip(weights, grams, strict=True):
        gram = np.where(off, weight * gram, 0)
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
    found = jax.jit(lambda z: Whitening.of(z, 0.3)(z))(features)
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)


# Derivatives by a second sweep are those of the kernel, not of a truncated series.
EXACT = {
    "ito": rs.SignatureKernel(jnp.array([0.2, 0.7]), order=7),
    "marcus": rs.SignatureKernel(jnp.array([0.2, 0.7]), lifting=rs.MarcusLift(), order=7),
    **{name: FITTED[name] for name in ("ramp", "ordered", "point", "lag")},
}


@jax.jit
def derivatives(kernel, x, y, steps):
    """Of a sum over pairs, x with y and x with x, in the spike times of x: the direction, values at
    steps along it, the derivative by a forward and the gradient by a backward sweep."""
    rng = np.random.default_rng(3)
    weights = jnp.asarray(rng.normal(size=(7, 7)))
    direction = jnp.asarray(rng.normal(size=x.times.shape))

    def value(times):
        z = moved(x, times)
        cross = jnp.sum(weights[:, :5] * rs.gram_matrix(kernel, z, y))
        return cross + jnp.sum(weights * rs.gram_matrix(kernel, z, z))

    values = jax.lax.map(lambda s: value(x.times + s * direction), steps)
    _, forward = jax.linearize(value, x.times)
    (backward,) = jax.linear_transpose(forward, x.times)(1.0)
    return direction, values, forward(direction), backward


H = 2e-4
STEPS = H * np.array([-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0])


@pytest.mark.slow
@pytest.mark.parametrize("name", EXACT)
def test_derivatives_agree_with_differences(name):
    """In all spike times of one side, or of both, in both modes; relative to 1e-7."""
    direction, values, forward, backward = jax.device_get(derivatives(EXACT[name], X, Y, STEPS))
    numeric = values @ np.array([-1, 9, -45, 0, 45, -9, 1]) / (60 * H)
    np.testing.assert_allclose(forward, numeric, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(np.sum(backward * direction), forward, rtol=1e-9)


@pytest.mark.parametrize("name", EXACT)
def test_derivatives_are_finite_at_the_edge(name):
    """Coincident spikes, spikes at 0 and at the end, silent trains."""
    lists = ([[0.5, 0.5], [0.5]], [[0.0, WINDOW], [WINDOW]], [[], []], [[0.0], [0.0, 0.0]])
    # As many trains as in the other test, for which everything is compiled.
    x, y = (stacked((lists * 2)[:n], 6) for n in (7, 5))
    _, values, forward, backward = jax.device_get(derivatives(EXACT[name], x, y, 0 * STEPS))
    assert np.all(np.isfinite(values)) and np.isfinite(forward)
    assert np.all(np.isfinite(backward))


# Robust scaling of the Marcus lift takes long to compile.
CASES = [(rs.ItoLift(), "robust"), (rs.RampLift(), "robust"), (rs.MarcusLift(), "none")]


@pytest.mark.slow
@pytest.mark.parametrize("lift, scaling", CASES)
def test_derivatives_in_the_parameters(lift, scaling: Any):
    """Heights of each neuron, and the dilation, which a robust scaling sees through a root."""
    order = 7 if scaling == "robust" else 10
    # One batch, so that its trains are lifted once; the pairs wanted are those of X with Y.
    both = of_both(lambda a, b: np.concatenate([a, b]), X, Y)

    @jax.value_and_grad
    def value(p):
        kernel = rs.SignatureKernel(
            p[:2], lifting=lift, dilation=p[2], scaling=scaling, order=order
        )
        return jnp.sum(rs.gram_matrix(kernel, both, both)[:7, 7:] ** 2)

    p, h, e = np.array([0.4, 0.6, 1.6]), 1e-5, np.eye(3)
    points = np.concatenate([p[None], p + h * e, p - h * e])
    values, slopes = jax.device_get(jax.jit(lambda p: jax.lax.map(value, p))(points))
    numeric = (values[1:4] - values[4:]) / (2 * h)
    np.testing.assert_allclose(slopes[0], numeric, rtol=1e-7)


@pytest.mark.parametrize("name", ["ito", "ramp", "point", "lag", "ordered"])
def test_float32(name):
    """Within some roundings of float64."""
    lower = lambda a: np.asarray(a, np.float32 if a.dtype == np.float64 else a.dtype)
    cast = lambda z: jax.tree.map(lambda a: jnp.asarray(lower(a)), z)
    low = jax.jit(rs.gram_matrix)(cast(FITTED[name]), cast(X), cast(Y))
    assert low.dtype == jnp.float32
    np.testing.assert_allclose(low, gram_matrices(FITTED[name], X, Y)[1], rtol=3e-5)


def test_lag_and_point_kernels_from_their_definitions():
    """Features by loops over spikes."""
    x = jax.tree.map(lambda a: jnp.asarray(np.asarray(a)[1]), X)
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
    np.testing.assert_allclose(jax.jit(point.features)(x), expected, rtol=1e-12)

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
    features = jax.jit(lag.features)(x)
    np.testing.assert_allclose(features, [*np.reshape(auto, -1), *cross], rtol=1e-12)


def test_the_lag_kernel_is_gaussian_in_whitened_features():
    """Of bandwidth the mean square distance over the data."""
    data = batch(2, 12)

    @jax.jit
    def whitened(batches):
        kernel = rs.LagKernel(0.05).fitted(data)
        x, y, z = (jax.vmap(kernel.features)(b) for b in batches)
        white = Whitening.of(z, kernel.shrinkage)
        return [white(features) for features in (x, y, z)], rs.gram_matrix(kernel, *batches[:2])

    (x, y, z), gram = jax.device_get(whitened((X, Y, data)))
    square = lambda a, b: np.sum((a[:, None] - b[None]) ** 2, -1)
    bandwidth = np.mean(square(z, z)[~np.eye(12, dtype=bool)])
    expected = np.exp(-square(x, y) / 2 / bandwidth)
    np.testing.assert_allclose(gram, expected, rtol=1e-10)


def test_many_neurons_are_mixed():
    """Twenty neurons: as many features as twelve mixtures have."""
    trains = [[[0.1 * n % 1.9] for n in range(20)], [[0.13 * n % 1.9] for n in range(20)]]
    features = jax.jit(jax.vmap(rs.LagKernel().features))(stacked(trains, 20))
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
    found = jax.jit(lambda x, y: kernel(x, y))(silent, silent)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


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
    with pytest.raises(ValueError, match="`scaling` must be"):
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
