import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import roughsnn as rs

from ..helpers import lif_network

# pyright: reportArgumentType=false

S = rs.scores
pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
T1, TS = 2.0, jnp.asarray(np.linspace(0.1, 2.0, 20))


def batch(seed=0, trials=40, rates=(5.0, 20.0, 0.0), clock=False):
    """Poisson trains, or nearly regular ones."""
    rng, out = np.random.default_rng(seed), []
    for _ in range(trials):
        trial = [np.sort(rng.uniform(0, T1, rng.poisson(r * T1))) for r in rates]
        if clock:
            trial = [np.arange(rng.uniform(0, 1 / r), T1, 1 / r) if r else [] for r in rates]
        out.append(trial)
    return stacked(out)


def stacked(trials):
    """A batch with room for the longest of them, made without a program for each length."""
    room = max(1, *(sum(map(len, trial)) for trial in trials))
    made = [rs.SpikeTrain.from_lists(trial, t0=0.0, t1=T1, max_spikes=room) for trial in trials]
    return jax.tree.map(lambda *z: np.stack(z), *made)


def test_poisson_trains():
    x = batch(trials=200)
    cv, lv, fano = S.isi_cv(x), S.local_variation(x), S.fano_factor(x)
    for score in (cv, fano):
        assert score.shape == (3,) and np.isnan(score[2])
    # Four standard errors; within a window long intervals are missing.
    np.testing.assert_allclose(cv[1], 1, atol=0.1)
    np.testing.assert_allclose(lv[1], 1, atol=0.1)
    np.testing.assert_allclose(fano[:2], 1, atol=4 * (2 / 200) ** 0.5)
    counts = np.array([[len(n) for n in t] for t in x.to_lists()])
    np.testing.assert_allclose(fano[:2], (counts.var(0) / np.maximum(counts.mean(0), 1e-9))[:2])
    np.testing.assert_allclose(S.mean_rates(x), counts.mean(0) / T1)


def test_regular_trains():
    x = batch(clock=True)
    assert np.all(S.isi_cv(x)[:2] < 1e-6) and np.all(S.local_variation(x)[:2] < 1e-6)
    found = S.intervals(x)
    np.testing.assert_allclose(found[1], 1 / 20, rtol=1e-5)
    assert len(found[2]) == 0


def test_psth_correlation():
    x = batch()
    np.testing.assert_allclose(S.psth_correlation(x, x, TS, 0.1)[:2], 1, rtol=1e-9)
    assert np.isnan(S.psth_correlation(x, x, TS, 0.1)[2])
    a, b = (np.asarray(rs.losses.psth(z, TS, 0.1))[:, 0] for z in (x, batch(1)))
    np.testing.assert_allclose(
        S.psth_correlation(x, batch(1), TS, 0.1)[0], np.corrcoef(a, b)[0, 1], rtol=1e-9
    )


def free_runs(net, drive, dt0, room, key=0):
    """A few simulations, some of which fail."""
    one = lambda k: rs.simulate(
        net, drive, rs.Window(0.0, T1, dt0), max_spikes=room, key=k, throw=False
    )
    return jax.jit(lambda: jax.vmap(one)(jax.random.split(jax.random.key(key), 3)))()


def poisson(rate):
    firing = rs.StochasticFiring(rs.ExponentialIntensity(0.0, 0.0, 1 / rate))
    return rs.SpikingNetwork(rs.Population(1, rs.neurons.LIF(1.0), firing))


def test_explosions_of_trains():
    y = batch(rates=(5.0,))
    assert S.explosions(y, y) == S.Explosions(0, 0, 0, 0)
    loud = batch(rates=(200.0,), trials=10)
    mixed = stacked(y.to_lists()[:30] + loud.to_lists())
    assert S.explosions(mixed, y) == S.Explosions(0.25, 0, 0, 0)
    with pytest.raises(TypeError, match="`x` must be a roughsnn.SpikeTrain"):
        S.explosions(y.to_lists(), y)


# Recorded: 5 spikes a second. A rate, the length of a cell, the room, the factor, and what is said.
CAUSES = {
    "ran away": (100.0, 0.002, 1000, 3.0, S.Explosions(1, 0, 0, 0)),
    "ran away, out of capacity": (100.0, 0.002, 90, 3.0, S.Explosions(1, 0, 0, 0)),
    "out of capacity": (100.0, 0.002, 90, 100.0, S.Explosions(0, 0, 1, 0)),
    "not followed": (60.0, 0.1, 1000, 100.0, S.Explosions(0, 1, 0, 0)),
}


