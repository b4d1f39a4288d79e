"""Short-term plasticity: spikes that are as strong as earlier ones let them be."""

from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jaxtyping import Array, Float

import roughsnn as rs
from roughsnn._engine import launch, spread
from roughsnn._model.layout import layout_of
from roughsnn._model.links import links_of

from ..helpers import ENGINES, check_along_a_direction, compilations, set_limit, smooth

FIRING = rs.StochasticFiring(rs.ExponentialIntensity(beta=5.0), 0.03)
RNG = np.random.default_rng(7)
WEIGHTS = RNG.normal(size=(4, 4)) * 1.5 * (1 - np.eye(4))
EACH = RNG.uniform(0.015, 0.09, (4, 4))
LISTS = rs.SparseWeights([[1, 2], [0, 3], [3, -1], [0, 1]], RNG.normal(size=(4, 2)) * 1.8)
WIDE = RNG.normal(size=(2, 4)) * 1.5
DRIVE = np.array([1.9, 1.8, 1.7, 1.6])
TRAIN = rs.SpikeTrain.from_lists(
    [[0.11, 0.13, 0.3, 0.35], [0.052, 0.09, 0.31]], t0=0.0, t1=0.5, max_spikes=9
)
DEPRESSING = rs.synapses.TsodyksMarkram(0.6, 0.3)
BOTH = rs.synapses.TsodyksMarkram(0.3, 0.2, 0.5)
EACH_OWN = rs.synapses.TsodyksMarkram(
    np.linspace(0.2, 0.9, 4), np.linspace(0.1, 0.4, 4), np.linspace(0.5, 0.2, 4)
)


class Tiring(rs.AbstractPlasticity):
    """One of one's own: each spike is weaker, until a rest."""

    loss: Float[Array, "*neurons"]
    tau: Float[Array, "*neurons"]

    def initial(self):
        return jnp.ones_like(self.loss)

    def decay(self, x, time):
        return 1 - (1 - x) * jnp.exp(-time / self.tau)

    def spike(self, x):
        return x, x * (1 - self.loss)


TIRING = Tiring(jnp.asarray(0.4), jnp.linspace(0.1, 0.3, 4))


class Unmoved(rs.AbstractPlasticity):
    """All spikes are as strong as without."""

    one: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1.0)

    def initial(self):
        return jnp.zeros_like(self.one)

    def decay(self, x, time):
        return x

    def spike(self, x):
        return self.one, x


def population(size: int = 4, sigma: Any = (0.2,), **options: Any) -> rs.Population:
    ports = {"syn": rs.synapses.Exponential(0.05)}
    return rs.Population(
        size, rs.neurons.LIF(0.07, rs.Subtract(1.0), sigma), FIRING, ports, **options
    )


def recurrent(weights, plasticity, delay=None, **options: Any) -> rs.SpikingNetwork:
    if delay is not None:
        options["max_delay"] = 0.2
    own = rs.Projection("n", "n", weights, delay=delay, plasticity=plasticity, **options)
    return rs.SpikingNetwork({"n": population()}, [own])


def two(parts, delays=(None,) * 4) -> rs.SpikingNetwork:
    """Two populations of one structure, and what there is for plasticity between them."""
    blocks = {"aa": (0, 0), "ab": (0, 2), "ba": (2, 0), "bb": (2, 2)}
    projections = []
    for (k, (i, j)), plasticity, delay in zip(blocks.items(), parts, delays, strict=True):
        options: Any = dict(delay=delay, autapses=i == j, plasticity=plasticity)
        projections.append(rs.Projection(k[0], k[1], WEIGHTS[i : i + 2, j : j + 2], **options))
    return rs.SpikingNetwork({"a": population(2), "b": population(2)}, projections)


def fed(delay, plasticity=BOTH) -> rs.SpikingNetwork:
    """From outside, and from one neuron to the next."""
    feed = rs.Projection("in", "n", WIDE, delay=delay, plasticity=plasticity)
    own = rs.Projection("n", "n", WEIGHTS, plasticity=DEPRESSING)
    return rs.SpikingNetwork({"in": rs.Source(2), "n": population()}, [feed, own])


