"""The maximum mean discrepancy, its estimators, scores and tests."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs
from roughsnn._loss.two_sample import permutation_test

KERNEL = rs.PointKernel(0.2, bandwidth=1.0)


def draw(key, samples: int, rate: float = 4.0) -> rs.SpikeTrain:
    """Poisson trains of two neurons; some are silent."""
    gaps = jr.exponential(key, (samples, 2, 12)) / rate
    times = jnp.cumsum(gaps, -1).reshape(samples, -1)
    order = jnp.argsort(times, axis=1)
    times = jnp.take_along_axis(times, order, 1)[:, :16]
    there = times < 1
    marks = jnp.where(there, order[:, :16] // 12, -1).astype(jnp.int32)
    return rs.SpikeTrain(
        jnp.where(there, times, jnp.inf),
        marks,
        jnp.sum(there, 1, dtype=jnp.int32),
        jnp.zeros(samples, bool),
        0.0,
        1.0,
        2,
    )


X, Y, Z = jax.jit(lambda: (draw(jr.key(0), 12), draw(jr.key(1), 9, 6.0), draw(jr.key(5), 4)))()


def error_of_mean(samples: np.ndarray) -> float:
    return samples.std(ddof=1) / len(samples) ** 0.5


def by_hand(gram_xx, gram_xy, gram_yy):
    off = lambda k: (k.sum() - np.trace(k)) / (len(k) * (len(k) - 1))
    return off(gram_xx) + off(gram_yy) - 2 * gram_xy.mean()


def test_the_estimators_by_hand():

    @jax.jit
    def estimators(x, y):
        grams = [rs.gram_matrix(KERNEL, a, b) for a, b in ((x, x), (x, y), (y, y))]
        prepared = rs.losses.Reference(y, KERNEL)
        biased = rs.losses.mmd(x, y, kernel=KERNEL, unbiased=False)
        in_blocks = rs.losses.mmd(x, y, kernel=KERNEL, block_size=3)
        value = rs.losses.mmd(x, y, kernel=KERNEL)
        return grams, value, rs.losses.mmd(x, prepared), biased, in_blocks

    (xx, xy, yy), value, prepared, biased, in_blocks = jax.device_get(estimators(X, Y))
    np.testing.assert_allclose(value, by_hand(xx, xy, yy), rtol=1e-12)
    np.testing.assert_allclose(prepared, value, rtol=1e-12)
    np.testing.assert_allclose(biased, xx.mean() + yy.mean() - 2 * xy.mean(), rtol=1e-12)
    blocks = [by_hand(xx[a][:, a], xy[a][:, a], yy[a][:, a]) for a in np.arange(9).reshape(3, 3)]
    np.testing.assert_allclose(in_blocks, np.mean(blocks), rtol=1e-12)


def test_scores_and_witness_by_hand():
    """The mean score of the data is the MMD less what the data have in common."""

    @jax.jit
    def found(x, y, z):
        score = lambda recorded: rs.losses.kernel_score(x, recorded, kernel=KERNEL)
        grams = [rs.gram_matrix(KERNEL, a, b) for a, b in ((y, y), (z, x), (z, y))]
        pick = lambda n: jax.tree.map(lambda a: a[n], y)
        scores = [score(pick(n)) for n in range(9)]
        mmd = rs.losses.mmd(x, y, kernel=KERNEL)
        return grams, scores, score(y), mmd, rs.losses.witness(z, x, y, kernel=KERNEL)

    (yy, to_x, to_y), scores, score, mmd, witness = jax.device_get(found(X, Y, Z))
    own = (yy.sum() - np.trace(yy)) / 72
    np.testing.assert_allclose(np.mean(scores), mmd - own, rtol=1e-10)
    np.testing.assert_allclose(score, np.mean(scores), rtol=1e-10)
    np.testing.assert_allclose(witness, to_x.mean(1) - to_y.mean(1), rtol=1e-10)


def test_a_kernel_score_is_proper():
    """On average the model of the data's law scores better than two others."""

    def score(rate, key):
        a, b = jr.split(key)
        recorded = jax.tree.map(lambda z: z[0], draw(b, 1))
        return rs.losses.kernel_score(draw(a, 6, rate), recorded, kernel=KERNEL)

    @jax.jit
    def run(rate):
        keys = jr.split(jr.key(2), 1500)
        return jax.lax.map(lambda k: score(rate, k), keys, batch_size=100)

    right = np.asarray(run(4.0))
    for rate in (2.0, 8.0):
        gap = np.asarray(run(rate)) - right
        assert gap.mean() > 3 * error_of_mean(gap)


