"""Networks of several populations."""

from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from ..helpers import ENGINES
from ..zoo import NEURONS, SYNAPSES

FIRING = rs.StochasticFiring(rs.ExponentialIntensity(beta=5.0), 0.03)
WINDOW = rs.Window(0.0, 0.5, 0.01)
RUN: Any = dict(window=WINDOW, key=jr.key(2), max_spikes=100)


def lif(size: int, tau: float = 0.07, ports=("syn",)) -> rs.Population:
    """Leaky neurons with noise on both."""
    synapses = {name: SYNAPSES["Exponential"]((0.0, 0.2)) for name in ports}
    neuron = rs.neurons.LIF(tau, rs.Subtract(1.2), (0.2, 0.0))
    return rs.Population(size, neuron, FIRING, synapses)


def spikes_of(sim: rs.Simulation, first: int, size: int) -> list[np.ndarray]:
    """The spike times of the neurons from `first` on."""
    times, marks = np.asarray(sim.spikes.times), np.asarray(sim.spikes.marks)
    return [np.sort(times[marks == first + k]) for k in range(size)]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_populations_of_one_structure_are_one_population(engine):
    """Two populations with blocks of weights, as matrices or as lists, spike as one population
    with the whole matrix does; without noise, which is that of the names."""
    rng = np.random.default_rng(0)
    w, tau = rng.normal(size=(4, 4)) * 0.5 * ~np.eye(4, dtype=bool), np.array([0.07, 0.05])
    synapses = {"syn": SYNAPSES["Exponential"](None)}
    kind = lambda size, tau: rs.Population(
        size, rs.neurons.LIF(tau, rs.Subtract(1.2)), rs.HardThreshold(1.0), synapses
    )
    parts = {"a": kind(2, tau[0]), "b": kind(2, tau[1])}
    blocks = [
        rs.Projection(a, b, w[n : n + 2, m : m + 2])
        for n, a in ((0, "a"), (2, "b"))
        for m, b in ((0, "a"), (2, "b"))
    ]
    lists = [
        rs.Projection(p.pre, p.post, rs.SparseWeights.from_dense(np.asarray(p.effective())))
        for p in blocks
    ]
    drive = jnp.array([2.0, 1.7, 1.9, 1.8])
    run = RUN | dict(engine=ENGINES[engine])
    whole = rs.simulate(rs.SpikingNetwork(kind(4, np.repeat(tau, 2)), weights=w), drive, **run)
    assert int(whole.spikes.count) >= 6
    for projections in (blocks, lists):
        net = rs.SpikingNetwork(parts, projections)
        for c in (drive, {"b": drive[2:], "a": drive[:2]}):
            found = rs.simulate(net, c, **run).spikes
            np.testing.assert_array_equal(found.marks, whole.spikes.marks)
            np.testing.assert_allclose(found.times, whole.spikes.times, rtol=1e-9)


