"""Problems, numerical differences and tolerances that several tests share."""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

import roughsnn as rs

# `jax.jit` for what runs for longer than it compiles; see `conftest.py`.
optimised = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 2})


class Wave(eqx.Module):
    """A drive that depends on time."""

    level: jax.Array

    def __call__(self, t):
        return self.level * (1 + 0.3 * jnp.sin(7 * t))


def set_limit(monkeypatch: Any, module: Any, name: str, value: int) -> None:
    """Sets from which size on something is done in another way, in programs that were made, too."""
    monkeypatch.setattr(module, name, value)
    jax.clear_caches()


def check_along_a_direction(run: Callable[[PyTree], Any], model: PyTree) -> None:
    """Asserts that the derivative in all parameters of a model at once, along one direction, is the
    difference on the same noise, of a simulation with at least 8 spikes."""
    parameters, rest = eqx.partition(model, eqx.is_inexact_array)
    rng, h = np.random.default_rng(1), 1e-7
    scaled = lambda x: jnp.asarray(0.2 * np.abs(x) * rng.normal(size=x.shape))
    way = jax.tree.map(scaled, parameters)

    def moved(s):
        now = jax.tree.map(lambda x, d: x + s * d, parameters, way)
        return smooth(run(eqx.combine(now, rest)))

    along = jax.jit(jax.vmap(lambda s: jax.jvp(moved, (s,), (jnp.ones_like(s),), has_aux=True)))
    value, slope, marks = along(jnp.array([-h, 0.0, h]))
    assert np.sum(np.asarray(marks[1]) >= 0) >= 8
    np.testing.assert_array_equal(marks[0], marks[2])
    np.testing.assert_allclose(slope[1], (value[2] - value[0]) / (2 * h), rtol=1e-6, atol=1e-6)


def in_float32(tree: PyTree) -> PyTree:
    """The same with arrays of float32."""
    return jax.tree.map(lambda x: x.astype(jnp.float32) if eqx.is_inexact_array(x) else x, tree)


def lif_network(
    firing: rs.AbstractFiring | None = None,
    weights: Any = None,
    *,
    mu: Any = (15.0, 6.0),
    sigma: Any = None,
    reset: Any = 1.0,
    size: int | None = None,
    **options: Any,
) -> rs.SpikingNetwork:
    """Leaky neurons of Holberg & Salvi: decay rates of v and of the current "syn", and the noise on
    them, a row for each. By default as many as the weights say, or one."""
    noise = (None, None) if sigma is None else (sigma[0], sigma[1])
    lists = isinstance(weights, rs.SparseWeights | rs.DaleWeights)
    shape = weights.shape if lists else (1,) if weights is None else np.shape(weights)
    size = int(shape[0]) if size is None else size
    neuron = rs.neurons.LIF(1 / mu[0], rs.Subtract(reset), noise[0])
    ports = {"syn": rs.synapses.Exponential(1 / mu[1], noise[1])}
    firing = rs.StochasticFiring(rs.ExponentialIntensity(), 0.03) if firing is None else firing
    population = rs.Population(size, neuron, firing, ports)
    return rs.SpikingNetwork(population, weights=weights, **options)


def fed(network: rs.SpikingNetwork, feed: Any) -> rs.SpikingNetwork:
    """A network with spikes from outside, "in", onto its neurons by the weights `feed`."""
    parts = {"in": rs.Source(np.shape(feed)[0]), **network.populations}
    return rs.SpikingNetwork(parts, [rs.Projection("in", "neurons", feed), *network.projections])


def single_neuron(
    sigma: float = 0.25, alpha: float = 0.03, beta: float = 5.0, dtype=jnp.float64
) -> rs.SpikingNetwork:
    """The neuron of Holberg & Salvi, Section 5.1."""
    cast = lambda x: jnp.asarray(x, dtype)
    intensity = rs.ExponentialIntensity(cast(beta), cast(1.0), cast(1.0))
    neuron = rs.neurons.LIF(cast(1 / 15), rs.Subtract(cast(1.4)), cast(sigma), cast(0.0))
    firing = rs.StochasticFiring(intensity, alpha=cast(alpha))
    return rs.SpikingNetwork(rs.Population(1, neuron, firing))


def constant(*values: Any, dtype=jnp.float64) -> Array:
    """A constant drive of these numbers."""
    return jnp.asarray(values, dtype)