@pytest.mark.parametrize("case", CAUSES)
def test_explosions_tell_causes_apart(case):
    rate, dt0, room, factor, expected = CAUSES[case]
    y, sims = batch(rates=(5.0,)), free_runs(poisson(rate), jnp.ones(1), dt0, room)
    assert S.explosions(sims, y, factor=factor) == expected
    if np.any(np.asarray(sims.spikes.overflow)):
        with pytest.raises(ValueError, match="they do not say why"):
            S.explosions(sims.spikes, y)


def test_connectivity_recovery():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(30, 30)) * (rng.uniform(size=(30, 30)) < 0.2)
    np.fill_diagonal(truth, 0)
    perfect = S.connectivity_recovery(truth, truth)
    assert (perfect.correlation, perfect.auroc, perfect.sign) == pytest.approx((1, 1, 1))
    assert perfect.mean_error == 0
    noise = rng.normal(size=truth.shape)
    found = S.connectivity_recovery(truth + 0.5 * noise, truth)
    off = ~np.eye(30, dtype=bool)
    size, there = np.abs(truth + 0.5 * noise)[off], truth[off] != 0
    wins = (size[there][:, None] > size[~there][None]).mean()
    assert found.auroc == pytest.approx(wins) and 0.5 < found.auroc < 1
    assert 0.4 < found.correlation < 0.9
    chance = S.connectivity_recovery(noise, truth)
    # Four standard errors of the Mann-Whitney statistic.
    n, m = there.sum(), (~there).sum()
    assert abs(chance.auroc - 0.5) < 4 * ((n + m + 1) / (12 * n * m)) ** 0.5
    assert np.isnan(S.connectivity_recovery(noise, np.zeros((30, 30))).auroc)
    assert S.connectivity_recovery(truth.tolist(), jnp.asarray(truth)) == perfect
    # Between two populations all pairs count.
    whole = S.connectivity_recovery(noise[:, :20], truth[:, :20])
    assert whole.mean_error == pytest.approx(np.abs(noise - truth)[:, :20].mean())
    square = S.connectivity_recovery(noise, truth, diagonal=True)
    assert square.mean_error == pytest.approx(np.abs(noise - truth).mean())
    for given, message in (
        ((noise, truth[:5]), "matrices of one shape"),
        ((noise[:1, :1], truth[:1, :1]), "at least two pairs of neurons"),
        ((np.nan * noise, truth), "`weights` must be finite"),
        ((noise, np.inf * noise), "`truth` must be finite"),
        (("heavy", truth), "`weights` must be a number or an array of numbers, got 'heavy'"),
        ((noise, 1j * truth), "`truth` must be a number or an array of numbers, got complex"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            S.connectivity_recovery(*given)


def test_bits_per_spike():
    training, held_out = batch(rates=(5.0, 20.0)), batch(1, 10, rates=(5.0, 20.0))
    rates = S.mean_rates(training)
    counts = S.mean_rates(held_out) * 10 * T1
    own = (counts * np.log(rates) - rates * 10 * T1).sum()
    assert S.bits_per_spike(own, held_out, training) == pytest.approx(0, abs=1e-12)
    better = S.bits_per_spike(own + counts.sum() * np.log(2), held_out, training)
    assert better == pytest.approx(1)
    with pytest.raises(ValueError, match=r"\[0\] are silent in the training"):
        S.bits_per_spike(0.0, held_out, batch(rates=(0.0, 20.0)))
    with pytest.raises(ValueError, match="have no spikes"):
        S.bits_per_spike(0.0, batch(rates=(0.0,)), batch(rates=(1.0,)))


NO_BITS: dict[str, tuple[dict, str]] = {
    "one number too many": (dict(log_likelihood=np.zeros(11)), r"10 held-out trials.* \(11,\)"),
    "transposed": (dict(log_likelihood=np.zeros((2, 10))), r"10 held-out trials.* \(2, 10\)"),
    "no numbers": (dict(log_likelihood=np.zeros(0)), r"`log_likelihood` must .* \(0,\)"),
    "a word": (dict(log_likelihood="large"), "`log_likelihood` must be a number or an array"),
    "none": (dict(log_likelihood=None), "`log_likelihood` must be a number or an array"),
    "nan": (dict(log_likelihood=np.nan), "`log_likelihood` is nan: a simulation failed"),
    "one nan": (dict(log_likelihood=np.r_[np.zeros(9), np.nan]), "`log_likelihood` is nan"),
    "held out of other neurons": (
        dict(held_out=batch(1, 10, rates=(5.0,))),
        "`held_out` and `training` must be of the same neurons, got 1 and 2",
    ),
    "trained on other neurons": (
        dict(training=batch(rates=(5.0, 20.0, 1.0))),
        "`held_out` and `training` must be of the same neurons, got 2 and 3",
    ),
    "lists": (dict(training=[[0.1], [0.2]]), "`training` must be a roughsnn.SpikeTrain"),
}


@pytest.mark.parametrize("kind", NO_BITS)
def test_bits_that_cannot_be_counted(kind):
    change, message = NO_BITS[kind]
    pair = dict(held_out=batch(1, 10, rates=(5.0, 20.0)), training=batch(rates=(5.0, 20.0)))
    with pytest.raises((ValueError, TypeError), match=message):
        S.bits_per_spike(**(dict(log_likelihood=0.0) | pair | change))
    if kind.endswith("nan"):
        assert np.isnan(S.bits_per_spike(**(pair | change), missing="nan"))


@pytest.mark.parametrize("shape", [(), (10,), (2,), (10, 2)])
def test_bits_of_parts_add_up(shape):
    held_out, training = batch(1, 10, rates=(5.0, 20.0)), batch(rates=(5.0, 20.0))
    parts = np.random.default_rng(0).normal(size=shape)
    expected = S.bits_per_spike(float(parts.sum()), held_out, training)
    assert S.bits_per_spike(parts, held_out, training) == pytest.approx(expected)
    assert S.bits_per_spike(parts.tolist(), held_out, training) == pytest.approx(expected)


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_rescaled_intervals_are_uniform_under_the_model_and_not_under_another(alpha):
    weights = np.array([[0.0, 0.8], [-0.5, 0.0]])

    def network(threshold):
        firing = rs.StochasticFiring(rs.ExponentialIntensity(4.0, threshold, 0.3), alpha)
        return lif_network(firing, weights, mu=(8.0, 4.0), reset=1.2)

    drive = lambda t: 1.2 + 0.5 * jnp.sin(6 * t + jnp.arange(2.0))
    one = lambda key: (
        rs.simulate(network(1.0), drive, rs.Window(0.0, 1.0, 0.01), max_spikes=40, key=key).spikes
    )
    trials = jax.jit(lambda: jax.vmap(one)(jax.random.split(jax.random.key(1), 300)))()

    @jax.jit
    def clamped(trials, threshold):
        return jax.vmap(
            lambda t: rs.clamp(network(threshold), drive, t, rs.Window(t.t0, t.t1, 0.01))
        )(trials)

    def quantiles(threshold):
        found = clamped(trials, threshold)
        return S.rescaled_quantiles(found, trials, alpha=alpha), np.asarray(found.quantiles)

    bad: Any = clamped(trials, 1.0)
    for given, message in (
        ((bad, trials, "none"), "`alpha` must be a number or an array of numbers"),
        ((bad, trials, np.zeros(3)), "`alpha` must be a number that is not negative, or 2"),
        ((bad, trials, -0.1), "`alpha` must be a number that is not negative, or 2"),
        ((bad, trials, np.nan), "`alpha` must be a number that is not negative, or 2"),
        ((None, trials, 0.0), "`clamped` must be what roughsnn.clamp returns"),
        ((bad, jax.tree.map(lambda x: x[:5], trials), 0.0), "`clamped` must be of the trials"),
        ((bad, dataclasses.replace(trials, num_neurons=3), 0.0), "`clamped` must be of the 3"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            S.rescaled_quantiles(given[0], given[1], alpha=given[2])

    right, cut = quantiles(1.0)
    number = len(right)
    assert number == np.asarray(trials.count).sum() > 800
    assert scipy.stats.kstest(right, "uniform").pvalue > 0.01
    # Without the rests of the trials long intervals are missing.
    four = 4 / (12 * number) ** 0.5
    assert abs(right.mean() - 0.5) < four < 0.5 - np.nanmean(cut)
    assert scipy.stats.kstest(quantiles(1.2)[0], "uniform").pvalue < 1e-6