@pytest.mark.slow
def test_another_population_changes_nothing():
    """Numbers are those of the name and the neuron in it."""
    alone = rs.simulate(rs.SpikingNetwork({"b": lif(2)}), jnp.full(2, 2.0), **RUN)
    more = rs.SpikingNetwork({"a": lif(3, 0.05), "b": lif(3), "c": lif(1)})
    sim = rs.simulate(more, {"b": jnp.full(3, 2.0), "a": jnp.full(3, 1.5)}, **RUN)
    for a, b in zip(spikes_of(alone, 0, 2), spikes_of(sim, 3, 2), strict=True):
        assert len(a) >= 1
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_populations_have_noise_and_thresholds_of_their_own():
    """Of one structure and under one drive."""
    net = rs.SpikingNetwork({"a": lif(1), "b": lif(1)})
    sim = rs.simulate(
        net,
        jnp.full(2, 2.0),
        engine=rs.Lockstep(record={"a": {"v": "cells"}, "b": {"v": "cells"}}),
        **RUN,
    )
    v = [np.asarray(sim.states[name]["v"][:5, 0]) for name in ("a", "b")]
    assert np.max(np.abs(v[0] - v[1])) > 1e-3
    (a,), (b,) = spikes_of(sim, 0, 1), spikes_of(sim, 1, 1)
    assert len(a) and len(b) and abs(a[0] - b[0]) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_layers_without_a_loop(engine):
    """What a first layer sends is known when a second one steps: given as the spikes of a source,
    it does the same."""
    rng = np.random.default_rng(1)
    w = rng.normal(size=(6, 3))
    first = rs.Population(6, rs.neurons.LIF(0.05), FIRING)
    net = rs.SpikingNetwork({"in": first, "out": lif(3)}, [rs.Projection("in", "out", w)])
    drive = {"in": jnp.full(6, 2.0), "out": jnp.full(3, 1.2)}
    sim = rs.simulate(net, drive, engine=ENGINES[engine], **RUN)
    sent = rs.SpikeTrain.from_lists(spikes_of(sim, 0, 6), t0=0.0, t1=0.5)
    fed = rs.SpikingNetwork({"in": rs.Source(6), "out": lif(3)}, net.projections)
    again = rs.simulate(
        fed, {"out": drive["out"]}, engine=ENGINES[engine], inputs={"in": sent}, **RUN
    )
    # The event engine ends a step at a spike of a source, and is cut short by one of its own.
    rtol = 1e-9 if engine == "lockstep" else 2e-3
    for a, b in zip(spikes_of(sim, 6, 3), spikes_of(again, 0, 3), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol)
    assert int(again.spikes.count) >= 4
    np.testing.assert_allclose(
        sim.final.state["out"]["v"], again.final.state["out"]["v"], rtol=rtol
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_ports_are_apart(engine):
    """A slow and a fast port of one neuron: their potentials add up."""
    ports = {"fast": SYNAPSES["Exponential"](None), "slow": SYNAPSES["Alpha"](None)}
    pop = rs.Population(2, NEURONS["LIF"](None), None, ports)
    train = rs.SpikeTrain.from_lists([[0.033], [0.111]], t0=0.0, t1=0.5)

    def final(fast: float, slow: float):
        net = rs.SpikingNetwork(
            {"in": rs.Source(2), "out": pop},
            [
                rs.Projection("in", "out", [[fast, 0.0], [0.2, 0.3]], "fast"),
                rs.Projection("in", "out", [[slow, 0.1], [0.0, 0.5]], "slow"),
            ],
        )
        run = RUN | dict(engine=ENGINES[engine], inputs={"in": train})
        return rs.simulate(net, jnp.zeros(2), **run).final.state["out"]["v"]

    both, fast, slow, none = final(0.7, 0.4), final(0.7, 0.0), final(0.0, 0.4), final(0.0, 0.0)
    assert abs(float(both[0] - none[0])) > 1e-3
    np.testing.assert_allclose(both - none, (fast - none) + (slow - none), atol=1e-12)


def test_poisson_populations():
    """Counts are Poisson, and the derivative of their mean in the rate is the length."""
    keys = jr.split(jr.key(0), 2000)

    def counts(rate):
        net = rs.SpikingNetwork({"p": rs.Poisson(2, rate)})
        one = lambda key: rs.simulate(net, jnp.zeros(2), WINDOW, key=key, max_spikes=60).spikes
        return jax.vmap(one)(keys).count / 2

    n = np.asarray(jax.jit(counts)(12.0), float)
    error = n.std(ddof=1) / len(n) ** 0.5
    assert abs(n.mean() - 6.0) < 4 * error
    # The variance of the mean of two counts is half of the mean.
    assert abs(n.var(ddof=1) / 3.0 - 1) < 5 * (2 / len(n)) ** 0.5


@pytest.mark.parametrize("engine", ENGINES)
def test_autapses(engine):
    """A neuron that excites itself by a slow current spikes more."""
    pop = rs.Population(
        1, NEURONS["LIF"](None), rs.HardThreshold(1.0), {"syn": SYNAPSES["Alpha"](None)}
    )

    def count(w: float) -> int:
        own = rs.Projection("n", "n", [[w]], autapses=True)
        net = rs.SpikingNetwork({"n": pop}, [own])
        run = RUN | dict(engine=ENGINES[engine])
        return int(rs.simulate(net, jnp.array([1.3]), **run).spikes.count)

    assert count(0.5) > count(0.0) > 0


class Traces(rs.AbstractLinearNeuron):
    """A leaky neuron, and three traces of its own spikes in one array."""

    tau: jax.Array

    def initial(self):
        return {"v": jnp.zeros(()), "h": jnp.zeros(3)}

    def drift(self, t, x, current):
        return {"v": (current - x["v"]) / self.tau, "h": -x["h"] / jnp.array([0.05, 0.1, 0.2])}

    def spike(self, x):
        return {"v": x["v"] - 1.0, "h": x["h"] + 1.0}

    def potential(self, x):
        return x["v"] - 0.1 * jnp.sum(x["h"])


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_states_with_arrays(engine):
    """A state with an array for each neuron, in two populations of one structure: named, it is that
    of a network of the one population, and with the spikes it is known."""
    one, other = (rs.Population(n, Traces(jnp.array(0.07)), FIRING) for n in (2, 1))
    run = RUN | dict(engine=ENGINES[engine])
    both = rs.SpikingNetwork({"a": one, "b": other})
    sim = rs.simulate(both, jnp.array([1.8, 1.6, 1.9]), **run)
    alone = rs.simulate(rs.SpikingNetwork({"b": other}), jnp.array([1.9]), **run)
    found = sim.final.state["b"]["h"]
    assert sim.final.state["a"]["h"].shape == (2, 3) and found.shape == (1, 3)
    # Event by event a step ends at spikes of others, too.
    rtol = 1e-12 if engine == "lockstep" else 1e-3
    np.testing.assert_allclose(found, alone.final.state["b"]["h"], rtol=rtol)
    (times,) = spikes_of(alone, 0, 1)
    assert len(times) >= 2
    ages = 0.5 - times[:, None]
    np.testing.assert_allclose(found[0], np.exp(-ages / [0.05, 0.1, 0.2]).sum(0), rtol=2e-3)


def test_programs_do_not_grow_with_projections():
    """64 projections among 8 populations make a loop over cells of the size of one's."""

    def equations(populations: int) -> int:
        names = [f"p{k}" for k in range(populations)]
        w = np.ones((2, 2)) * ~np.eye(2, dtype=bool)
        net = rs.SpikingNetwork(
            {name: lif(2) for name in names},
            [rs.Projection(a, b, w) for a in names for b in names],
        )
        run = lambda c: rs.simulate(net, c, throw=False, **RUN).spikes.times
        jaxpr = jax.make_jaxpr(run)(jnp.zeros(2 * populations))
        return max(_loops(jaxpr.jaxpr))

    assert equations(8) <= 1.05 * equations(1)


def _loops(jaxpr) -> list[int]:
    """The numbers of equations of all loops in a program."""
    found = [0]
    for eqn in jaxpr.eqns:
        for value in jax.tree.leaves(
            list(eqn.params.values()), is_leaf=lambda x: hasattr(x, "jaxpr")
        ):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                found += _loops(inner)
                if eqn.primitive.name == "scan":
                    found.append(_size(inner))
    return found


def _size(jaxpr) -> int:
    inner = 0
    for eqn in jaxpr.eqns:
        for value in jax.tree.leaves(
            list(eqn.params.values()), is_leaf=lambda x: hasattr(x, "jaxpr")
        ):
            part = getattr(value, "jaxpr", value)
            inner += _size(part) if hasattr(part, "eqns") else 0
    return len(jaxpr.eqns) + inner


class Unnamed(Traces):
    """A state that is no more than a number."""

    tau: jax.Array = eqx.field(default_factory=lambda: jnp.ones(()))

    def initial(self) -> Any:
        return jnp.zeros(())


class Counting(rs.AbstractNeuron):
    """A state with a number that is not floating, or with nothing in it."""

    tau: jax.Array = eqx.field(default_factory=lambda: jnp.ones(()))
    other: Any = eqx.field(static=True, default=0)

    def initial(self) -> Any:
        other = jnp.zeros((), jnp.int32) if self.other == 0 else self.other
        return {"v": jnp.zeros(()), "n": other}

    def drift(self, t, x, current):
        return {"v": current - x["v"], "n": x["n"]}

    def spike(self, x):
        return x

    def potential(self, x):
        return x["v"]


class CountingSynapse(rs.synapses.Exponential):
    def initial(self) -> Any:
        return jnp.zeros((), jnp.int32)


WRONG = {
    "a state of integers": (
        lambda: rs.Population(2, Counting(), FIRING),
        "state of `neuron` must be of floating numbers, .* got int32",
    ),
    "a state with an empty part": (
        lambda: rs.Population(2, Counting(other=()), FIRING),
        r"state of `neuron` has a part \(\) that holds nothing",
    ),
    "a port with a state of integers": (
        lambda: rs.Population(2, rs.neurons.LIF(), FIRING, {"a": cast(Any, CountingSynapse)(1.0)}),
        r"state of `ports\['a'\]` must be of floating numbers",
    ),
    "no such population": (
        lambda: rs.SpikingNetwork({"a": lif(2)}, [rs.Projection("a", "b", np.zeros((2, 2)))]),
        "'b' is no population",
    ),
    "no such port": (
        lambda: rs.SpikingNetwork(
            {"a": lif(2)}, [rs.Projection("a", "a", np.zeros((2, 2)), "exc")]
        ),
        "'exc' is no port of 'a'",
    ),
    "which port": (
        lambda: rs.SpikingNetwork(
            {"a": lif(2, ports=("exc", "inh"))}, [rs.Projection("a", "a", np.zeros((2, 2)))]
        ),
        "must name a port",
    ),
    "no ports": (
        lambda: rs.SpikingNetwork(
            rs.Population(2, rs.neurons.LIF(), FIRING), weights=np.zeros((2, 2))
        ),
        "has no ports",
    ),
    "sizes": (
        lambda: rs.SpikingNetwork(
            {"a": lif(2), "b": lif(3)}, [rs.Projection("a", "b", np.zeros((3, 2)))]
        ),
        r"must have shape \(2, 3\)",
    ),
    "onto a source": (
        lambda: rs.SpikingNetwork(
            {"a": lif(2), "s": rs.Source(1)}, [rs.Projection("a", "s", np.zeros((2, 1)))]
        ),
        "takes no spikes",
    ),
    "parameters of another size": (
        lambda: rs.Population(2, rs.neurons.LIF(np.ones(3)), FIRING),
        r"`tau` must have shape \(\) or \(2,\)",
    ),
    "a port named like a state": (
        lambda: rs.Population(2, rs.neurons.LIF(), FIRING, {"v": SYNAPSES["Alpha"](None)}),
        "names",
    ),
    "a state without names": (
        lambda: rs.Population(2, Unnamed(), FIRING),
        "must have named parts",
    ),
    "only sources": (lambda: rs.SpikingNetwork({"s": rs.Source(1)}), "at least one"),
    "autapses unasked for": (
        lambda: rs.Projection("a", "a", np.eye(2)),
        "autapses=True",
    ),
    "weights for several": (
        lambda: rs.SpikingNetwork({"a": lif(2), "b": lif(2)}, weights=np.zeros((2, 2))),
        "single population",
    ),
    "a drive for no population": (
        lambda: rs.simulate(rs.SpikingNetwork({"a": lif(2)}), {"b": jnp.zeros(2)}, **RUN),
        "in `drive`",
    ),
    "no train for a source": (
        lambda: rs.simulate(
            rs.SpikingNetwork({"a": lif(2), "s": rs.Source(1)}), jnp.zeros(2), **RUN
        ),
        r"none for \['s'\]",
    ),
    "a record of no part": (
        lambda: rs.simulate(
            rs.SpikingNetwork({"a": lif(2), "b": lif(2)}),
            jnp.zeros(4),
            engine=rs.Lockstep(record={"a": {"u": "cells"}}),
            **RUN,
        ),
        "'u' is no part of the state of 'a'",
    ),
    "an initial state of no part": (
        lambda: rs.simulate(
            rs.SpikingNetwork({"a": lif(2)}), jnp.zeros(2), initial={"u": jnp.zeros(2)}, **RUN
        ),
        "no part of the state",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_mistakes_are_named(kind):
    make, message = WRONG[kind]
    with pytest.raises(ValueError, match=message):
        make()
