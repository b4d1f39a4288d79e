"""Spikes that are missing are refused, or make nan of what depends on them and of nothing else."""

import dataclasses
import inspect
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import roughsnn as rs
from roughsnn._results import RESULTS

L, S = rs.losses, rs.scores
pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
WINDOW = rs.Window(0.0, 1.0, 0.02)
TS, TAU, LOST = np.array([0.2, 0.5, 0.9]), 0.1, 1
FIRING = rs.StochasticFiring(rs.ExponentialIntensity(0.0, 0.0, 0.1))
NETWORK = rs.SpikingNetwork(rs.Population(2, rs.neurons.LIF(0.2), FIRING))


@pytest.fixture(scope="module")
def runs():
    """Three simulated trials, and their clamped ones."""

    def one(key):
        drive = jnp.ones(2)
        train = rs.simulate(NETWORK, drive, WINDOW, max_spikes=60, key=key).spikes
        return train, rs.clamp(NETWORK, drive, train, WINDOW)

    return jax.jit(lambda: jax.vmap(one)(jax.random.split(jax.random.key(0), 3)))()


@pytest.fixture(scope="module")
def good(runs):
    return runs[0]


@pytest.fixture(scope="module")
def clamped(runs):
    return runs[1]


def overflowed(batch):
    """The middle trial has had no room for all of its spikes."""
    return dataclasses.replace(batch, overflow=jnp.arange(3) == LOST)


def each(fn):
    """A function of one train, for each of a batch."""
    trial = lambda batch, n: jax.tree.map(lambda x: x[n], batch)
    return lambda batch, missing: np.stack([fn(trial(batch, n), missing) for n in range(3)])


# What is nan: the row of the trial ("trial"), or all of it ("all").
FUNCTIONS: dict[str, tuple[str, Any]] = {
    "losses.counts": ("trial", each(lambda x, m: L.counts(x, missing=m))),
    "losses.binned_counts": (
        "trial",
        each(lambda x, m: L.binned_counts(x, [0.0, 1.0], missing=m)),
    ),
    "losses.filtered": ("trial", each(lambda x, m: L.filtered(x, TS, TAU, missing=m))),
    "losses.smoothed": ("trial", lambda x, m: L.smoothed(x, TS, TAU, missing=m)),
    "losses.behaviour": (
        "trial",
        lambda x, m: L.behaviour(x, np.ones((2, 1)), TS, TAU, missing=m),
    ),
    "losses.TrialFeatures": (
        "trial",
        lambda x, m: L.TrialFeatures.of(whole(x), TS, timescale=TAU)(x, missing=m),
    ),
    "losses.psth": ("all", lambda x, m: L.psth(x, TS, TAU, missing=m)),
    "losses.psth_distance": (
        "all",
        lambda x, m: L.psth_distance(x, whole(x), TS, TAU, missing=m),
    ),
    "losses.noise_covariance": ("all", lambda x, m: L.noise_covariance(x, TS, TAU, missing=m)),
    "losses.noise_correlation": (
        "all",
        lambda x, m: L.noise_correlation(x, TS, TAU, missing=m),
    ),
    "losses.covariance_distance": (
        "all",
        lambda x, m: L.covariance_distance(whole(x), x, TS, TAU, missing=m),
    ),
    "losses.rate_penalty": ("all", lambda x, m: L.rate_penalty(x, 10.0, missing=m)),
    "losses.first_spike_mae": ("all", lambda x, m: L.first_spike_mae(x, whole(x), 1, missing=m)),
    "losses.first_spike_mse": ("all", lambda x, m: L.first_spike_mse(whole(x), x, 1, missing=m)),
    "scores.psth_correlation": (
        "all",
        lambda x, m: S.psth_correlation(x, whole(x), TS, TAU, missing=m),
    ),
    "scores.isi_cv": ("all", lambda x, m: S.isi_cv(x, missing=m)),
    "scores.local_variation": ("all", lambda x, m: S.local_variation(x, missing=m)),
    "scores.fano_factor": ("all", lambda x, m: S.fano_factor(x, missing=m)),
    "scores.mean_rates": ("all", lambda x, m: S.mean_rates(x, missing=m)),
    "scores.bits_per_spike": ("all", lambda x, m: S.bits_per_spike(0.0, x, whole(x), missing=m)),
    "scores.bits_per_spike, training": (
        "all",
        lambda x, m: S.bits_per_spike(0.0, whole(x), x, missing=m),
    ),
}
# They have tests of their own below.
OTHERS = {"scores.intervals", "scores.rescaled_quantiles"}