@pytest.mark.slow
def test_the_default_loss_is_unbiased():
    """Zero on average for two samples of one law, and its gradient: scales come from both sides.

    (From one side alone they make that side more typical: the bias is several standard errors.)
    """

    def value(rate, key, kernel=None):
        a, b = jr.split(key)
        x, y = draw(a, 6, rate), draw(b, 6)
        kernel = rs.losses.default_kernel() if kernel is None else kernel.fitted(y)
        return rs.losses.mmd(x, y, kernel=kernel)

    def run(fn):
        keys = jax.jit(lambda: jr.split(jr.key(3), 600))()
        return jax.device_get(jax.jit(lambda k: jax.lax.map(fn, k, batch_size=50))(keys))

    both = run(lambda k: jax.jvp(lambda r: value(r, k), (4.0,), (1.0,)))
    for found in both:
        assert abs(found.mean()) < 3.5 * error_of_mean(found)
    one_sided = run(lambda k: value(4.0, k, rs.losses.default_kernel()))
    assert one_sided.mean() > 8 * error_of_mean(one_sided)


def test_identical_and_silent_trains():
    kernel = rs.losses.default_kernel()
    empty = rs.SpikeTrain.from_lists([[], []], t0=0.0, t1=1.0, max_spikes=16)
    # As many as there are in X, for which all is compiled then.
    silent = jax.tree.map(lambda z: np.stack([np.asarray(z)] * 12), empty)

    @jax.jit
    def value_and_slope(x, y):
        moved = lambda t: rs.SpikeTrain(t, x.marks, x.count, x.overflow, 0.0, 1.0, 2)
        return jax.value_and_grad(lambda t: rs.losses.mmd(moved(t), y, kernel=kernel))(x.times)

    for x, y in ((X, X), (silent, silent), (X, silent)):
        value, slope = value_and_slope(x, y)
        assert np.isfinite(value) and np.all(np.isfinite(slope))


def test_the_two_sample_test_has_its_level_and_power():
    """p-values of equal laws are uniform (a chi-square in ten bins), and small for another rate."""

    def p_value(rate):
        def one(keys):
            a, b, c = jr.split(keys, 3)
            x, y, kernel = draw(a, 10), draw(b, 8, rate), rs.PointKernel(0.3)
            return rs.losses.two_sample_test(x, y, kernel=kernel, permutations=99, key=c).p_value

        return jax.lax.map(one, jr.split(jr.key(6), 500))

    p_value = jax.jit(p_value)
    counts, _ = np.histogram(p_value(4.0), bins=np.arange(0.005, 1.01, 0.1))
    # The 99.9 % quantile for nine degrees of freedom.
    assert np.sum((counts - 50) ** 2 / 50) < 27.9
    assert np.mean(np.asarray(p_value(10.0)) <= 0.05) > 0.7


def test_the_permutation_statistic_is_the_mmd():

    @jax.jit
    def found(x, y):
        both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), x, y)
        test = permutation_test(rs.gram_matrix(KERNEL, both, both), 12, 49, jr.key(0))
        return test, rs.losses.mmd(x, y, kernel=KERNEL)

    test, mmd = found(X, Y)
    np.testing.assert_allclose(test.statistic, mmd, rtol=1e-10)
    assert 0.02 <= test.p_value <= 1 and test.null.shape == (49,)


def test_bad_input():
    first = jax.tree.map(lambda a: np.asarray(a)[:1], X)
    with pytest.raises(ValueError, match="at least 2 samples"):
        rs.losses.mmd(first, Y, kernel=KERNEL)
    with pytest.raises(ValueError, match="spikes missing"):
        cut = rs.SpikeTrain(X.times, X.marks, X.count, X.count > 5, 0.0, 1.0, 2)
        rs.losses.mmd(cut, Y, kernel=KERNEL)
    with pytest.raises(ValueError, match="that of the Reference"):
        rs.losses.mmd(X, rs.losses.Reference(Y, KERNEL), kernel=KERNEL)
    with pytest.raises(ValueError, match="`block_size` must be at most"):
        rs.losses.mmd(X, Y, kernel=KERNEL, block_size=10)
    with pytest.raises(ValueError, match="`x` must hold at least two trials"):
        rs.losses.two_sample_test(first, Y, key=jr.key(0))
    with pytest.raises(ValueError, match="same window"):
        rs.losses.mmd(X, rs.losses.Reference(jax.vmap(lambda z: z.only([0]))(Y), KERNEL))
