"""Kernels of spike trains: what they see, and what it is to train with them.

    python examples/kernels.py [--full] [--out DIR]

A table of test power (which differences between two populations does each kernel see?), pictures of
Gram matrices, and the training of three small models with each loss. Writes `results.json`, a table
and two pictures to DIR.
"""

import argparse
import json
import time
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import matplotlib
import numpy as np
import optax
from published_kernels import CornerKernel, TruncatedKernel
from tqdm import tqdm

import roughsnn as rs

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402

# --- a population, and what may be different about it --------------------------------------------
NEURONS, RATE, DEPTH, FREQUENCY, TRAINS = 5, 4.0, 0.6, 3.0, 40
ALTERNATIVES = {
    "none": {},
    "rate": {"rate": 1.15},
    "phase": {"phase": 0.8},
    "regularity": {"shape": 3.0},
    "synchrony": {"synchrony": 0.5},
    "lag": {"lag": -0.015},
}
# Others, on which no choice was made.
FRESH = {
    "none": {},
    "rate": {"rate": 0.85},
    "phase": {"phase": -0.8},
    "regularity": {"shape": 0.5},
    "synchrony": {"synchrony": 0.4, "among": (3, 4)},
    "lag": {"lag": 0.035},
}


def population(
    rng, samples, rate=1.0, phase=0.0, shape=1.0, synchrony=0.0, lag=0.015, among=(2, 3)
):
    """Five neurons with a common modulation: spike times (samples, neurons, room), NaN-padded.

    Half of the spikes of neuron 1 are spikes of neuron 0, `lag` later. Neurons 2 to 4 are renewal
    processes in the modulated time, with gamma intervals of a given shape; two of them share a part
    `synchrony` of their spikes.
    """
    grid, turn = np.linspace(0, 1, 2001), 2 * np.pi * FREQUENCY
    passed = grid + DEPTH / turn * (np.cos(phase) - np.cos(turn * grid + phase))
    shapes = np.array([1, 1, shape, shape, shape])[None, :, None]
    gaps = rng.gamma(shapes, 1 / shapes, (samples, NEURONS, 40))
    # Started long before the window, so that it does not begin with a spike.
    age = -10 * rng.uniform(1, 1.2, (samples, NEURONS, 1)) + np.cumsum(gaps, -1)
    age = age / (RATE * rate)
    inside = (age > 0) & (age < 1)
    times = np.where(inside, np.interp(age, passed / passed[-1], grid), np.nan)

    def share(source, target, part, delay):
        kept = np.where(rng.uniform(size=target.shape) < part, np.nan, target)
        moved = source + delay + 0.003 * rng.normal(size=source.shape)
        taken = rng.uniform(size=source.shape) < part
        return np.concatenate(
            [kept, np.where(taken & (moved > 0) & (moved < 1), moved, np.nan)], -1
        )

    out = [times[:, n] for n in range(NEURONS)]
    out[1] = share(out[0], out[1], 0.5, lag)
    out[among[1]] = share(out[among[0]], out[among[1]], synchrony, 0.0)
    room = max(t.shape[-1] for t in out)
    return np.stack(
        [np.pad(t, ((0, 0), (0, room - t.shape[-1])), constant_values=np.nan) for t in out], 1
    )


def as_trains(times: np.ndarray, room: int | None = None) -> rs.SpikeTrain:
    """A batch of trains from NaN-padded times."""
    samples, neurons = times.shape[:2]
    marks = np.broadcast_to(np.arange(neurons)[None, :, None], times.shape).reshape(samples, -1)
    flat = np.where(np.isnan(times), np.inf, times).reshape(samples, -1)
    order = np.argsort(flat, axis=1)
    flat, marks = (np.take_along_axis(z, order, 1) for z in (flat, marks))
    marks = np.where(np.isfinite(flat), marks, -1)
    room = int((marks >= 0).sum(1).max()) if room is None else room
    return rs.SpikeTrain(
        times=jnp.asarray(flat[:, :room], jnp.float32),
        marks=jnp.asarray(marks[:, :room], jnp.int32),
        count=jnp.asarray((marks >= 0).sum(1), jnp.int32),
        overflow=jnp.zeros(samples, bool),
        t0=0.0,
        t1=1.0,
        num_neurons=neurons,
    )