def fed_twice(*delays) -> rs.SpikingNetwork:
    """From outside onto two populations of one structure, which also reach each other."""
    own = [
        rs.Projection("in", name, WIDE[:, k : k + 2], delay=delay, plasticity=plasticity)
        for name, k, plasticity, delay in zip(
            "ab", (0, 2), (BOTH, rs.synapses.TsodyksMarkram(0.5, 1.0, 1.0)), delays, strict=True
        )
    ]
    across = [
        rs.Projection("a", "b", WEIGHTS[:2, 2:], plasticity=DEPRESSING),
        rs.Projection("b", "a", WEIGHTS[2:, :2], plasticity=DEPRESSING),
    ]
    parts: Any = {"in": rs.Source(2), "a": population(2), "b": population(2)}
    return rs.SpikingNetwork(parts, [*own, *across])


def layers() -> rs.SpikingNetwork:
    """From one population to the next, and back with a delay; on the way there with and without."""
    there = rs.Projection("a", "n", WEIGHTS, plasticity=EACH_OWN)
    also = rs.Projection("a", "n", 0.3 * WEIGHTS)
    back = rs.Projection("n", "a", 0.5 * WEIGHTS.T, delay=0.034, plasticity=BOTH)
    return rs.SpikingNetwork({"a": population(), "n": population()}, [there, also, back])


def beside() -> rs.SpikingNetwork:
    """With plasticity and without, at one port, in a loop."""
    own = [
        rs.Projection("n", "n", 0.5 * WEIGHTS, plasticity=plasticity)
        for plasticity in (BOTH, None, TIRING)
    ]
    return rs.SpikingNetwork({"n": population()}, own)


# Where there may be plasticity: a new way is tested by adding a row.
NETWORKS = {
    "loop": lambda: recurrent(WEIGHTS, BOTH),
    "lists": lambda: recurrent(LISTS, EACH_OWN),
    "own": lambda: recurrent(WEIGHTS, TIRING),
    "beside": beside,
    "delay": lambda: recurrent(WEIGHTS, BOTH, 0.034),
    "delays": lambda: recurrent(WEIGHTS, EACH_OWN, EACH[0]),
    "each-delay": lambda: recurrent(WEIGHTS, BOTH, EACH),
    "lists-delays": lambda: recurrent(LISTS, DEPRESSING, EACH[:, :2]),
    "populations": lambda: two([DEPRESSING, DEPRESSING, BOTH, None]),
    "populations-delay": lambda: two([BOTH, None, BOTH, DEPRESSING], [0.021, 0.03, 0.034, 0.052]),
    "layers": layers,
    "source": lambda: fed(None),
    "source-delay": lambda: fed(EACH[:2]),
    "source-twice": lambda: fed_twice(None, None),
    "source-twice-delay": lambda: fed_twice(0.034, 0.047),
}


def simulated(net: rs.SpikingNetwork, engine, dt: float = 0.01, t1: float = 0.5, **options: Any):
    inputs = {"in": TRAIN} if "in" in net.names else {}
    options = dict[str, Any](key=jr.key(5), max_spikes=100, inputs=inputs) | options
    drive = jnp.tile(DRIVE, net.num_neurons // 4)
    return rs.simulate(net, drive, rs.Window(0.0, t1, dt), engine=engine, **options)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NETWORKS)
def test_derivatives_are_differences_on_the_same_noise(name, engine):
    """In all parameters at once, those of the plasticity among them, along one direction."""
    check_along_a_direction(lambda net: simulated(net, ENGINES[engine]), NETWORKS[name]())


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "lists",
        "beside",
        "lists-delays",
        "populations-delay",
        "layers",
        "source-delay",
        "source-twice",
    ],
)
def test_engines_come_together(name):
    """They differ by the second order in dt."""
    net, errors = NETWORKS[name](), []
    for dt in (0.005, 0.00125):
        found = [smooth(simulated(net, engine, dt)) for engine in ENGINES.values()]
        np.testing.assert_array_equal(found[0][1], found[1][1])
        errors.append(np.max(np.abs(found[0][0] - found[1][0])))
    assert errors[1] < errors[0] / 4**1.5, errors


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["populations-delay", "layers", "source-delay"])
def test_spikes_that_are_all_as_strong(name, engine):
    """As without plasticity: spikes and derivatives in weights."""
    net = NETWORKS[name]()

    def run(weights, plasticity):
        own = [
            rs.Projection(
                p.pre,
                p.post,
                w,
                delay=p.delay,
                max_delay=p.max_delay or None,
                autapses=p.autapses,
                plasticity=None if p.plasticity is None else plasticity,
            )
            for p, w in zip(net.projections, weights, strict=True)
        ]
        sim = simulated(rs.SpikingNetwork(net.populations, own), ENGINES[engine])
        return jnp.sum(jnp.sin(smooth(sim)[0])), sim.spikes.marks

    weights = [p.weights for p in net.projections]
    of = lambda plasticity: jax.jit(
        jax.value_and_grad(lambda w: run(w, plasticity), has_aux=True, allow_int=True)
    )(weights)
    ((a, marks), da), ((b, others), db) = of(None), of(Unmoved())
    np.testing.assert_array_equal(marks, others)
    np.testing.assert_allclose(a, b, rtol=1e-12)
    for x, y in zip(jax.tree.leaves(da), jax.tree.leaves(db), strict=True):
        if x.dtype != jax.dtypes.float0:
            np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["each-delay", "layers", "source-delay"])
