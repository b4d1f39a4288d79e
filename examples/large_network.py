"""Simulate 10 000 neurons with a million synapses, and differentiate through all of it.

A balanced network: 8000 excitatory and 2000 inhibitory neurons with 100 random synapses each, for
one second. The loss asks for a mean rate and for little synchrony, the fluctuation of the smoothed
activity of each population. Its gradient in all weights, which keep their signs, and in the input
takes a few times as long as the simulation; some steps of gradient descent are made.

    python examples/large_network.py                    # 10 000 neurons
    python examples/large_network.py --neurons 100000   # ten times as many: 20 GiB, minutes
"""

import argparse
import json
import resource
import time
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import matplotlib
import numpy as np
import optax

import roughsnn as rs

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402

SYNAPSES, T1, DT = 100, 1.0, 0.001
EXCITATORY, INHIBITION = 0.8, 6.0  # the part of the neurons; how much stronger inhibition is
WEIGHT, INPUT, RATE = 0.06, 1.35, 5.0
STEPS = 5


def build(neurons: int, seed: int) -> rs.SpikingNetwork:
    """The network at the start."""
    excitatory = np.arange(neurons) < EXCITATORY * neurons
    size = np.where(excitatory, WEIGHT, -INHIBITION * WEIGHT).astype(np.float32)
    lists = rs.connectors.fixed_out_degree(
        neurons,
        neurons,
        SYNAPSES,
        key=jr.key(seed),
        weights=lambda key, shape: jnp.broadcast_to(size[:, None], shape),
        autapses=False,
    )
    population = rs.Population(
        neurons,
        rs.neurons.LIF(tau=0.02, sigma=1.0),
        rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0, 0.2), alpha=0.03),
        ports={"syn": rs.synapses.Exponential(tau=0.005)},
    )
    return rs.SpikingNetwork(population, weights=rs.DaleWeights(lists, excitatory))


def simulate(model, key: jax.Array) -> rs.SpikeTrain:
    """One second of a network and its input."""
    network, drive = model
    return rs.simulate(
        network, drive, rs.Window(0.0, T1, DT), max_spikes=30 * drive.shape[0], key=key
    ).spikes


def activity(train: rs.SpikeTrain, ts: jax.Array) -> jax.Array:
    """The smoothed rate of both populations in Hz, shape (times, 2)."""
    excitatory = int(EXCITATORY * train.num_neurons)
    sizes = np.array([excitatory, train.num_neurons - excitatory])
    groups = np.repeat(np.arange(2), sizes)
    width = 0.005
    smooth = rs.losses.filtered(train.merged(groups), ts, width)
    return smooth / (jnp.asarray(sizes, smooth.dtype) * width * np.e)


def loss(model, key: jax.Array) -> tuple[jax.Array, rs.SpikeTrain]:
    """The squared relative error of the rate, and the squared coefficient of variation of the
    activity."""
    train = simulate(model, key)
    rate = jnp.mean(rs.losses.counts(train)) / T1
    traces = activity(train, jnp.linspace(0.2 * T1, T1, 161))
    synchrony = jnp.mean(jnp.var(traces, 0) / jnp.mean(traces, 0) ** 2)
    return (rate / RATE - 1) ** 2 + synchrony, train


def timed(compiled, *args):
    """A result and how long it took."""
    begin = time.perf_counter()
    out = jax.block_until_ready(compiled(*args))
    return out, time.perf_counter() - begin


def compiled(fn, *args):
    """A function for such arguments, how long it took to compile, and its temporary memory in
    GiB."""
    begin = time.perf_counter()
    made = jax.jit(fn).lower(*args).compile()
    seconds = time.perf_counter() - begin
    analysis = made.memory_analysis()
    size = float("nan") if analysis is None else analysis.temp_size_in_bytes / 2**30
    return made, seconds, size


def describe(train: rs.SpikeTrain) -> dict:
    """Rates and synchrony of a train."""
    excitatory = int(EXCITATORY * train.num_neurons)
    counts = np.asarray(train.counts())
    traces = np.asarray(activity(train, jnp.linspace(0.2 * T1, T1, 161)))
    return {
        "spikes": int(train.count),
        "rate_excitatory": float(counts[:excitatory].mean() / T1),
        "rate_inhibitory": float(counts[excitatory:].mean() / T1),
        "synchrony": float(np.mean(traces.std(0) / traces.mean(0))),
    }


