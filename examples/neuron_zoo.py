"""All neurons of the library: what they do, how exact they are, and what they cost.

    python examples/neuron_zoo.py [--quick] [--neurons NAME ...] [--out DIR]

A picture with a trace and the rate against the input of each neuron, and for both engines: how far
derivatives of spike times are from differences on the same noise, at what order spike times
converge, and how long a simulation and its gradient take. Writes `results.json`, a table and the
picture to DIR.
"""

import argparse
import functools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.flatten_util import ravel_pytree
from tqdm import tqdm
from zoo_picture import Trace, draw

import roughsnn as rs

jax.config.update("jax_enable_x64", True)
N = rs.neurons


# --- the neurons ---------------------------------------------------------------------------------
class Kind(NamedTuple):
    """A neuron, and how to drive it. Its times are in seconds, or in milliseconds where its
    potential is in millivolts."""

    # From the strengths of its noise, one for each channel, or `None`.
    neuron: Callable[[Any], rs.AbstractNeuron]
    # Inputs at which it goes from rest to firing often.
    inputs: tuple[float, float] = (0.5, 4.0)
    # It fires about five times within this time at some of these inputs.
    t1: float = 0.5
    # The threshold, or the peak of those that run away; `None` for one that never fires.
    threshold: float | None = 1.0
    # How long the currents of its synapses last, and how strong they are.
    tau: float = 0.05
    weight: float = 1.0
    # Whether it may have noise on the potential. Else there is noise on the currents only.
    noisy: bool = True
    millivolts: bool = False
    # What the picture shows instead of the neuron without noise.
    shown: rs.AbstractNeuron | None = None


def glif(level: int, sigma: Any) -> rs.AbstractNeuron:
    """GLIF 1 to 5, with resets by subtraction, which go with noise."""
    currents = [N.AfterSpikeCurrent(0.1, -0.4, 0.9), N.AfterSpikeCurrent(0.02, 0.3)]
    return N.GLIF(
        0.07,
        1.0,
        1.1,
        currents=currents if level >= 3 else (),
        spike_threshold=N.SpikeThreshold(0.05, 0.3) if level in (2, 4, 5) else None,
        voltage_threshold=N.VoltageThreshold(0.2, 0.3) if level == 5 else None,
        sigma=sigma,
    )


def with_history(sigma: Any) -> rs.AbstractNeuron:
    """A neuron with a filter of its own spikes."""
    exponentials = N.ExponentialBasis((0.03, 0.2), (-1.2, 0.1))
    return N.HistoryFilter(0.07, [exponentials, N.LaguerreBasis(0.04, (-0.4, 0.3, -0.2))], sigma)


def multiplicative(sigma: Any) -> rs.AbstractNeuron:
    """A neuron with noise in proportion to its potential."""
    return N.MultiplicativeLIF(0.07, np.zeros(0) if sigma is None else sigma)


# Noise that vanishes at the threshold too, where it may be hard.
BETWEEN = N.MultiplicativeLIF(0.07, 3.0, amplitude=lambda x: x * (1 - x))
# The parameters of the papers, in mV and ms.
PAPER: dict[str, Any] = dict(tau=10.0, noisy=False, millivolts=True)
KINDS = {
    "LIF": Kind(lambda sigma: N.LIF(0.07, rs.Subtract(1.2), sigma)),
    "AdaptiveLIF": Kind(lambda sigma: N.AdaptiveLIF(0.07, 0.2, 0.3, rs.Subtract(1.0), sigma)),
    **{f"GLIF {k}": Kind(lambda sigma, k=k: glif(k, sigma)) for k in range(1, 6)},
    "ResonateAndFire": Kind(lambda sigma: N.ResonateAndFire(0.15, 6.0, rs.Subtract(0.8), sigma)),
    "HistoryFilter": Kind(with_history, (0.5, 3.0)),
    "MultiplicativeLIF": Kind(multiplicative, shown=BETWEEN),
    "QIF": Kind(
        lambda sigma: N.QIF(0.02, -0.3, 0.4, 1.2, -8.0, sigma),
        inputs=(-0.5, 6.0),
        t1=0.15,
        threshold=10.0,
        tau=0.02,
        weight=2.0,
        noisy=False,
    ),
    "EIF": Kind(lambda sigma: N.EIF(sigma=sigma), (0.0, 30.0), 80.0, -20.0, weight=5.0, **PAPER),
    "AdEx": Kind(lambda sigma: N.AdEx(sigma=sigma), (10.0, 80.0), 100.0, 0.0, weight=12.0, **PAPER),
    "Izhikevich": Kind(
        lambda sigma: N.Izhikevich(sigma=sigma), (0.0, 25.0), 150.0, 30.0, weight=5.0, **PAPER
    ),
    "read-out": Kind(lambda sigma: N.LIF(0.07, sigma=sigma), threshold=None),
}
ENGINES = {"lockstep": rs.Lockstep(), "event": rs.EventByEvent()}
PRECISE = rs.EventByEvent(
    solver=dfx.Tsit5(), controller=dfx.PIDController(1e-10, 1e-10), max_steps=100_000
)
# Cells of a trace, and how many neurons are simulated to see how long that takes.
CELLS, SIZES = 500, {"lockstep": 100, "event": 10}
COUPLING = np.array([[0.0, 0.9, -0.5], [0.6, 0.0, 0.7], [-0.4, 0.8, 0.0]])
KEY = jr.key(0)
# For programs that run once: they compile for longer than they run.
once = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def alone(kind: Kind, size: int, neuron: rs.AbstractNeuron | None = None) -> rs.SpikingNetwork:
    """Neurons without synapses, and without noise unless a neuron that has some is given."""
    firing = None if kind.threshold is None else rs.HardThreshold(kind.threshold)
    neuron = kind.neuron(None) if neuron is None else neuron
    return rs.SpikingNetwork(rs.Population(size, neuron, firing))