@pytest.mark.parametrize("engine", ENGINES)
def test_two_windows_are_the_whole(name, engine):
    """Bit for bit, with spikes on their way, tired synapses, and spikes from outside."""
    net = NETWORKS[name]()

    def run(window, initial=None):
        inputs = {"in": TRAIN.window(window.t0, window.t1)} if "in" in net.names else {}
        drive = jnp.tile(DRIVE, net.num_neurons // 4)
        return rs.simulate(
            net,
            drive,
            window,
            key=jr.key(5),
            max_spikes=100,
            inputs=inputs,
            engine=ENGINES[engine],
            initial=initial,
        )

    whole = run(rs.Window(0.0, 0.5, 0.01))
    first = run(rs.Window(0.0, 0.2, 0.01))
    assert int(first.spikes.count) >= 2 and int(whole.spikes.count) >= 8
    rest = run(rs.Window(0.2, 0.5, 0.01), first.final)
    leaves = lambda sim: jax.tree.leaves((sim.final.state.groups, sim.final.counts))
    # Times of given spikes are rounded as they are counted from another start.
    rounding = 1e-12 if "in" in net.names else 0
    for a, b in zip(leaves(whole), leaves(rest), strict=True):
        np.testing.assert_allclose(a, b, rtol=rounding)
    ages = lambda sim: jax.tree.leaves(sim.final.state.plastic)
    for a, b in zip(ages(whole), ages(rest), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def test_ends_of_other_networks():
    window = rs.Window(0.0, 0.1, 0.01)
    run = lambda plasticity, window, **options: rs.simulate(
        recurrent(WEIGHTS, plasticity), DRIVE, window, key=jr.key(0), max_spikes=60, **options
    )
    final = run(BOTH, window).final
    with pytest.raises(ValueError, match=r"projections\[0\]: TsodyksMarkram, .* where this one"):
        run(TIRING, window.next(), initial=final)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["none", "one", "rows", "each"])
def test_large_weights_as_small_ones(kind, monkeypatch):
    """Derivatives by the sums over spikes, as those of the loop; with spikes that were on their way
    at the start."""
    n, rng = 20, np.random.default_rng(0)
    weights = rng.normal(size=(n, n)) * 0.6 * (1 - np.eye(n))
    shape: Any = {"none": None, "one": (), "rows": (n,), "each": (n, n)}[kind]
    delay = None if shape is None else rng.uniform(0.012, 0.1, shape)
    plasticity = rs.synapses.TsodyksMarkram(rng.uniform(0.2, 0.8, n), 0.2, 0.4)
    drive = jnp.linspace(2.0, 3.0, n)

    def run(w, delay, plasticity):
        options: Any = {} if delay is None else dict(delay=delay, max_delay=0.1)
        own = rs.Projection("n", "n", w, plasticity=plasticity, **options)
        net = rs.SpikingNetwork({"n": population(n, None)}, [own])
        window = rs.Window(0.0, 0.15, 0.01)
        first = rs.simulate(net, drive, window, key=jr.key(0), max_spikes=200)
        sim = rs.simulate(
            net, drive, window.next(), key=jr.key(0), max_spikes=200, initial=first.final
        )
        return jnp.sum(jnp.sin(sim.final.state["v"]) + sim.final.state["syn"]), sim.spikes.count

    found = []
    for small in (False, True):
        set_limit(monkeypatch, launch, "_FEW_SYNAPSES", 10**6 if small else 0)
        set_limit(monkeypatch, spread, "_FEW", 10**6 if small else 0)
        grad = jax.jit(jax.value_and_grad(lambda p: run(*p), has_aux=True))
        found.append(grad((jnp.asarray(weights), delay, plasticity)))
    ((a, number), da), ((b, _), db) = found
    assert int(number) > 30
    np.testing.assert_allclose(a, b, rtol=1e-12)
    for x, y in zip(jax.tree.leaves(da), jax.tree.leaves(db), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-8, atol=1e-11)


@pytest.mark.slow
def test_streamed_blocks_are_the_whole():
    """Derivatives where the cells are in blocks, with spikes on their way between them."""
    net = recurrent(WEIGHTS, EACH_OWN, 0.034)

    def run(engine):
        def total(net):
            return jnp.sum(jnp.sin(smooth(simulated(net, engine))[0]))

        return eqx.filter_jit(eqx.filter_value_and_grad(total))(net)

    a, da = run(rs.Lockstep())
    b, db = run(rs.Lockstep(adjoint=rs.CheckpointAdjoint(block_size=16)))
    np.testing.assert_allclose(a, b, rtol=1e-13)
    for x, y in zip(jax.tree.leaves(da), jax.tree.leaves(db), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["loop", "delays", "source", "source-delay"])
def test_records_within_cells(name):
    """States at any time are those of the event engine, up to the second order."""
    # So many that there are arrivals between the border of a cell and the time in it.
    ts, net, errors = jnp.linspace(0.02, 0.49, 301), NETWORKS[name](), []
    for dt in (0.005, 0.00125):
        a = simulated(net, rs.Lockstep(record={"syn": ts}), dt).states["syn"]
        b = simulated(net, rs.EventByEvent(saveat=dfx.SaveAt(ts=ts)), dt).states.ys["syn"]
        errors.append(np.max(np.abs(a - b)))
    assert errors[1] < errors[0] / 4**1.5, errors


@pytest.mark.parametrize("engine", ENGINES)
def test_other_numbers_compile_nothing(engine):
    run = lambda f: simulated(
        recurrent(f * WEIGHTS, rs.synapses.TsodyksMarkram(0.3 * f, 0.2, 0.5 * f)), ENGINES[engine]
    )
    first = run(1.0).spikes.times
    with compilations() as found:
        second = run(0.99).spikes.times
    assert not found
    assert not np.array_equal(first, second)


def test_projections_of_one_structure_are_one_list():
    """Whatever their parameters, and several from one population; another kind is another."""
    names = [f"p{k}" for k in range(6)]
    parts: Any = {name: population(3) for name in names}
    own = [
        rs.Projection(pre, post, np.ones((3, 3)), plasticity=rs.synapses.TsodyksMarkram(u, 0.2))
        for (pre, post), u in zip(
            [*zip(names, [*names[1:], names[0]], strict=True)], np.linspace(0.1, 1, 6), strict=True
        )
    ]
    count = lambda projections: len(
        links_of(net := rs.SpikingNetwork(parts, projections), layout_of(net, [()] * 6), "within")
    )
    assert count(own) == 1
    other = rs.Projection("p0", "p3", np.ones((3, 3)), plasticity=BOTH)
    again = rs.Projection("p0", "p3", np.ones((3, 3)), plasticity=DEPRESSING)
    assert count([*own, other]) == 2
    assert count([*own, again]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_a_batch_of_parameters(engine):
    """Each sample with its own, as one after the other."""

    @jax.value_and_grad
    def run(u):
        net = recurrent(WEIGHTS, rs.synapses.TsodyksMarkram(u, 0.2, 0.5), 0.034)
        return jnp.sum(smooth(simulated(net, ENGINES[engine]))[0])

    us = jnp.array([0.2, 0.5, 0.9])
    values, slopes = jax.jit(jax.vmap(run))(us)
    for n, u in enumerate(us):
        value, slope = run(u)
        np.testing.assert_allclose(values[n], value, rtol=1e-12)
        np.testing.assert_allclose(slopes[n], slope, rtol=1e-9)
