"""A network without noise, event by event: 100 recurrent LIF neurons with hard thresholds, 160 ms.

Spike times of the default, cells of 1 ms, beside those of Tsit5 with tolerances of 1e-10;
derivatives along random directions beside differences of fourth order, the best of four steps;
times of a run and its gradient. Then with delays of 1.5 ms: lockstep in cells of 1 ms, plain and
exact, beside the event engine.

    python benchmarks/noise_free.py
"""

import time

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import roughsnn as rs

NEURONS, END, ROUNDS = 100, 160.0, 20
EVENT, DELAY = rs.EventByEvent(), 1.5
ADAPTIVE = rs.EventByEvent(controller=dfx.PIDController(rtol=1e-10, atol=1e-10), max_steps=20000)


def parameters() -> dict[str, jax.Array]:
    """Weights, time constants, thresholds and input."""
    rng = np.random.default_rng(0)
    weights = 0.12 * rng.normal(size=(NEURONS, NEURONS))
    np.fill_diagonal(weights, 0)
    numbers = dict(tau=20.0, tau_s=5.0, threshold=1.0)
    drive = 1.05 + 0.13 * rng.random(NEURONS)
    return jax.tree.map(jnp.asarray, dict(weights=weights, drive=drive, **numbers))


def simulated(p, engine: rs.EventByEvent | rs.Lockstep, delay: float | None = None):
    """The simulation."""
    ports = {"syn": rs.synapses.Exponential(p["tau_s"])}
    lif, rule = rs.neurons.LIF(p["tau"], rs.Subtract(1.0)), rs.HardThreshold(p["threshold"])
    part = rs.Population(NEURONS, lif, rule, ports)
    coupling = rs.Projection("neurons", "neurons", p["weights"], delay=delay)
    network = rs.SpikingNetwork({"neurons": part}, [coupling])
    start = jnp.asarray(0.9 * np.random.default_rng(1).random(NEURONS))
    return rs.simulate(
        network,
        p["drive"],
        rs.Window(0.0, END, 1.0),
        key=jr.key(0),
        max_spikes=440,
        engine=engine,
        initial={"v": start},
    )


def loss(p, engine: rs.EventByEvent | rs.Lockstep = EVENT, delay: float | None = None):
    """A smooth functional of spike times and final potentials."""
    sim = simulated(p, engine, delay)
    times, marks = sim.spikes.times, sim.spikes.marks
    each = jnp.where(marks >= 0, times * jnp.cos(marks.astype(times.dtype) + 1), 0)
    return jnp.sum(each) / 100 + jnp.sum(sim.final.state["v"]) / 100


def milliseconds(fn, p) -> float:
    """The shortest of several runs."""
    found = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        jax.block_until_ready(fn(p))
        found.append(1e3 * (time.perf_counter() - start))
    return min(found)


def main() -> None:
    """Prints errors, derivatives and times."""
    jax.config.update("jax_enable_x64", True)
    p, rng = parameters(), np.random.default_rng(3)
    own, other = (
        jax.jit(lambda p, engine=engine: simulated(p, engine).spikes)(p)
        for engine in (EVENT, ADAPTIVE)
    )
    number = int(other.count)
    assert np.array_equal(own.marks, other.marks)
    error = np.max(np.abs(own.times[:number] - other.times[:number]))
    print(f"{number} spikes, largest error {error:.1e} ms")
    value, gradient = jax.jit(loss), jax.jit(jax.value_and_grad(loss))
    slopes = gradient(p)[1]
    for name, x in p.items():
        way = rng.normal(size=x.shape) * (1 - np.eye(NEURONS) if name == "weights" else 1.0)
        at = lambda s, name=name, x=x, way=way: value({**p, name: x + s * way})
        own_slope, errors = jnp.sum(slopes[name] * way), []
        # A step at which a spike comes or goes says nothing.
        for h in (1e-4, 1e-5, 1e-6, 1e-7):
            near, far = at(h) - at(-h), at(2 * h) - at(-2 * h)
            errors.append(float(abs(own_slope / ((8 * near - far) / (12 * h)) - 1)))
        print(f"{name}: AD and differences apart by {min(errors):.1e}")
    run, both = milliseconds(value, p), milliseconds(gradient, p)
    print(f"run {run:.1f} ms, with its gradient {both:.1f} ms")
    delayed(p)


def delayed(p) -> None:
    """Prints how far lockstep is from the event engine where spikes travel for 1.5 ms."""
    trains = lambda engine: jax.jit(lambda p: simulated(p, engine, DELAY).spikes)(p).to_lists()
    wanted = trains(EVENT)
    print(f"delays of {DELAY} ms: {sum(map(len, wanted))} spikes")
    exact, plain = rs.Lockstep(exact=True), rs.Lockstep()
    for name, engine in (("event by event", EVENT), ("exact lockstep", exact), ("lockstep", plain)):
        pairs = list(zip(wanted, trains(engine), strict=True))
        wrong = sum(len(a) != len(b) for a, b in pairs)
        gaps = [np.max(np.abs(a - b), initial=0) for a, b in pairs if len(a) == len(b)]
        value = jax.jit(lambda p, engine=engine: loss(p, engine, DELAY))
        gradient = jax.jit(jax.grad(lambda p, engine=engine: loss(p, engine, DELAY)))
        jax.block_until_ready((value(p), gradient(p)))
        print(
            f"{name}: {wrong} neurons with another number of spikes, the others apart by "
            f"{max(gaps):.1e} ms; run {milliseconds(value, p):.1f} ms, gradient "
            f"{milliseconds(gradient, p):.1f} ms"
        )


if __name__ == "__main__":
    main()
