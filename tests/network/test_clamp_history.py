"""The likelihood of what comes behind a history."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

T0, DT = 0.4, 0.005
WHOLE = rs.Window(0.0, 1.0, DT)
SPIKES = [[0.051, 0.222, 0.3471, 0.52, 0.8], [0.15, 0.392, 0.61, 0.777]]
LEVEL = jnp.array([1.2, 1.1])


def network(alpha=0.0, delay=0.03) -> rs.SpikingNetwork:
    firing = rs.StochasticFiring(rs.ExponentialIntensity(3.0, 1.0, 0.2), alpha)
    neuron = rs.neurons.AdaptiveLIF(0.07, 0.2, 0.3, rs.Subtract(0.8))
    ports = {"syn": rs.synapses.Exponential(0.05)}
    part = rs.Population(2, neuron, firing, ports, refractory=0.011)
    weights = [[0.0, 0.6], [-0.5, 0.0]]
    return rs.SpikingNetwork({"a": part}, [rs.Projection("a", "a", weights, delay=delay)])


def train(spikes=SPIKES) -> rs.SpikeTrain:
    return rs.SpikeTrain.from_lists(spikes, t0=0.0, t1=1.0)


def wave(t):
    return LEVEL + 0.3 * jnp.sin(3 * t)


def given_history(spikes=SPIKES, net=None, **options: Any) -> rs.Clamped:
    whole, net = train(spikes), network() if net is None else net
    fixed: Any = dict(history=whole.window(0.0, T0)) | options
    return rs.clamp(net, wave, whole.window(T0, 1.0), rs.Window(T0, 1.0, DT), **fixed)


@pytest.mark.parametrize("alpha", [0.0, 0.05, 1.5])
def test_the_density_of_all_is_that_of_the_history_times_the_rest(alpha):
    """A history is a train whose neurons survive its end."""
    net = network(alpha)
    rest, every = given_history(net=net), rs.clamp(net, wave, train(), WHOLE)
    before = rs.clamp(net, wave, train().window(0.0, T0), rs.Window(0.0, T0, DT))
    assert rest.spikes.t0 == T0 and int(rest.spikes.count) == 4
    together = before.log_likelihood + rest.log_likelihood
    np.testing.assert_allclose(together, every.log_likelihood, rtol=1e-10)
    np.testing.assert_allclose(rest.hazards[:4], every.hazards[5:], rtol=1e-10)
    np.testing.assert_allclose(rest.last_hazards, every.last_hazards, rtol=1e-10)


def test_quantiles_are_those_of_what_is_left_of_an_interval():
    rest = given_history()
    before = rs.clamp(network(), wave, train().window(0.0, T0), rs.Window(0.0, T0, DT))
    # In the order 0.52 (0), 0.61 (1), 0.777 (1), 0.8 (0).
    survived = before.last_hazards[jnp.array([0, 1])]
    since = np.array(rest.hazards[:4]) - np.array([survived[0], survived[1], 0, 0])
    np.testing.assert_allclose(rest.quantiles[:4], 1 - np.exp(-since), rtol=1e-10)
    assert np.all(np.isnan(rest.quantiles[4:]))


@pytest.mark.slow
def test_spikes_of_the_history_have_derivatives():
    """Also what they sent that arrives behind it."""

    def value(shift):
        moved = train()
        times = jnp.where(moved.times == 0.392, moved.times + shift, moved.times)
        moved = rs.SpikeTrain(times, moved.marks, moved.count, moved.overflow, 0.0, 1.0, 2)
        fixed: Any = dict(history=moved.window(0.0, T0))
        last = rs.clamp(network(), wave, moved.window(T0, 1.0), rs.Window(T0, 1.0, DT), **fixed)
        return jnp.sum(last.log_likelihood)

    e = 1e-6
    slope = jax.jit(jax.grad(value))(0.0)
    np.testing.assert_allclose(slope, (value(e) - value(-e)) / (2 * e), rtol=1e-6)
    assert abs(slope) > 0.1


@pytest.mark.slow
def test_late_spikes_at_its_end_and_none_at_all():
    """Two spikes in its last cell: the second gets a cell behind it."""
    late = [[0.3951, 0.3983, 0.5], []]
    fine = given_history(late, net=short())
    found = rs.clamp(
        short(),
        wave,
        train(late).window(T0, 1.0),
        rs.Window(T0, 1.0, DT / 8),
        history=train(late).window(0.0, T0),
    )
    np.testing.assert_allclose(fine.log_likelihood, found.log_likelihood, atol=0.01)
    silent = given_history([[0.6], [0.7]])
    np.testing.assert_allclose(
        silent.log_likelihood + np.array([before_silent(k) for k in range(2)]),
        rs.clamp(network(), wave, train([[0.6], [0.7]]), WHOLE).log_likelihood,
        rtol=1e-10,
    )


def before_silent(k: int) -> float:
    nothing = rs.SpikeTrain.from_lists([[], []], t0=0.0, t1=T0)
    return float(rs.clamp(network(), wave, nothing, rs.Window(0.0, T0, DT)).log_likelihood[k])


def short() -> rs.SpikingNetwork:
    """Without refractory times."""
    firing = rs.StochasticFiring(rs.ExponentialIntensity(3.0, 1.0, 0.2))
    neuron = rs.neurons.LIF(0.07, rs.Subtract(0.8))
    return rs.SpikingNetwork(rs.Population(2, neuron, firing))


@pytest.mark.slow
def test_hidden_neurons_and_noise_run_through_it():
    """From its start; the log-likelihood takes it, too."""
    whole = train([[0.1, 0.3, 0.7], []]).only([0])
    parts: Any = dict(observed=[0], history=whole.window(0.0, T0), key=jr.key(0), max_spikes=50)
    window = rs.Window(T0, 1.0, DT)
    found = rs.clamp(network(), wave, whole.window(T0, 1.0), window, **parts)
    every = rs.clamp(network(), wave, whole, WHOLE, observed=[0], key=jr.key(0), max_spikes=50)
    hidden = np.asarray(every.spikes.times)[np.asarray(every.spikes.marks) == 1]
    got = np.asarray(found.spikes.times)[np.asarray(found.spikes.marks) == 1]
    np.testing.assert_allclose(got, hidden[hidden >= T0], rtol=1e-12)
    np.testing.assert_allclose(found.hazards[0], every.hazards[2], rtol=1e-10)
    parts |= dict(samples=3, check_step=False)
    value = rs.log_likelihood(network(), wave, whole.window(T0, 1.0), window, **parts)
    assert np.all(np.isfinite(value.samples))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h.window(0.0, 0.3), r"must end where the window begins, .* ends before it"),
        (lambda h: train().window(0.0, 0.6), r"\[0.0, 0.6\], and overlaps the window"),
        (lambda h: train().window(0.38, T0), r"a delay is up to 0.03"),
        (lambda h: train().window(0.1234, T0), r"whole number of cells long"),
        (lambda h: h.only([0]), r"of the neurons of the train: it has 1, the train 2"),
        (lambda h: None if h is None else h.times, r"must be a roughsnn.SpikeTrain"),
    ],
)
def test_histories_that_are_none(change, message):
    whole = train()
    with pytest.raises((ValueError, TypeError), match=message):
        rs.clamp(
            network(),
            wave,
            whole.window(T0, 1.0),
            rs.Window(T0, 1.0, DT),
            history=change(whole.window(0.0, T0)),
        )