def draw(trains: dict[str, rs.SpikeTrain], path: Path) -> None:
    """Rasters of some neurons of both populations, and the activity under them."""
    fig, axes = plt.subplots(
        2,
        len(trains),
        figsize=(5.5 * len(trains), 5),
        layout="constrained",
        sharex=True,
        sharey="row",
        height_ratios=(3, 1),
        squeeze=False,
    )
    ts = np.linspace(0, T1, 501)
    for (name, train), column in zip(trains.items(), axes.T, strict=True):
        excitatory = int(EXCITATORY * train.num_neurons)
        times, marks = np.asarray(train.times), np.asarray(train.marks)
        for first, shown, colour, label in (
            (0, 400, "C0", "excitatory"),
            (excitatory, 100, "C3", "inhibitory"),
        ):
            own = (marks >= first) & (marks < first + shown)
            height = marks[own] - first + (0 if first == 0 else 400)
            column[0].plot(times[own], height, ".", ms=1.5, color=colour, label=label)
        column[0].set(title=name, ylim=(0, 500))
        traces = np.asarray(activity(train, jnp.asarray(ts)))
        for trace, colour in zip(traces.T, ("C0", "C3"), strict=True):
            column[1].plot(ts, trace, color=colour, lw=0.8)
        column[1].set(xlabel="time (s)")
        for axis in column:
            axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set(ylabel="neuron (400 and 100 of them)")
    axes[1, 0].set(ylabel="rate (Hz)")
    axes[0, 0].legend(frameon=True, loc="upper right", markerscale=4, fontsize=8)
    fig.savefig(path, dpi=130)
    plt.close(fig)


def main(argv: list[str] | None = None) -> Path:
    """Runs the network and writes `results.json` and a raster."""
    parser = argparse.ArgumentParser(description="A large network and its gradient.")
    parser.add_argument("--out", type=Path, default=Path("out/large"), help="output folder")
    parser.add_argument("--neurons", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of gradient descent")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    model = build(args.neurons, 0), jnp.full(args.neurons, INPUT)
    key = jr.key(0)

    forward, forward_compile, forward_memory = compiled(simulate, model, key)
    before, _ = timed(forward, model, key)
    before, forward_time = timed(forward, model, key)
    results = {"neurons": args.neurons, "synapses": SYNAPSES, "before": describe(before)}
    print(f"{args.neurons} neurons, {args.neurons * SYNAPSES} synapses: {results['before']}")
    print(
        f"forward: {forward_time:.2f} s, {forward_memory:.2f} GiB, compiled in "
        f"{forward_compile:.0f} s",
        flush=True,
    )

    # The neurons stay as they are: what is trained are the weights and the input.
    trained = jax.tree.map(lambda _: False, model)
    values = lambda network: network.projections[0].weights.raw.values
    trained = eqx.tree_at(lambda m: (values(m[0]), m[1]), trained, (True, True))
    weights, fixed = eqx.partition(model, trained)
    gradient = jax.value_and_grad(lambda w, k: loss(eqx.combine(w, fixed), k), has_aux=True)
    made, compile_time, memory = compiled(gradient, weights, key)
    optimiser = optax.adam(0.05)
    state = optimiser.init(weights)
    history, seconds = [], []
    for step in range(args.steps + 1):
        ((value, train), grads), took = timed(made, weights, jr.fold_in(key, step))
        seconds.append(took)
        size = float(optax.tree.norm(grads))
        history.append({"loss": float(value), "gradient_norm": size, **describe(train)})
        print(
            f"step {step}: loss {float(value):.4f}, |gradient| {size:.3g}, {took:.2f} s, "
            f"{describe(train)}",
            flush=True,
        )
        if step < args.steps:
            updates, state = optimiser.update(grads, state, weights)
            weights = optax.apply_updates(weights, updates)
    after, _ = timed(forward, eqx.combine(weights, fixed), key)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    results |= {
        "after": describe(after),
        "history": history,
        "peak_memory_gib": peak,
        "forward": {"seconds": forward_time, "compile": forward_compile, "gib": forward_memory},
        "gradient": {"seconds": float(np.median(seconds)), "compile": compile_time, "gib": memory},
    }
    (args.out / "results.json").write_text(json.dumps(results, indent=1))
    draw({"before": before, f"after {args.steps} steps": after}, args.out / "large_network.png")
    print(
        f"value and gradient: {np.median(seconds):.2f} s ({np.median(seconds) / forward_time:.1f} "
        f"x forward), {memory:.2f} GiB, compiled in {compile_time:.0f} s; peak of the process "
        f"{peak:.1f} GiB"
    )
    print(f"Picture: {args.out / 'large_network.png'}")
    return args.out


if __name__ == "__main__":
    main()