def whole(batch):
    return dataclasses.replace(batch, overflow=jnp.zeros(3, bool))


def test_every_function_that_asks_what_to_do_is_here():
    asks = {
        f"{module.__name__.rpartition('.')[2]}.{name}"
        for module in (L, S)
        for name, fn in vars(module).items()
        if inspect.isfunction(fn) and "missing" in inspect.signature(fn).parameters
    }
    assert asks <= {*(name.partition(",")[0] for name in FUNCTIONS), *OTHERS}
    # Which of a batch of trains do not ask: they name what is missing, or take no trains.
    scores = {f"scores.{name}" for name, fn in vars(S).items() if inspect.isfunction(fn)}
    assert scores - asks == {"scores.explosions", "scores.connectivity_recovery"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_spikes_that_are_missing(name, good):
    what, call = FUNCTIONS[name]
    expected = np.asarray(call(good, "raise"))
    assert np.all(np.isfinite(expected))
    with pytest.raises(ValueError, match="spikes missing"):
        call(overflowed(good), "raise")
    found = np.asarray(call(overflowed(good), "nan"))
    assert found.shape == expected.shape
    if what == "trial":
        assert np.all(np.isnan(found[LOST]))
        kept = np.arange(3) != LOST
        np.testing.assert_allclose(found[kept], expected[kept], rtol=1e-12)
    else:
        assert np.all(np.isnan(found))
    np.testing.assert_allclose(call(good, "nan"), expected, rtol=1e-12)
    with pytest.raises(ValueError, match="`missing` must be 'raise' or 'nan', got 'skip'"):
        call(good, "skip")


def test_intervals_of_trials_with_spikes_missing(good):
    with pytest.raises(ValueError, match="spikes missing"):
        S.intervals(overflowed(good))
    with pytest.raises(ValueError, match="`missing` must be 'raise' or 'nan'"):
        S.intervals(good, missing="skip")  # pyright: ignore[reportArgumentType]
    for neuron, found in enumerate(S.intervals(overflowed(good), missing="nan")):
        parts = [np.diff(trial[neuron]) for trial in good.to_lists()]
        parts[LOST] = np.full(1, np.nan)
        np.testing.assert_allclose(found, np.concatenate(parts), rtol=1e-9)


def test_explosions_are_those_of_whole_recordings(good):
    with pytest.raises(ValueError, match="spikes missing"):
        S.explosions(good, overflowed(good))


@pytest.mark.parametrize("why", ["spikes missing", "failed"])
def test_quantiles_of_trials_that_are_not_known(why, good, clamped):
    """An interval that reaches into the next trial is not known either."""
    train, state = good, clamped
    if why == "failed":
        ending = lambda lost: RESULTS.where(lost, RESULTS.nonfinite_state, RESULTS.successful)
        result = jax.vmap(ending)(jnp.arange(3) == LOST)
        state = eqx.tree_at(lambda c: c.result, clamped, result)
    else:
        train = overflowed(good)
    with pytest.raises(ValueError, match=why):
        S.rescaled_quantiles(state, train)
    with pytest.raises(ValueError, match="`missing` must be 'raise' or 'nan'"):
        S.rescaled_quantiles(clamped, good, missing="skip")  # pyright: ignore[reportArgumentType]
    expected, found = (
        S.rescaled_quantiles(clamped, good),
        S.rescaled_quantiles(state, train, missing="nan"),
    )
    unknown = []
    for neuron in range(2):
        before, inside, behind = (len(trial[neuron]) for trial in good.to_lists())
        assert inside > 0 and behind > 1
        unknown += [False] * before + [True] * (inside + 1) + [False] * (behind - 1)
    np.testing.assert_array_equal(np.isnan(found), unknown)
    np.testing.assert_allclose(found[~np.array(unknown)], expected[~np.array(unknown)], rtol=1e-12)
