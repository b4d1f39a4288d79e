"""Paths, losses and the oracle, outside of `jit`: a second call with other numbers compiles
nothing. Simulations and solves are in `tests/solve/test_compiled_once.py`, fits in `tests/fit`.

Soft matching is not there: ott-jax makes its loops anew at each call, and in a program of our own
its derivative would be taken where it has lost the precision that we give it."""

from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

_compiled = []


def _listen(event: str, duration_secs: float, **_: Any) -> None:
    if event.endswith("backend_compile_duration"):
        _compiled.append(duration_secs)


jax.monitoring.register_event_duration_secs_listener(_listen)

GRID: Any = dict(t0=0.0, t1=0.4, dt=0.02, shape=(3, 2))
TS = jnp.linspace(0.08, 0.4, 5)
TYPES = jnp.array([0, 1, 1])


def trains(shift) -> rs.SpikeTrain:
    """Three trains of two neurons, moved by `shift`."""
    lists = [[[0.05 + 0.01 * n, 0.2], [0.11, 0.13 + 0.02 * n]] for n in range(3)]
    batch = rs.SpikeTrain.stack([rs.SpikeTrain.from_lists(x, t0=0.0, t1=0.4) for x in lists])
    times = batch.times + shift
    return rs.SpikeTrain(times, batch.marks, batch.count, batch.overflow, 0.0, 0.4, 2)


DATA = trains(0.0)
FIRST = jax.tree.map(lambda x: x[0], DATA)
POINT = rs.PointKernel().fitted(DATA)
REFERENCE = rs.losses.Reference(DATA, rs.losses.default_kernel().fitted(DATA))
MEAN = rs.losses.SignatureMean.of([DATA], depth=2, directions=1)
FEATURES = rs.losses.TrialFeatures.of(DATA, TS, timescale=0.1, groups=[0, 1])
OWN = FEATURES(DATA)


def first(x):
    return jax.tree.map(lambda x: x[0], x)


def two_sample(x):
    return rs.losses.two_sample_test(x, DATA, kernel=POINT, permutations=3, key=jr.key(0)).statistic


# Functions of a batch of trains, and of a key or a number.
OF_TRAINS = {
    "mmd": lambda x: rs.losses.mmd(x, DATA),
    "mmd to a reference": lambda x: rs.losses.mmd(x, REFERENCE),
    "mmd in blocks": lambda x: rs.losses.mmd(x, REFERENCE, block_size=3),
    "kernel score": lambda x: rs.losses.kernel_score(x, x, kernel=POINT),
    "witness": lambda x: rs.losses.witness(x, DATA, trains(0.01), kernel=POINT),
    "two samples": two_sample,
    "expected signature": lambda x: rs.losses.expected_signature(x, MEAN, allow_jumps=True),
    "signature features": lambda x: rs.losses.signature_features(x, depth=2, directions=1),
    "signature mmd": lambda x: rs.losses.signature_mmd(x, DATA),
    "first spikes": lambda x: rs.losses.first_spike_mse(x, DATA, 1),
    "smoothed": lambda x: rs.losses.smoothed(x, TS, 0.1),
    "psth": lambda x: rs.losses.psth_distance(x, DATA, TS, 0.1),
    "covariance": lambda x: rs.losses.covariance_distance(x, DATA, TS, 0.1, lags=(0, 1)),
    "correlation": lambda x: rs.losses.noise_correlation(x, TS, 0.1),
    "matched": lambda x: rs.losses.matched_distance(FEATURES(x), OWN),
    "matched correlation": lambda x: rs.losses.matched_correlation(FEATURES(x), OWN),
    "nearest types": lambda x: rs.losses.nearest_types(FEATURES(x), OWN, TYPES),
    "behaviour": lambda x: rs.losses.behaviour(x, jnp.ones((2, 1)), TS, 0.1),
    "filtered": lambda x: rs.losses.filtered(first(x), TS, 0.1),
    "marcus lift": lambda x: rs.marcus_lift(first(x)),
    "gram matrix": lambda x: rs.gram_matrix(POINT, x, DATA),
    "window": lambda x: first(x).window(0.1, 0.3).times,
    "neurons": lambda x: first(x).only([1]).times,
    "per neuron": lambda x: first(x).per_neuron(2),
    "ties": lambda x: first(x).ties().astype(float) + first(x).times,
}
OF_KEYS = {
    "Brownian": lambda key: rs.BrownianPath(**GRID, key=key).increments,
    "linear": lambda key: rs.BrownianPath(**GRID, key=key, interpolation="linear").increments,
    "later": lambda key: rs.BrownianPath(**GRID, key=key, first=7).increments,
    "fractional": lambda key: rs.fractional_path(**GRID, key=key, hurst=0.4).increments,
    "coloured": lambda key: rs.coloured_path(**GRID, key=key, timescale=0.1).increments,
    "Ornstein-Uhlenbeck": lambda key: (
        rs.ornstein_uhlenbeck_path(**GRID, key=key, timescale=0.1).increments
    ),
    "shared": lambda key: (
        rs.correlated(rs.BrownianPath(**GRID, key=key), factor=jnp.ones((2, 3))).increments
    ),
    "coarsened": lambda key: rs.coarsened(rs.BrownianPath(**GRID, key=key), 2).increments,
    "Poisson": lambda key: (
        rs.poisson_spikes(0.0, 0.4, rates=jnp.full(3, 9.0), max_spikes=20, key=key).times
    ),
    "jumps": lambda key: (
        rs.compound_poisson_path(
            0.0, 0.4, intensity=5.0, jump=jump, max_jumps=9, key=key
        ).jump_times
    ),
}


def jump(key):
    return jr.normal(key, (2,))


def second_call(fn, one, other):
    """What two calls return, and how many programs the second one made."""
    found = np.asarray(fn(one))
    # What the reading of results needs.
    np.asarray(jax.block_until_ready(other if isinstance(other, jax.Array) else other.times))
    _compiled.clear()
    again = np.asarray(fn(other))
    return found, again, len(_compiled)


@pytest.mark.parametrize("name", OF_TRAINS)
def test_functions_of_trains(name):
    found, again, number = second_call(OF_TRAINS[name], trains(0.001), trains(0.003))
    assert number == 0
    assert name == "nearest types" or not np.array_equal(found, again)


@pytest.mark.parametrize("name", OF_KEYS)
def test_functions_of_keys(name):
    keys = [jr.key(n) for n in range(2)]
    [jr.key_data(key).block_until_ready() for key in keys]
    found = np.asarray(OF_KEYS[name](keys[0]))
    _compiled.clear()
    again = np.asarray(OF_KEYS[name](keys[1]))
    assert not _compiled
    assert not np.array_equal(found, again)


TERM = dfx.ODETerm(lambda t, y, args: 3 * args - y)
EVENT = rs.Event(lambda t, y, args: y[:1] - 1, lambda t, y, args, k, u: y - 1.0)


def test_the_oracle():
    def solve(c):
        return rs.reference_solve(
            TERM,
            rs.Window(0.0, 0.4, 0.02),
            jnp.zeros(2),
            c,
            event=EVENT,
            max_events=4,
            key=jr.key(0),
            solver=dfx.Tsit5(),
        ).y1

    found, again, number = second_call(solve, jnp.asarray(1.0), jnp.asarray(1.1))
    assert number == 0 and not np.array_equal(found, again)