# --- kernels -------------------------------------------------------------------------------------
def all_kernels() -> dict[str, rs.AbstractTrainKernel]:
    """Those that are compared; the quick ones first."""
    signature = lambda **k: rs.SignatureKernel(order=4, **k)
    return {
        "default: point + lag": rs.losses.default_kernel(),
        "point": rs.PointKernel(),
        "lag": rs.LagKernel(),
        "truncated signature, depth 3 (published)": TruncatedKernel(),
        "point, width 0.2": rs.PointKernel(0.2),
        "ordered, width 0.05": rs.OrderedKernel(0.05),
        "ordered, width 0.2, height 1": rs.OrderedKernel(0.2, height=1.0),
        "signature": signature(),
        "signature, time scale 4": signature(time_scale=4.0),
        "signature, not normalised": signature(scaling="none"),
        "signature, robust": signature(scaling="robust"),
        "signature, Marcus": signature(lifting=rs.MarcusLift()),
        "signature, ramps of 0.03": signature(lifting=rs.RampLift(0.03)),
        "per neuron": rs.PerNeuronKernel(signature()),
        "RBF signature (published)": CornerKernel(rs.PathKernel(rs.RBFStatic(1.0), order=3)),
    }


# --- the power table -----------------------------------------------------------------------------
def power(kernel, alternative: dict, repetitions: int, seed: int) -> float:
    """How often a permutation test at level 5 % tells 40 trains from 40 others."""
    rng = np.random.default_rng(seed)
    x = population(rng, repetitions * TRAINS)
    y = population(rng, repetitions * TRAINS, **alternative)
    x, y = (as_trains(z) for z in (x, y))
    room = max(x.times.shape[1], y.times.shape[1])
    # A multiple of eight, so that few programs are compiled.
    room = -(-room // 8) * 8
    x, y = (
        jax.tree.map(lambda a: a.reshape(repetitions, TRAINS, *a.shape[1:]), z.with_room(room))
        for z in (x, y)
    )
    return float(np.mean(_p_values(kernel, x, y, jr.split(jr.key(seed), repetitions)) <= 0.05))


@eqx.filter_jit
def _p_values(kernel, x, y, keys):
    def one(pair):
        x, y, key = pair
        test = rs.losses.two_sample_test(x, y, kernel=kernel, permutations=399, key=key)
        return test.p_value

    return jax.lax.map(one, (x, y, keys))


def power_table(kernels, alternatives, repetitions: int, seed: int):
    """Rows of power, one for each kernel."""
    rows = []
    for name, kernel in tqdm(kernels.items(), desc="test power"):
        begin = time.perf_counter()
        found = {
            a: power(kernel, change, repetitions, seed + n)
            for n, (a, change) in enumerate(alternatives.items())
        }
        mean = float(np.mean([found[a] for a in found if a != "none"]))
        seconds = time.perf_counter() - begin
        rows.append({"kernel": name, **found, "mean": mean, "seconds": seconds})
        tqdm.write(f"{name}: " + ", ".join(f"{a} {p:.2f}" for a, p in found.items()))
    return rows


def as_table(rows, alternatives) -> str:
    """Markdown."""
    lines = [
        "| kernel | " + " | ".join(alternatives) + " | mean of five |",
        "|---" * (2 + len(alternatives)) + "|",
    ]
    for row in rows:
        cells = [f"{row[a]:.2f}" for a in (*alternatives, "mean")]
        lines.append(f"| {row['kernel']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def draw_grams(kernels, out: Path) -> None:
    """Gram matrices of 32 trains of each alternative, centred."""
    rng = np.random.default_rng(0)
    batches = [population(rng, 32, **change) for change in ALTERNATIVES.values()]
    width = max(b.shape[-1] for b in batches)
    pad = lambda b: np.pad(b, ((0, 0), (0, 0), (0, width - b.shape[-1])), constant_values=np.nan)
    trains = as_trains(np.concatenate([pad(b) for b in batches]))
    fig, axes = plt.subplots(
        2, len(kernels), figsize=(3.4 * len(kernels), 8), layout="constrained", squeeze=False
    )
    kinds = len(ALTERNATIVES)
    for column, (name, kernel) in zip(axes.T, kernels.items(), strict=True):
        gram = np.array(rs.gram_matrix(kernel.fitted(trains), trains, trains), float)
        np.fill_diagonal(gram, np.nan)
        mean = np.nanmean(gram, 0)
        gram = gram - mean[:, None] - mean[None] + mean.mean()
        blocks = np.nanmean(gram.reshape(kinds, 32, kinds, 32), axis=(1, 3))
        for ax, shown, size in zip(column, (gram, blocks), (32, 1), strict=True):
            limit = np.nanquantile(np.abs(shown), 0.98)
            ax.imshow(shown, cmap="RdBu_r", vmin=-limit, vmax=limit)
            ticks = size * np.arange(kinds) + (size - 1) / 2
            left = ax in axes[:, 0]
            ax.set_xticks(ticks, ALTERNATIVES, rotation=90, fontsize=8)
            ax.set_yticks(ticks, ALTERNATIVES if left else [""] * kinds, fontsize=8)
        column[0].set_title(name, fontsize=10)
        column[1].set_title("means of blocks", fontsize=9)
    fig.savefig(out, dpi=110)
    plt.close(fig)


# --- training ------------------------------------------------------------------------------------
def two_spikes(p, key, samples):
    """Two neurons that fire once each, with jitter: their spikes often swap order."""
    z = jr.normal(key, (samples, 2))
    times = jnp.array([0.4, 0.45])[None] + jnp.stack([0 * p[0], p[0]])[None] + jnp.exp(p[1]) * z
    times = jnp.clip(times, 0.0, 1.0)
    order = jnp.argsort(times, axis=1)
    return rs.SpikeTrain(
        jnp.take_along_axis(times, order, 1),
        order.astype(jnp.int32),
        jnp.full(samples, 2, jnp.int32),
        jnp.zeros(samples, bool),
        0.0,
        1.0,
        2,
    )


def two_renewals(p, key, samples):
    """Two neurons with log-normal intervals; spikes leave the window and swap order."""
    z = jr.normal(key, (samples, 2, 12))
    times = jnp.cumsum(jnp.exp(p[None, :, None] + 0.4 * z), -1)
    times = jnp.where(times < 1, times, jnp.inf).reshape(samples, -1)
    marks = jnp.repeat(jnp.arange(2, dtype=jnp.int32), 12)[None]
    order = jnp.argsort(jax.lax.stop_gradient(times), axis=1)
    times = jnp.take_along_axis(times, order, 1)
    there = jnp.isfinite(times)
    marks = jnp.where(
        there, jnp.take_along_axis(jnp.broadcast_to(marks, there.shape), order, 1), -1
    )
    return rs.SpikeTrain(
        times, marks, jnp.sum(there, 1, dtype=jnp.int32), jnp.zeros(samples, bool), 0.0, 1.0, 2
    )


def two_coupled(p, key, samples):
    """A network of two stochastic LIF neurons; the parameters are its input and a weight."""
    neuron = rs.neurons.LIF(tau=1 / 15, reset=rs.Subtract(1.4), sigma=(0.25, 0.0))
    synapse = rs.synapses.Exponential(tau=1 / 6, sigma=(0.0, 0.1))
    firing = rs.StochasticFiring(rs.ExponentialIntensity(beta=5.0, threshold=1.0), alpha=0.03)
    pair = rs.Population(2, neuron, firing, ports={"syn": synapse})
    network = rs.SpikingNetwork(pair, weights=jnp.zeros((2, 2)).at[0, 1].set(p[1]))

    def one(key):
        return rs.simulate(
            network,
            jnp.stack([p[0], 0.7 * p[0]]),
            rs.Window(0.0, 1.0, 0.02),
            max_spikes=24,
            key=key,
        ).spikes

    return jax.vmap(one)(jr.split(key, samples))


QUICK = ("default", "depth 3 (published)")
MODELS = {
    "network: input and weight": (two_coupled, (1.5, 0.8), (1.2, 0.0)),
    "shift and log-jitter, swaps": (two_spikes, (0.0, np.log(0.05)), (-0.15, np.log(0.15))),
    "log-intervals, exits and swaps": (two_renewals, (-1.7, -1.4), (-2.0, -1.1)),
}


def all_losses():
    """What is taken from all data once, and a loss of it and of samples of model and data."""
    mmd = lambda kernel, x, y: rs.losses.mmd(x, y, kernel=kernel, allow_jumps=True)
    published = lambda _, x, y: rs.losses.expected_signature(
        x, y, taper=0.0, unbiased=False, allow_jumps=True
    )
    signature = rs.SignatureKernel(order=4)
    return {
        "default": (rs.losses.default_kernel().fitted, mmd),
        "per neuron": (rs.PerNeuronKernel(signature).fitted, mmd),
        "signature": (signature.fitted, mmd),
        "depth 3 (published)": (lambda data: None, published),
    }


def train(model, truth, start, loss, steps: int, seed: int):
    """Parameters and losses at each step of Adam; 64 trains of the model, 128 of 4096 of the
    data."""
    prepare, value = loss
    key, data_key = jr.split(jr.key(seed))
    data = model(jnp.array(truth), data_key, 4096)
    kernel = prepare(jax.tree.map(lambda z: z[:512], data))
    optim = optax.adam(optax.cosine_decay_schedule(0.03, steps))

    @eqx.filter_jit
    def run(kernel, data):
        def step(carry, key):
            p, state = carry
            model_key, data_key = jr.split(key)
            some = jr.choice(data_key, 4096, (128,), replace=False)
            y = jax.tree.map(lambda z: z[some], data)
            objective = lambda p: value(kernel, model(p, model_key, 64), y)
            now, gradient = jax.value_and_grad(objective)(p)
            updates, state = optim.update(gradient, state)
            return (p + updates, state), (p, now)

        p = jnp.array(start)
        return jax.lax.scan(step, (p, optim.init(p)), jr.split(key, steps))[1]

    parameters, values = run(kernel, data)
    return np.asarray(parameters), np.asarray(values)


def draw_training(runs, out: Path) -> None:
    """Parameters against steps, a row for each model."""
    losses = [name for name in all_losses() if any(name in found for found in runs.values())]
    fig, axes = plt.subplots(
        len(MODELS), 3, figsize=(11, 3.1 * len(MODELS)), layout="constrained", squeeze=False
    )
    for row, (name, (_, truth, _)) in zip(axes, MODELS.items(), strict=True):
        for n in range(2):
            for k, loss in enumerate(losses):
                if loss in runs[name]:
                    path = np.asarray(runs[name][loss]["parameters"])
                    row[n].plot(path[:, n], color=f"C{k}", label=loss)
            row[n].axhline(truth[n], color="k", ls=":", lw=1)
            row[n].set(title=f"{name}: parameter {n + 1}", xlabel="step")
            row[n].title.set_fontsize(9)
        for k, loss in enumerate(losses):
            if loss not in runs[name]:
                continue
            value = np.asarray(runs[name][loss]["values"])
            smooth = np.convolve(value, np.ones(9) / 9, "valid")
            row[2].plot(np.abs(smooth) / np.abs(smooth[:5]).mean(), color=f"C{k}", lw=1)
        row[2].set(title="|loss|, relative to its start", xlabel="step", yscale="log")
        row[2].title.set_fontsize(9)
    fig.legend(*axes[-1, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    fig.savefig(out, dpi=130)
    plt.close(fig)


def main() -> None:
    """Runs all parts and writes what they found."""
    parser = argparse.ArgumentParser(description="Kernels of spike trains.")
    parser.add_argument("--full", action="store_true", help="all kernels, 200 repetitions")
    parser.add_argument("--quick", action="store_true", help="4 repetitions, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the results")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    kernels = all_kernels()
    if not options.full:
        kernels = {k: kernels[k] for k in list(kernels)[:3]}
    repetitions, steps = (200, 300) if options.full else (4, 10) if options.quick else (20, 40)

    runs = {}
    for name, (model, truth, start) in tqdm(MODELS.items(), desc="training"):
        runs[name] = {}
        for loss_name, loss in all_losses().items():
            if loss_name not in QUICK and not options.full:
                continue
            parameters, values = train(model, truth, start, loss, steps, seed=0)
            end = parameters[-steps // 10 :].mean(0)
            error = np.abs(end - np.array(truth)).tolist()
            runs[name][loss_name] = {"parameters": parameters, "values": values, "error": error}
            tqdm.write(f"{name}, {loss_name}: error {error}")
    draw_training(runs, options.out / "kernel_training.png")
    pictured = ("default: point + lag", "point", "lag", "signature")
    draw_grams({k: all_kernels()[k] for k in pictured}, options.out / "kernel_grams.png")
    rows = power_table(kernels, ALTERNATIVES, repetitions, seed=10)
    quick = {k: kernels[k] for k in list(kernels)[:8]}
    fresh = power_table(quick, FRESH, repetitions, seed=1010) if options.full else []

    table = as_table(rows, ALTERNATIVES)
    table += "\nFresh alternatives:\n\n" + as_table(fresh, FRESH) if fresh else ""
    table += "\n| model | loss | error of the two parameters |\n|---|---|---|\n"
    for name, found in runs.items():
        for loss, run in found.items():
            table += f"| {name} | {loss} | {run['error'][0]:.3f}, {run['error'][1]:.3f} |\n"
            run["parameters"], run["values"] = run["parameters"].tolist(), run["values"].tolist()
    page, results = options.out / "kernels.md", options.out / "results.json"
    page.write_text(table)
    results.write_text(json.dumps({"power": rows, "fresh": fresh, "training": runs}))
    print(
        f"\n{table}\nPictures: {options.out / 'kernel_training.png'}, "
        f"{options.out / 'kernel_grams.png'}\nTable:    {page}\nNumbers:  {results}"
    )


if __name__ == "__main__":
    main()
