import dataclasses
from typing import Any

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs
from roughsnn.testing import time_rescaling_test

from .. import zoo
from ..helpers import lif_network, recurrent_network, recurrent_parameters

T1, DT = 12.0, 0.01


def drive(t):
    return jnp.array([1.5, 1.2, 1.0]) * (1 + 0.3 * jnp.sin(3 * t))


def sample(sigma):
    p = recurrent_parameters()
    network = recurrent_network(dict(p, sigma=jnp.asarray(sigma), alpha=jnp.asarray(0.3)))
    shape = (3, network["neurons"].channels)
    path = rs.BrownianPath(0.0, T1, DT, shape=shape, key=jr.key(1), interpolation="linear")
    path = path if shape[1] else None
    train = rs.simulate(
        network,
        drive,
        rs.Window(0.0, T1, DT),
        max_spikes=600,
        key=jr.key(1),
        noise=path,
        engine=rs.EventByEvent(),
    ).spikes
    return network, train, path


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [((), ()), ((0.3, 0.1), (0.05, 0.2))])
def test_a_train_passes_under_its_own_network_and_fails_under_others(sigma):
    network, train, path = sample(sigma)
    own = time_rescaling_test(train, network, drive, dt0=DT, noise=path)
    assert own.p_value > 0.01 and len(own.quantiles) == int(train.count) - 3 > 100
    # The mean of a uniform number, within 4 standard errors.
    assert abs(own.quantiles.mean() - 0.5) < 4 / np.sqrt(12 * len(own.quantiles))
    wrong = time_rescaling_test(train, network, lambda t: 0.7 * drive(t), dt0=DT, noise=path)
    assert wrong.p_value < 1e-4 and wrong.statistic > own.statistic
    uncoupled = rs.SpikingNetwork(network["neurons"])
    assert time_rescaling_test(train, uncoupled, drive, dt0=DT, noise=path).p_value < own.p_value


def test_the_rescaled_intervals_are_the_thresholds():
    """Constant intensity: the integrated hazard is the length of the interval."""
    firing = rs.StochasticFiring(rs.ExponentialIntensity(0.0, 0.0, 0.5), alpha=0.2)
    network = lif_network(firing)
    times = np.array([0.3, 0.9, 1.1, 2.0])
    train = rs.SpikeTrain.from_lists([times], t0=0.0, t1=3.0, max_spikes=6)
    found = time_rescaling_test(train, network, lambda t: jnp.ones(1), dt0=0.05)
    excess = np.maximum(2 * np.diff(times) - 0.2, 0)
    np.testing.assert_allclose(found.quantiles, np.sort(1 - np.exp(-excess)), atol=1e-12)
    # By hand: n = 3, quantiles 0.18, 0.63, 0.80.
    expected = max(
        np.max(np.arange(1, 4) / 3 - found.quantiles), np.max(found.quantiles - np.arange(3) / 3)
    )
    np.testing.assert_allclose(found.statistic, expected)