def recurrent_parameters() -> PyTree:
    """Every parameter of three coupled neurons with noise on v and on i."""
    return {
        "tau": jnp.array([1 / 15, 1 / 6]),
        "sigma": jnp.array([[0.3, 0.1], [0.05, 0.2]]),
        "reset": jnp.asarray(1.4),
        "beta": jnp.asarray(5.0),
        "threshold": jnp.asarray(1.0),
        "alpha": jnp.asarray(0.03),
        "weights": jnp.array([[0.0, 0.3, -0.2], [0.5, 0.0, 0.4], [0.2, 0.1, 0.0]]),
        "input": jnp.array([1.5, 1.2, 1.0]),
    }


def recurrent_network(p: PyTree, hard: bool = False) -> rs.SpikingNetwork:
    """Three coupled neurons from their parameters."""
    if hard:
        firing = rs.HardThreshold(p["threshold"])
    else:
        intensity = rs.ExponentialIntensity(p["beta"], p["threshold"], jnp.ones_like(p["beta"]))
        firing = rs.StochasticFiring(intensity, p["alpha"])
    neuron = rs.neurons.LIF(p["tau"][0], rs.Subtract(p["reset"]), p["sigma"][0])
    ports = {"syn": rs.synapses.Exponential(p["tau"][1], p["sigma"][1])}
    population = rs.Population(3, neuron, firing, ports)
    return rs.SpikingNetwork(population, weights=p["weights"])


def run_recurrent(p: PyTree, key, *, hard: bool = False, t1: float = 0.8, **options):
    """Spike times (0 where padded), final potentials and currents, and the marks."""
    network = recurrent_network(p, hard)
    sim = rs.simulate(
        network,
        lambda t: p["input"] * (1 + 0.1 * jnp.sin(3 * t)),
        rs.Window(0.0, t1, 0.01),
        max_spikes=options.pop("max_spikes", 40),
        key=key,
        noise=options.pop("noise", None),
        engine=rs.EventByEvent(saveat=dfx.SaveAt(t1=True), **options),
    )
    spikes, sol = sim.spikes, sim.states
    times = jnp.where(spikes.marks >= 0, spikes.times, 0)
    return {"times": times, "v": sol.y1["v"], "syn": sol.y1["syn"]}, spikes.marks


def random_direction(p: PyTree, seed: int, *, hard: bool = False) -> PyTree:
    """A direction in parameter space that keeps the diagonal of the weights zero."""
    rng = np.random.default_rng(seed)
    d = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), p)
    d["weights"] = d["weights"] * (1 - jnp.eye(3))
    if hard:
        d["sigma"] = d["sigma"].at[0].set(0.0)
    return d


def central_difference(fn: Callable, p: PyTree, direction: PyTree, h: float) -> PyTree:
    """(f(p + h d) - f(p - h d)) / 2h."""
    moved = lambda s: jax.tree.map(lambda a, b: a + s * h * b, p, direction)
    return jax.tree.map(lambda a, b: (a - b) / (2 * h), fn(moved(1.0)), fn(moved(-1.0)))


def largest_difference(a: PyTree, b: PyTree) -> float:
    """The largest difference of any leaf, relative to the largest entry of that leaf."""
    errors = jax.tree.map(lambda x, y: jnp.max(jnp.abs(x - y)) / (1 + jnp.max(jnp.abs(y))), a, b)
    return float(max(jax.tree.leaves(errors)))


@contextlib.contextmanager
def compilations():
    """The programs that JAX compiles meanwhile."""
    found, on = [], [True]

    def listen(event, duration_secs, **_):
        if on[0] and event == "/jax/core/compile/backend_compile_duration":
            found.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield found
    on[0] = False


def smooth(sim: rs.Simulation) -> tuple[Array, Array]:
    """A smooth functional of spikes and final state, and whose spikes they are."""
    times, marks = sim.spikes.times, sim.spikes.marks
    weight = jnp.cos(marks.astype(times.dtype) + 1.0)
    spikes = jnp.sum(jnp.where(marks >= 0, times * weight, 0))
    state = jnp.stack([jnp.sum(x) for x in jax.tree.leaves(sim.final.state.groups)])
    return jnp.append(0.1 * state, spikes), marks


def standard_error(samples: Array) -> Array:
    """The standard error of the mean over the leading axis."""
    return jnp.std(samples, axis=0, ddof=1) / samples.shape[0] ** 0.5


# Both engines, by a name for the identifiers of tests.
ENGINES = {"event": rs.EventByEvent(), "lockstep": rs.Lockstep()}
