"""Networks of excitatory and inhibitory neurons in NEST and in Brian2, beside ours.

pip install -e . --group benchmarks --group peers
python benchmarks/parity.py brunel nest
python benchmarks/parity.py brunel brian2
python benchmarks/parity.py conductance nest --scale 0.32
python benchmarks/parity.py conductance brian2 --scale 0.32

With `--steps 0.02` the steps of the peer are that long, ours are 0.1 ms.

Rates, irregularity and correlations of both over several random networks, with their standard
errors, and what a run takes. The current-based network is that of Brunel (Journal of
Computational Neuroscience 8, 2000), with exponential currents, and a constant input in place of
external spikes: 10 000 and 2500 neurons, each with a tenth of the others as sources, and delays of
1.5 ms. The conductance-based one has the reversal potentials of Vogels & Abbott (Journal of
Neuroscience 25, 2005).

NEST holds the potential in refractory times and ours goes on, so they are compared without;
Brian2 does either, and has 2 ms. The spikes of both peers lie on their grids, which matters where
networks are small and their synapses strong.
"""

import argparse
import dataclasses
import json
import time
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import roughsnn as rs

# In ms and mV.
TAU, THRESHOLD, RESET, DELAY, DT = 20.0, 20.0, 10.0, 1.5, 0.1
SKIPPED, WIDTH, SAMPLE = 200.0, 5.0, 500


@dataclasses.dataclass(frozen=True)
class Model:
    """What differs: how fast synapses decay, how strong they are, the input, and the reversal
    potentials, if there are any."""

    decays: tuple[float, float]
    weights: tuple[float, float]
    drive: float
    reversals: tuple[float, float] | None
    sources: float = 0.1


# Weights in mV of a constant current, and in units of the leak conductance.
MODELS = {
    "brunel": Model((0.5, 0.5), (4.0, -20.0), 30.0, None),
    "conductance": Model((5.0, 10.0), (0.03, 0.35), 24.0, (60.0, -20.0), 0.04),
}
Spikes = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Run:
    """A model of some size for some time."""

    model: Model
    scale: float
    refractory: float
    length: float
    peer_step: float

    @property
    def sizes(self) -> tuple[int, int]:
        """Of the populations."""
        return round(10_000 * self.scale), round(2500 * self.scale)

    @property
    def weights(self) -> tuple[float, float]:
        """So strong that fewer sources have the same effect in the mean."""
        exc, inh = (weight / self.scale for weight in self.model.weights)
        return exc, inh

    @property
    def degrees(self) -> tuple[int, int]:
        """How many sources of each kind a neuron has."""
        exc, inh = (round(self.model.sources * size) for size in self.sizes)
        return exc, inh


def ours(run: Run):
    """A function of a seed that gives the spikes, and how long it took."""
    names, model = ("exc", "inh"), run.model
    ports: dict[str, Any] = {
        name: rs.synapses.Exponential(tau) for name, tau in zip(names, model.decays, strict=True)
    }
    if model.reversals is not None:
        pairs = zip(names, model.reversals, strict=True)
        ports = {name: rs.synapses.Conductance(ports[name], e) for name, e in pairs}
    neuron, firing = rs.neurons.LIF(TAU, rs.ResetTo(RESET)), rs.HardThreshold(THRESHOLD)
    hold = run.refractory or None
    parts = {
        name: rs.Population(size, neuron, firing, ports, refractory=hold)
        for name, size in zip(names, run.sizes, strict=True)
    }
    window = rs.Window(0.0, run.length, DT)
    uniform = lambda key: jr.uniform(key, maxval=THRESHOLD)
    initial = {name: {"v": uniform} for name in names}
    room = round(sum(run.sizes) * run.length / 1000 * 100)

    @jax.jit
    def simulate(network, key):
        drive = jnp.full(sum(run.sizes), model.drive)
        return rs.simulate(network, drive, window, key=key, max_spikes=room, initial=initial).spikes

    def network(seed: int) -> rs.SpikingNetwork:
        keys = iter(jr.split(jr.key(seed), 4))
        projections = []
        for pre, size, degree, weight in zip(
            names, run.sizes, run.degrees, run.weights, strict=True
        ):
            for post, targets in zip(names, run.sizes, strict=True):
                lists = rs.connectors.fixed_in_degree(
                    size, targets, degree, weights=weight, key=next(keys), autapses=pre != post
                )
                lists = _padded(lists, degree * targets / size)
                projections.append(rs.Projection(pre, post, lists, port=pre, delay=DELAY))
        return rs.SpikingNetwork(parts, projections, conditions="waive")

    def spikes(seed: int) -> tuple[Spikes, float]:
        made = network(seed)
        if seed == 0:
            jax.block_until_ready(simulate(made, jr.key(seed)))
        start = time.perf_counter()
        train = jax.block_until_ready(simulate(made, jr.key(seed)))
        took = time.perf_counter() - start
        count = int(train.count)
        return (np.asarray(train.times)[:count], np.asarray(train.marks)[:count]), took

    return spikes