def test_neurons_are_told_apart_by_their_number():
    """Populations of which the first and the last are one array of the engines."""

    def flat(rate, alpha, neuron):
        firing = rs.StochasticFiring(rs.ExponentialIntensity(0.0, 0.0, 1 / rate), alpha)
        return rs.Population(1, neuron, firing)

    network = rs.SpikingNetwork(
        {
            "a": flat(2.0, 0.1, rs.neurons.LIF(0.2)),
            "b": flat(0.5, 0.0, rs.neurons.AdaptiveLIF(0.2, 0.5, 0.1)),
            "c": flat(1.0, 0.3, rs.neurons.LIF(0.2)),
        }
    )
    lists = [[0.3, 0.9, 1.1], [0.2, 1.7], [0.5, 1.9, 2.0]]
    train = rs.SpikeTrain.from_lists(lists, t0=0.0, t1=3.0, max_spikes=9)
    found = time_rescaling_test(train, network, {"a": jnp.ones(1)}, dt0=0.05)
    numbers = zip(lists, (2.0, 0.5, 1.0), (0.1, 0.0, 0.3), strict=True)
    excess = [np.maximum(rate * np.diff(t) - alpha, 0) for t, rate, alpha in numbers]
    expected = np.sort(1 - np.exp(-np.concatenate(excess)))
    np.testing.assert_allclose(found.quantiles, expected, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("neuron", ["GLIF5", "HistoryFilter"])
def test_neurons_with_memory_delays_and_refractory_times(neuron):
    network, window = zoo.delayed(neuron, noisy=False), rs.Window(0.0, 12.0, 0.005)
    level = zoo.MORE[neuron] * jnp.array([1.5, 1.3, 1.2, 1.1, 1.25])
    train = rs.simulate(network, level, window, key=jr.key(4), max_spikes=2000).spikes
    own = time_rescaling_test(train, network, level, dt0=0.005)
    assert own.p_value > 0.01 and len(own.quantiles) == int(train.count) - 5 > 150
    assert abs(own.quantiles.mean() - 0.5) < 4 / np.sqrt(12 * len(own.quantiles))
    assert time_rescaling_test(train, network, 0.8 * level, dt0=0.005).p_value < 1e-4
    # Behind a history all intervals are known.
    early, late = (train.window(*part) for part in ((0.0, 6.0), (6.0, 12.0)))
    behind = time_rescaling_test(late, network, level, dt0=0.005, history=early)
    assert behind.p_value > 0.01 and len(behind.quantiles) == int(late.count)


def test_p_values_are_uniform_under_the_model():
    rng = np.random.default_rng(0)
    from roughsnn._testing.rescaling import _kolmogorov

    p = np.array([_kolmogorov(np.sort(rng.uniform(size=50)))[1] for _ in range(2000)])
    for level in (0.05, 0.5):
        error = np.sqrt(level * (1 - level) / 2000)
        assert abs(np.mean(p < level) - level) < 4 * error + 0.01


def test_what_cannot_be_tested():
    network, train, _ = sample(((0.3, 0.1), (0.05, 0.2)))
    with pytest.raises(ValueError, match="give the `noise` that drove it"):
        time_rescaling_test(train, network, drive, dt0=DT)
    hard = lif_network(rs.HardThreshold(), size=3)
    with pytest.raises(TypeError, match="StochasticFiring"):
        time_rescaling_test(train, hard, drive, dt0=DT)
    single = rs.SpikeTrain.from_lists([[0.5]], t0=0.0, t1=1.0)
    with pytest.raises(ValueError, match="two spikes"):
        time_rescaling_test(single, lif_network(), lambda t: jnp.ones(1), dt0=DT)


SOFT = lif_network(size=2)
TRAIN = rs.SpikeTrain.from_lists([[0.2, 0.5], [0.3]], t0=0.0, t1=1.0)
PATH: dict[str, Any] = dict(t0=0.0, t1=1.0, dt=0.05, key=jr.key(0))
EARLY: dict[str, Any] = dict(t1=0.5)
BAD: dict[str, tuple[dict, str]] = {
    "no train": (dict(train=[0.2, 0.5]), "`train` must be a roughsnn.SpikeTrain"),
    "a batch": (dict(train=rs.SpikeTrain.stack([TRAIN])), "`train` must be one train"),
    "unsorted": (
        dict(train=dataclasses.replace(TRAIN, times=TRAIN.times[::-1])),
        "`train` has spike times that are not in increasing order",
    ),
    "of three neurons": (
        dict(train=dataclasses.replace(TRAIN, num_neurons=3)),
        "`train` must be of the 2 neurons of `network`, got 3",
    ),
    "spikes missing": (
        dict(train=dataclasses.replace(TRAIN, overflow=jnp.array(True))),
        "spikes missing",
    ),
    "a source without its spikes": (
        dict(network=rs.SpikingNetwork({"in": rs.Source(1), "neurons": SOFT["neurons"]})),
        "`inputs`",
    ),
    "no network": (dict(network=rs.neurons.LIF()), "`network` must be a roughsnn.SpikingNetwork"),
    "input of three neurons": (dict(drive=jnp.ones(3)), "`drive` must return .* 2 neurons"),
    "no input": (dict(drive=None), "`drive` must be an array"),
    "a word": (dict(dt0="short"), "`dt0` must be a number, got 'short'"),
    "no length": (dict(dt0=0.0), "`dt0` must be positive"),
    "a state of three neurons": (
        dict(initial={"v": jnp.zeros(3)}),
        r"`initial\['v'\]` must be a floating array of shape \(2,\)",
    ),
    "no state": (dict(initial=0.0), "`initial` must be a dictionary"),
    "no path": (dict(noise=jnp.ones(3)), "`noise` must be a roughsnn.Brownian, or a path like"),
    "a path of three neurons": (
        dict(noise=rs.BrownianPath(**PATH, shape=(3, 1))),
        r"`noise` must have values of shape \(neurons, channels\) = \(2, 0\), .* got \(3, 1\)",
    ),
    "a path that ends early": (
        dict(noise=rs.BrownianPath(**(PATH | EARLY), shape=(2, 0))),
        "The path must start at t0 and reach t1",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_arguments(kind):
    change, message = BAD[kind]
    given: dict[str, Any] = dict(train=TRAIN, network=SOFT, drive=jnp.ones(2), dt0=0.05) | change
    with pytest.raises((ValueError, TypeError), match=message):
        time_rescaling_test(**given)
