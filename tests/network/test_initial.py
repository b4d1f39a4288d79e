"""Initial states that are drawn."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from ..helpers import ENGINES
from .test_populations import Traces, lif

WINDOW = rs.Window(0.0, 0.3, 0.01)
RUN: Any = dict(window=WINDOW, key=jr.key(3), max_spikes=100)
# A neuron that keeps where it starts, but for its decay.
QUIET = rs.Population(400, rs.neurons.LIF(0.07), None)


def at_start(network, initial, engine=None, **options) -> rs.NetworkState:
    """The final state of neurons that did nothing but decay, undone."""
    run = RUN | options
    drive = jnp.zeros(network.num_neurons)
    sim = rs.simulate(network, drive, engine=engine, initial=initial, **run)
    return jax.tree.map(lambda x: x * np.exp(0.3 / 0.07), sim.final.state)


@pytest.mark.parametrize("engine", ENGINES)
def test_engines_draw_the_same(engine):
    """A simulation from what a function gives is one from these numbers."""
    net = rs.SpikingNetwork({"a": lif(3), "b": lif(2, 0.05)})
    drive, run = jnp.full(5, 1.6), RUN | dict(engine=ENGINES[engine])
    initial = {
        "a": {"v": jr.uniform, "syn": lambda key: 0.1 * jr.normal(key)},
        "b": {"s": lambda key: -jr.exponential(key), "v": jnp.array([0.3, 0.2])},
    }
    v = np.asarray(at_start(rs.SpikingNetwork({"a": QUIET}), {"v": jr.uniform})["v"][:3])
    drawn = rs.simulate(net, drive, initial=initial, **run)
    # The numbers of a part are those of its name, and no other part changes them.
    known = initial | {"a": initial["a"] | {"v": jnp.asarray(v)}}
    given = rs.simulate(net, drive, initial=known, **run)
    assert int(drawn.spikes.count) >= 5
    np.testing.assert_array_equal(drawn.spikes.marks, given.spikes.marks)
    np.testing.assert_allclose(drawn.spikes.times, given.spikes.times, rtol=1e-9)
    other = rs.simulate(net, drive, initial=initial, **(run | dict(key=jr.key(4))))
    assert abs(other.spikes.times[0] - drawn.spikes.times[0]) > 1e-4


def test_laws():
    """Means and variances over neurons, each of which has numbers of its own."""
    net = rs.SpikingNetwork({"a": QUIET, "b": QUIET})
    initial = {name: {"v": lambda key: 2.0 + 0.5 * jr.normal(key)} for name in "ab"}
    state = at_start(net, initial)
    for name in "ab":
        v = np.asarray(state[name]["v"])
        assert abs(v.mean() - 2.0) < 4 * 0.5 / 400**0.5
        assert abs(v.var(ddof=1) / 0.25 - 1) < 4 * (2 / 400) ** 0.5
    a, b = (np.asarray(state[name]["v"]) for name in "ab")
    assert abs(np.corrcoef(a, b)[0, 1]) < 4 / 400**0.5
    assert abs(np.corrcoef(a[1:], a[:-1])[0, 1]) < 4 / 400**0.5


def test_another_population_changes_nothing():
    """Nor does a neuron more, another window or a mirrored key."""
    draw = {"v": jr.uniform}
    quiet = lambda size: rs.Population(size, rs.neurons.LIF(0.07), None)
    one = at_start(rs.SpikingNetwork({"b": quiet(2)}), draw)["v"]
    net = rs.SpikingNetwork({"a": quiet(3), "b": quiet(3), "c": quiet(1)})
    more = at_start(net, {"b": draw, "c": draw})
    np.testing.assert_allclose(more["b"]["v"][:2], one, rtol=1e-12)
    assert np.all(np.asarray(more["a"]["v"]) == 0)
    assert np.min(np.abs(np.asarray(more["b"]["v"]) - np.asarray(more["c"]["v"]))) > 1e-6
    mirrored = at_start(net, {"b": draw}, key=rs.antithetic(RUN["key"]))
    np.testing.assert_allclose(mirrored["b"]["v"], more["b"]["v"], rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_gradients_in_what_a_function_has_captured(engine):
    """Against differences, of spike times, under jit and in a batch."""
    net = rs.SpikingNetwork(lif(3), weights=0.3 * ~np.eye(3, dtype=bool))

    def total(width):
        initial = {"v": lambda key: width * jr.uniform(key)}
        run = RUN | dict(engine=ENGINES[engine], initial=initial)

        def one(key):
            spikes = rs.simulate(net, jnp.full(3, 1.6), **(run | dict(key=key))).spikes
            return jnp.sum(jnp.where(spikes.marks >= 0, spikes.times, 0)), spikes.marks

        times, marks = jax.vmap(one)(jr.split(RUN["key"], 3))
        return jnp.sum(times), marks

    value = jax.jit(jax.value_and_grad(total, has_aux=True))
    h = 1e-5
    (below, before), _ = value(0.5 - h)
    (above, after), _ = value(0.5 + h)
    np.testing.assert_array_equal(before, after)
    assert np.sum(np.asarray(before) >= 0) >= 6
    slope = (above - below) / (2 * h)
    assert abs(float(slope)) > 1e-3
    np.testing.assert_allclose(value(0.5)[1], slope, rtol=1e-6)


@pytest.mark.slow
def test_states_with_arrays():
    """A neuron with an array in its state draws an array."""
    net = rs.SpikingNetwork({"a": rs.Population(50, Traces(jnp.array(0.07)), None)})
    initial = {"h": lambda key: jr.uniform(key, (3,))}
    sim = rs.simulate(net, jnp.zeros(50), initial=initial, **RUN)
    h = np.asarray(sim.final.state["h"]) * np.exp(0.3 / np.array([0.05, 0.1, 0.2]))
    assert h.shape == (50, 3)
    assert abs(h.mean() - 0.5) < 4 * (1 / 12 / 150) ** 0.5
    assert len(np.unique(np.round(h, 9))) == 150


def test_a_module_may_draw():
    class Uniform(eqx.Module):
        low: jax.Array

        def __call__(self, key):
            return self.low + jr.uniform(key)

    v = at_start(rs.SpikingNetwork(QUIET), {"v": Uniform(jnp.array(1.0))})["v"]
    assert 1.0 <= float(jnp.min(v)) < 1.1 and 1.9 < float(jnp.max(v)) <= 2.0


@pytest.fixture(scope="module")
def observed():
    """A network without noise, and two of its spikes."""
    firing = rs.StochasticFiring(rs.SoftplusIntensity(5.0), 0.03)
    net = rs.SpikingNetwork(rs.Population(1, rs.neurons.LIF(0.07), firing))
    return net, jnp.ones(1), rs.SpikeTrain.from_lists([[0.1, 0.2]], t0=0.0, t1=0.3)


def test_clamped_networks(observed):
    """A density is that from the state that the key draws."""
    net, drive, train = observed
    draw = {"v": lambda key: 0.5 + 0.3 * jr.normal(key)}
    v = np.asarray(at_start(rs.SpikingNetwork(QUIET), draw)["v"][:1])
    found = rs.clamp(net, drive, train, WINDOW, initial=draw, key=RUN["key"])
    known = rs.clamp(net, drive, train, WINDOW, initial={"v": jnp.asarray(v)})
    np.testing.assert_allclose(found.log_likelihood, known.log_likelihood, rtol=1e-9)
    with pytest.raises(
        ValueError, match="random initial states, which must be drawn: give a `key`"
    ):
        rs.clamp(net, drive, train, WINDOW, initial=draw)
    with pytest.raises(ValueError, match="has to be known here"):
        rs.testing.time_rescaling_test(train, net, drive, dt0=0.01, initial=draw)


WRONG: Any = {
    "a shape": (lambda key: jr.uniform(key, (2,)), ValueError, r"shape \(\), got float64 of shape"),
    "integers": (lambda key: jr.randint(key, (), 0, 3), ValueError, "must return the state of one"),
    "nothing": (lambda key: None, TypeError, r"\(key\)` must be a number or an array"),
    "no key": (lambda: 0.0, TypeError, r"must be a function `initial\['v'\]\(key\)`"),
    "a type": (float, TypeError, "must be a function"),
    "no number": (lambda key: jr.uniform(key) / 0.0, ValueError, "must be finite"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_mistakes_are_named(kind):
    fn, error, message = WRONG[kind]
    with pytest.raises(error, match=message):
        rs.simulate(rs.SpikingNetwork(lif(2)), jnp.zeros(2), initial={"v": fn}, **RUN)


def test_thresholds_must_be_negative():
    draw = {"s": lambda key: jr.uniform(key)}
    with pytest.raises(ValueError, match=r'`initial\["s"\]` must be negative'):
        rs.simulate(rs.SpikingNetwork(lif(2)), jnp.zeros(2), initial=draw, **RUN)