def _padded(lists: rs.SparseWeights, mean: float) -> rs.SparseWeights:
    """Lists of one length for all seeds, so that they are one program: six standard deviations more
    than the mean."""
    more = round(mean + 6 * mean**0.5) - lists.targets.shape[1]
    pad = lambda x, fill: np.pad(np.asarray(x), [(0, 0), (0, more)], constant_values=fill)
    return rs.SparseWeights(pad(lists.targets, -1), pad(lists.values, 0.0), lists.size)


def in_nest(run: Run):
    """The same in NEST."""
    nest: Any = __import__("nest")

    model, leak = run.model, 12.5
    nest.set_verbosity("M_ERROR")

    def spikes(seed: int) -> tuple[Spikes, float]:
        nest.ResetKernel()
        nest.SetKernelStatus({"resolution": run.peer_step, "rng_seed": seed + 1})
        # 250 pF and 12.5 nS are 20 ms; a current of 12.5 pA is worth 1 mV.
        common = {
            "C_m": TAU * leak,
            "E_L": 0.0,
            "V_th": THRESHOLD,
            "V_reset": RESET,
            "t_ref": run.refractory,
            "I_e": model.drive * leak,
            "tau_syn_ex": model.decays[0],
            "tau_syn_in": model.decays[1],
        }
        if model.reversals is None:
            kind, own = "iaf_psc_exp", {"tau_m": TAU}
        else:
            kind = "iaf_cond_exp"
            own = {"g_L": leak, "E_ex": model.reversals[0], "E_in": model.reversals[1]}
        groups = [nest.Create(kind, size, params=common | own) for size in run.sizes]
        for group in groups:
            group.V_m = nest.random.uniform(0.0, THRESHOLD)
        recorder = nest.Create("spike_recorder")
        for pre, degree, weight in zip(groups, run.degrees, run.weights, strict=True):
            # Inhibitory ones are told by their sign.
            signed = weight if pre is groups[0] else -abs(weight)
            for post in groups:
                rule = {
                    "rule": "fixed_indegree",
                    "indegree": degree,
                    "allow_autapses": False,
                    "allow_multapses": False,
                }
                nest.Connect(pre, post, rule, {"weight": signed * leak, "delay": DELAY})
            nest.Connect(pre, recorder)
        nest.Prepare()
        start = time.perf_counter()
        nest.Run(run.length)
        took = time.perf_counter() - start
        nest.Cleanup()
        events = recorder.get("events")
        return (np.asarray(events["times"]), np.asarray(events["senders"]) - 1), took

    return spikes


def in_brian2(run: Run):
    """The same in Brian2, with its Cython target."""
    b: Any = __import__("brian2")

    b.prefs.codegen.target = "cython"
    model, size = run.model, sum(run.sizes)
    current = "ge + gi"
    if model.reversals is not None:
        current = "ge * (Ee - v) + gi * (Ei - v)"
    equations = f"""
    dv/dt = ({current} + c - v) / tau : 1
    dge/dt = -ge / te : 1
    dgi/dt = -gi / ti : 1
    """
    reversals = model.reversals or (0.0, 0.0)
    values = dict(
        tau=TAU * b.ms,
        te=model.decays[0] * b.ms,
        ti=model.decays[1] * b.ms,
        c=model.drive,
        Ee=reversals[0],
        Ei=reversals[1],
    )

    def spikes(seed: int) -> tuple[Spikes, float]:
        b.start_scope()
        b.seed(seed)
        b.defaultclock.dt = run.peer_step * b.ms
        group = b.NeuronGroup(
            size,
            equations,
            threshold=f"v > {THRESHOLD}",
            reset=f"v = {RESET}",
            refractory=run.refractory * b.ms,
            method="exact" if model.reversals is None else "rk4",
            namespace=values,
        )
        group.v = f"rand() * {THRESHOLD}"
        rng, objects, first = np.random.default_rng(seed), [group], 0
        pairs = zip(("ge", "gi"), run.sizes, run.degrees, run.weights, strict=True)
        for port, sources, degree, weight in pairs:
            # Each neuron has that many different sources, none of them itself.
            order = rng.random((size, sources)).argpartition(degree + 1, axis=1)[:, : degree + 1]
            itself = order + first == np.arange(size)[:, None]
            order = np.where(itself.any(1)[:, None], np.where(itself, order[:, -1:], order), order)
            pre = first + order[:, :degree]
            synapses = b.Synapses(group, group, on_pre=f"{port} += {weight}", delay=DELAY * b.ms)
            synapses.connect(i=pre.reshape(-1), j=np.repeat(np.arange(size), degree))
            objects.append(synapses)
            first += sources
        monitor = b.SpikeMonitor(group)
        network = b.Network(*objects, monitor)
        network.run(0 * b.ms)
        start = time.perf_counter()
        network.run(run.length * b.ms)
        took = time.perf_counter() - start
        return (np.asarray(monitor.t / b.ms), np.asarray(monitor.i)), took

    return spikes