def coupled(kind: Kind) -> rs.SpikingNetwork:
    """Three coupled neurons with noise where derivatives are exact."""
    if kind.noisy:
        neuron, of_currents = kind.neuron((0.2, 0.0)), (0.0, 0.2)
        firing = rs.StochasticFiring(rs.ExponentialIntensity(beta=5.0), 0.03)
    else:
        assert kind.threshold is not None
        neuron, of_currents = kind.neuron(None), 0.3 * kind.weight / kind.tau**0.5
        firing = rs.HardThreshold(kind.threshold)
    ports = {"syn": rs.synapses.Exponential(kind.tau, of_currents)}
    population = rs.Population(3, neuron, firing, ports)
    return rs.SpikingNetwork(population, weights=kind.weight * COUPLING)


# --- what a neuron does --------------------------------------------------------------------------
def sweep(kind: Kind, number: int) -> Trace:
    """Rates at many inputs, and the trace at the one with about five spikes, by one program."""
    neuron = kind.neuron(None) if kind.shown is None else kind.shown
    network = alone(kind, 1, neuron)
    ts = jnp.linspace(0, kind.t1, 1501)
    window = rs.Window(0.0, 4 * kind.t1, kind.t1 / CELLS)
    engine = rs.EventByEvent(saveat=dfx.SaveAt(ts=ts))

    @once
    @jax.vmap
    def run(level):
        sim = rs.simulate(network, level[None], window, key=KEY, max_spikes=400, engine=engine)
        state = sim.states.ys["neurons"].neuron
        read = lambda fn: jax.vmap(jax.vmap(fn))(state)[:, 0]
        return sim.spikes, read(neuron.voltage), read(neuron.potential)

    inputs = np.linspace(*kind.inputs, number)
    spikes, voltage, potential = jax.device_get(run(jnp.asarray(inputs)))
    trains = [t[m >= 0] for t, m in zip(spikes.times, spikes.marks, strict=True)]
    # By the mean interval, so that one spike more or less does not matter.
    rates = [(len(t) - 1) / (t[-1] - t[0]) if len(t) >= 2 else 0.0 for t in trains]
    early = [t[t < kind.t1] for t in trains]
    n = int(np.argmin([abs(len(t) - 5) for t in early]))
    return Trace(
        np.asarray(ts),
        voltage[n],
        early[n],
        threshold=voltage[n] - potential[n] + kind.threshold if kind.noisy else None,
        peak=None if kind.noisy else kind.threshold,
        level=float(inputs[n]),
        inputs=inputs,
        rates=np.array(rates),
        millivolts=kind.millivolts,
    )


def read_out(kind: Kind, spikes: np.ndarray) -> Trace:
    """The potential of a neuron that never fires, and the spikes that it receives."""
    synapse = rs.synapses.Exponential(0.02)
    out = rs.Population(1, kind.neuron(None), None, {"syn": synapse})
    parts = {"in": rs.Source(1), "out": out}
    network = rs.SpikingNetwork(parts, [rs.Projection("in", "out", [[2.0]])])
    ts = np.linspace(0, kind.t1, 1501)
    sim = rs.simulate(
        network,
        jnp.zeros(1),
        rs.Window(0.0, kind.t1, kind.t1 / CELLS),
        key=KEY,
        max_spikes=1,
        engine=rs.Lockstep(record={"out": {"v": jnp.asarray(ts)}}),
        inputs={"in": rs.SpikeTrain.from_lists([spikes], t0=0.0, t1=kind.t1)},
    )
    return Trace(ts, np.asarray(sim.states["out"]["v"][:, 0]), spikes)