def statistics(spikes: Spikes, run: Run) -> dict[str, float]:
    """Rates in Hz, the mean CV of the intervals, and the mean correlation of counts."""
    times, marks = (np.asarray(x) for x in spikes)
    late = times > SKIPPED
    times, marks = times[late], marks[late]
    size, exc, seconds = sum(run.sizes), run.sizes[0], (run.length - SKIPPED) / 1000
    counts = np.bincount(marks, minlength=size)
    order = np.lexsort((times, marks))
    gaps, same = np.diff(times[order]), np.diff(marks[order]) == 0
    owner = marks[order][1:][same]
    number = np.bincount(owner, minlength=size)
    mean = np.bincount(owner, gaps[same], size) / np.maximum(number, 1)
    square = np.bincount(owner, gaps[same] ** 2, size) / np.maximum(number, 1)
    several = number >= 5
    cv = np.sqrt(np.maximum(square - mean**2, 0))[several] / mean[several]
    bins = np.arange(SKIPPED, run.length + WIDTH / 2, WIDTH)
    chosen = np.flatnonzero(counts[:exc])[:SAMPLE]
    binned = np.stack([np.histogram(times[marks == n], bins)[0] for n in chosen])
    matrix = np.corrcoef(binned)
    off = matrix[~np.eye(len(matrix), dtype=bool)]
    return {
        "rate of exc (Hz)": counts[:exc].mean() / seconds,
        "rate of inh (Hz)": counts[exc:].mean() / seconds,
        "CV": float(cv.mean()),
        "correlation": float(off[np.isfinite(off)].mean()),
    }


def compare(run: Run, peer: str, seeds: int) -> dict[str, Any]:
    """The statistics of both over the seeds, and the median time of a run."""
    simulators = {"roughsnn": ours(run), peer: in_nest(run) if peer == "nest" else in_brian2(run)}
    found: dict[str, Any] = {}
    for simulator, spikes in simulators.items():
        rows, times = [], []
        for seed in range(seeds):
            found_spikes, took = spikes(seed)
            rows.append(statistics(found_spikes, run))
            times.append(took)
        table = {key: [row[key] for row in rows] for key in rows[0]}
        found[simulator] = {
            key: (float(np.mean(x)), float(np.std(x, ddof=1) / len(x) ** 0.5))
            for key, x in table.items()
        }
        found[simulator]["seconds"] = (float(np.median(times)), 0.0)
    for key in found["roughsnn"]:
        (a, da), (b, db) = found["roughsnn"][key], found[peer][key]
        apart = "" if key == "seconds" else f"   {(a - b) / np.hypot(da, db):5.1f} standard errors"
        print(f"{key:18s} ours {a:9.4f} ± {da:.4f}   {peer} {b:9.4f} ± {db:.4f}{apart}")
    return found


def main() -> None:
    """Prints the table, and a line of JSON."""
    parser = argparse.ArgumentParser(description="Beside NEST or Brian2.")
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("peer", choices=("nest", "brian2"))
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--length", type=float, default=1200.0)
    parser.add_argument("--steps", type=float, default=DT)
    given = parser.parse_args()
    refractory = 0.0 if given.peer == "nest" else 2.0
    run = Run(MODELS[given.model], given.scale, refractory, given.length, given.steps)
    found = compare(run, given.peer, given.seeds)
    print(json.dumps({**vars(given), **found}))


if __name__ == "__main__":
    main()