# --- how exact it is -----------------------------------------------------------------------------
def difference(kind: Kind, level: float, engine: Any, number: int) -> float | None:
    """The largest relative error of derivatives of spike times against central differences on the
    same noise, each of some random models along a random direction in all parameters.

    A difference is rounded if its step is small, curved if it is large, and jumps where a spike
    crosses the border of a cell: of three steps the best one counts. A model whose neurons fire in
    another order at all of them is left out, which is said.
    """
    drive = level * jnp.array([1.15, 1.0, 1.07])
    parameters, rest = eqx.partition(coupled(kind), eqx.is_inexact_array)
    flat, back = ravel_pytree((parameters, drive))
    rng = np.random.default_rng(4)
    models = flat[None] * (1 + 0.02 * rng.normal(size=(number, flat.size)))
    ways = 0.1 * np.abs(flat)[None] * rng.normal(size=(number, flat.size))
    steps = np.array([1e-5, 1e-6, 1e-7])
    window = rs.Window(0.0, kind.t1, kind.t1 / CELLS)

    @once
    @jax.vmap
    def along(flat, way, key):
        def times(s):
            own, drive = back(flat + s * way)
            network = eqx.combine(own, rest)
            options: Any = dict(key=key, max_spikes=80, engine=engine)
            spikes = rs.simulate(network, drive, window, **options).spikes
            return jnp.where(spikes.marks >= 0, spikes.times, 0), spikes.marks

        derivative = lambda s: jax.jvp(times, (s,), (jnp.ones_like(s),))
        return jax.vmap(derivative)(jnp.concatenate([jnp.zeros(1), -steps, steps]))

    keys = jr.split(jr.key(1), number)
    (times, marks), (slopes, _) = jax.device_get(along(models, jnp.asarray(ways), keys))
    low, high = slice(1, 1 + len(steps)), slice(1 + len(steps), None)
    found = (times[:, high] - times[:, low]) / (2 * steps[:, None])
    gaps = np.max(np.abs(found - slopes[:, :1]), -1) / np.max(np.abs(found), -1)
    same = np.all((marks[:, low] == marks[:, :1]) & (marks[:, high] == marks[:, :1]), -1)
    errors = np.min(np.where(same, gaps, np.inf), 1)
    comparable = errors[np.isfinite(errors)]
    if len(comparable) < number:
        left_out = number - len(comparable)
        tqdm.write(f"{left_out} of {number} models left out: a spike comes or goes, or two swap.")
    return float(np.max(comparable)) if len(comparable) else None


def spike_lists(kind: Kind, level: float, cells: int, engine: Any) -> list[np.ndarray]:
    """The spikes of neurons with inputs of their own."""
    drive = level * jnp.linspace(0.9, 1.3, 24)
    window = rs.Window(0.0, kind.t1, kind.t1 / cells)
    options: Any = dict(key=KEY, max_spikes=800, engine=engine)
    run = once(lambda c: rs.simulate(alone(kind, 24), c, window, **options).spikes)
    return run(drive).to_lists()


def order(kind: Kind, level: float, engine: Any, exact: list[np.ndarray]) -> float | None:
    """The slope of the logarithm of the mean error of spike times over that of dt; `None` where
    there is no error but rounding, and that of the exact solution."""
    cells, errors = CELLS // 2 * np.array([1, 2, 4]), []
    for number in cells:
        found = spike_lists(kind, level, int(number), engine)
        # A last one may be on either side of the end.
        pairs = [(a[: len(b)], b[: len(a)]) for a, b in zip(found, exact, strict=True)]
        errors.append(np.mean(np.abs(np.concatenate([a - b for a, b in pairs]))))
    if max(errors) < 1e-9 * kind.t1:
        return None
    return float(-np.polyfit(np.log(cells), np.log(errors), 1)[0])


# --- what it costs -------------------------------------------------------------------------------
def programs(kind: Kind, level: float, engine: str) -> list[Callable[[], Any]]:
    """A simulation, and its gradient in all parameters and inputs, compiled."""
    size = SIZES[engine]
    drive = level * jnp.linspace(0.9, 1.1, size)
    parameters, rest = eqx.partition(alone(kind, size), eqx.is_inexact_array)
    window = rs.Window(0.0, kind.t1, kind.t1 / CELLS)
    options: Any = dict(key=KEY, max_spikes=10 * size, engine=ENGINES[engine])

    def total(parameters, drive):
        sim = rs.simulate(eqx.combine(parameters, rest), drive, window, **options)
        times = jnp.where(sim.spikes.marks >= 0, sim.spikes.times, 0)
        return jnp.sum(times) + jnp.sum(sim.final.state["v"])

    compiled = [jax.jit(fn) for fn in (total, jax.grad(total, (0, 1)))]
    made = [fn.lower(parameters, drive).compile() for fn in compiled]
    return [lambda fn=fn: jax.block_until_ready(fn(parameters, drive)) for fn in made]


def best_times(functions: list[Callable[[], Any]], repeats: int) -> list[float]:
    """The least processor time of each in ms; they take turns, so that all see the same machine."""
    least = [np.inf] * len(functions)
    for _ in range(repeats):
        for n, function in enumerate(functions):
            start = time.process_time()
            function()
            least[n] = min(least[n], 1e3 * (time.process_time() - start))
    return least


# --- the table -----------------------------------------------------------------------------------
COLUMNS = {
    "ad_fd": "derivative against differences",
    "order": "order",
    "forward_ms": "simulation (ms)",
    "gradient_ms": "gradient (ms)",
    "relative_to_lif": "simulation / LIF",
}


def as_table(models: list[dict[str, Any]]) -> str:
    """Markdown, with a dash for what does not apply."""
    lines = [f"| neuron | engine | {' | '.join(COLUMNS.values())} |", "|---" * 7 + "|"]
    digits = {"ad_fd": ".0e", "order": ".2f", "relative_to_lif": ".2f"}
    for row in models:
        cells = [
            "–" if row[name] is None else format(row[name], digits.get(name, ".3g"))
            for name in COLUMNS
        ]
        lines.append(f"| {row['name']} | {row['engine']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def measure(traces: dict[str, Trace], wanted: list[tuple[str, str]], quick: bool) -> list[dict]:
    """A row of the table for each of these neurons and engines, LIF first."""
    models, of_lif, exact = [], {}, {}
    bar = tqdm(total=6 * len(wanted))

    def told(what: str, fn: Callable, *inputs):
        bar.set_description(f"{name}, {engine}: {what}")
        found = fn(*inputs)
        bar.update()
        return found

    for name, engine in wanted:
        kind, level, made = KINDS[name], traces[name].level, ENGINES[engine]
        row = dict.fromkeys(COLUMNS)
        if kind.threshold is not None:
            number = 2 if quick else 8
            row["ad_fd"] = told("derivatives", difference, kind, level, made, number)
            if name not in exact:
                exact[name] = told("exact spikes", spike_lists, kind, level, CELLS, PRECISE)
            row["order"] = told("order", order, kind, level, made, exact[name])
        forward, gradient = told("compiling", programs, kind, level, engine)
        both = [forward, of_lif.setdefault(engine, forward)]
        repeats = 2 if quick else 40
        own, lif = told("timing", best_times, both, repeats)
        row |= dict(forward_ms=own, relative_to_lif=own / lif)
        (row["gradient_ms"],) = told(
            "timing the gradient", best_times, [gradient], min(repeats, 10)
        )
        models.append({"name": name, "engine": engine, **row})
        bar.write(as_table(models[-1:]).splitlines()[-1])
    bar.close()
    return models


def main() -> None:
    """Runs all parts and writes what they found."""
    sizes = ", ".join(f"{size} neurons ({engine})" for engine, size in SIZES.items())
    parser = argparse.ArgumentParser(
        description="All neurons: traces, derivatives, orders and costs.",
        epilog=f"Times: {CELLS} cells in float64 without synapses and noise, {sizes}.",
    )
    parser.add_argument("--quick", action="store_true", help="measures two neurons, to see it run")
    parser.add_argument(
        "--neurons", nargs="+", choices=KINDS, default=list(KINDS), help="which are measured"
    )
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the results")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    traces = {}
    for name in (bar := tqdm(KINDS)):
        bar.set_description(f"{name}: trace")
        kind = KINDS[name]
        if kind.threshold is None:
            traces[name] = read_out(kind, traces["LIF"].spikes)
        else:
            traces[name] = sweep(kind, 12 if options.quick else 48)
    picture = options.out / "neuron_zoo.png"
    draw(traces, picture)
    names = ["LIF", *(name for name in options.neurons if name != "LIF")]
    wanted = [(name, engine) for name in names for engine in ENGINES]
    if options.quick:
        wanted = [("LIF", "lockstep"), ("LIF", "event"), ("QIF", "lockstep")]
    models = measure(traces, wanted, options.quick)
    table, results = options.out / "table.md", options.out / "results.json"
    table.write_text(as_table(models))
    results.write_text(json.dumps({"models": models}, indent=1))
    print(f"\n{as_table(models)}\nPicture: {picture}\nTable:   {table}\nNumbers: {results}")


if __name__ == "__main__":
    main()
