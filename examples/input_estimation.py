"""Estimate the constant input of a spiking neuron from its spike times.

The single-neuron experiment of Holberg & Salvi (NeurIPS 2024, Section 5.1, Figure 1): a
stochastic leaky integrate-and-fire neuron with input c = 1.5 is observed for its first
three spikes, n times; starting from c = 0.565, gradient descent through the spikes finds
the input back.

    python examples/input_estimation.py            # quick: one sample size, one seed
    python examples/input_estimation.py --full     # all of it: 4 sample sizes, 5 seeds
"""

import argparse
import dataclasses
import functools
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import matplotlib
import numpy as np
import optax

import roughsnn as rs

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402

C_TRUE, C_INIT = 1.5, 0.565
SPIKES, T1, DT = 3, 5.0, 0.01
HELD_OUT = 1024
LOSSES = ("signature", "mse")


@dataclasses.dataclass(frozen=True)
class Optimiser:
    """An optimiser and how many steps it is given."""

    name: str
    steps: int
    make: optax.GradientTransformation


def paper_optimiser(steps: int) -> Optimiser:
    """The optimiser of the paper."""
    return Optimiser("rmsprop", steps, optax.rmsprop(1e-3, decay=0.7, momentum=0.3))


def better_optimiser(steps: int) -> Optimiser:
    """Adam with large steps first and none at the end, which averages the noise out.

    The gradient shrinks by orders of magnitude on the way, so its scale is forgotten soon.
    """
    schedule = optax.cosine_decay_schedule(0.05, steps)
    return Optimiser("adam", steps, optax.adam(schedule, b1=0.8, b2=0.9))


def network(sigma: jax.Array) -> rs.SpikingNetwork:
    """The neuron of the paper; noise of size `sigma` on the membrane."""
    neuron = rs.neurons.LIF(tau=1 / 15, reset=rs.Subtract(1.4), sigma=sigma)
    firing = rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0, 1.0), alpha=0.03)
    return rs.SpikingNetwork(rs.Population(1, neuron, firing))


@functools.partial(jax.jit, static_argnames="samples")
def first_spikes(sigma: jax.Array, c: jax.Array, key: jax.Array, samples: int) -> rs.SpikeTrain:
    """A batch of trains of the first three spikes under the constant input `c`."""
    net = network(sigma)

    def one(key):
        return rs.simulate(
            net,
            c[None],
            rs.Window(0.0, T1, DT, stop_after=SPIKES),
            max_spikes=SPIKES,
            key=key,
            engine=rs.EventByEvent(),
        ).spikes

    return jax.vmap(one)(jr.split(key, samples))


@jax.jit
def test_errors(sigma: jax.Array, c: jax.Array, held_out: rs.SpikeTrain, key: jax.Array):
    """The held-out error of each case."""

    def one(sigma, c, y, key):
        x = first_spikes(sigma, c, key, HELD_OUT)
        return rs.losses.first_spike_mae(x, y, SPIKES)

    return jax.vmap(one)(sigma, c, held_out, jr.split(key, len(c)))


@functools.partial(jax.jit, static_argnames="samples")
def observe(sigma: jax.Array, keys: jax.Array, samples: int) -> rs.SpikeTrain:
    """For each case a data set of the true neuron."""
    c = jnp.asarray(C_TRUE)
    return jax.vmap(lambda sigma, key: first_spikes(sigma, c, key, samples))(sigma, keys)


def distance(kind: str, x: rs.SpikeTrain, y: rs.SpikeTrain) -> jax.Array:
    """The training loss between two batches of trains."""
    if kind == "signature":
        return rs.losses.expected_signature(x, y, depth=3)
    return rs.losses.first_spike_mse(x, y, SPIKES)


def run(n: int, kind: str, optimiser: Optimiser, cases: list, every: int) -> list[dict]:
    """Fits all cases (sigma, seed) at once; one record for each."""
    sigma = jnp.array([sigma for sigma, _ in cases])
    seeds = jnp.array([seed for _, seed in cases])
    keys = jax.vmap(lambda seed: jr.fold_in(jr.key(n), seed))(seeds)
    data = observe(sigma, keys, n)
    held_out = observe(sigma, jax.vmap(lambda key: jr.fold_in(key, 1))(keys), HELD_OUT)
    samples = max(n, 128)

    def loss(c, data, key):
        def one(sigma, c, data, key):
            return distance(kind, first_spikes(sigma, c, key, samples), data)

        # The optimisers work elementwise, so the cases do not influence one another.
        return jnp.sum(jax.vmap(one)(sigma, c, data, jr.split(key, len(cases))))

    cs, maes = [], []

    def record(step, c, metrics):
        cs.append(np.asarray(c))
        if step % every == 0 or step == optimiser.steps - 1:
            maes.append(np.asarray(test_errors(sigma, c, held_out, jr.fold_in(jr.key(1), step))))

    start = jnp.full(len(cases), C_INIT)
    result = rs.fit(
        start,
        loss,
        data,
        optimiser.make,
        steps=optimiser.steps,
        key=jr.key(2),
        loop=rs.Loop(callback=record),
    )
    if result.stopped:
        raise RuntimeError(result.stopped)
    seconds = float(np.median(result.seconds[1:])) / len(cases)
    trajectories, tests = np.stack(cs, 1), np.stack(maes, 1)
    return [
        {
            "sigma": noise,
            "n": n,
            "loss": kind,
            "optimiser": optimiser.name,
            "seed": seed,
            "c": trajectories[i].tolist(),
            "test_mae": tests[i].tolist(),
            "test_every": every,
            "seconds_per_step": seconds,
        }
        for i, (noise, seed) in enumerate(cases)
    ]


def sampling_floor(sigma: float, n: int) -> tuple[float, float]:
    """What n data trains allow: the standard error of c, and the MAE of two true samples.

    The error of c is that of its best estimate from the mean of the third spike time.
    """
    key, h = jr.key(3), 0.05
    low, true, high = (
        np.asarray(first_spikes(jnp.asarray(sigma), jnp.asarray(c), key, HELD_OUT).times)
        for c in (C_TRUE - h, C_TRUE, C_TRUE + h)
    )
    slope = (high.mean(0) - low.mean(0)) / (2 * h)
    error_c = float(true[:, -1].std() / np.sqrt(n) / abs(slope[-1]))
    mae = float(np.mean(true.std(0)) * np.sqrt(2 / n) * np.sqrt(2 / np.pi))
    return error_c, mae


def final_c(record: dict) -> float:
    """The estimate: the mean over the last 100 steps, as in the paper (fewer if few)."""
    tail = max(1, min(100, len(record["c"]) // 10))
    return float(np.mean(record["c"][-tail:]))


def final_mae(record: dict) -> float:
    """The held-out error, averaged over the last tests."""
    return float(np.mean(record["test_mae"][-4:]))


def mean_and_error(values: list[float]) -> tuple[float, float | None]:
    """Mean over seeds and its standard error (none for one seed)."""
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else None
    return float(np.mean(values)), None if error is None else float(error)


def steps_to_get_near(record: dict, tolerance: float = 0.05) -> int | None:
    """The first step from which c stays within `tolerance` of the truth."""
    outside = np.flatnonzero(np.abs(np.asarray(record["c"]) - C_TRUE) > tolerance)
    first = 0 if len(outside) == 0 else int(outside[-1]) + 1
    return first if first < len(record["c"]) else None


def summarise(runs: list[dict], floors: dict) -> list[dict]:
    """One row for each setting."""
    settings = list(dict.fromkeys((r["optimiser"], r["loss"], r["sigma"], r["n"]) for r in runs))
    rows = []
    for optimiser, loss, sigma, n in settings:
        mine = [
            r
            for r in runs
            if (r["optimiser"], r["loss"], r["sigma"], r["n"]) == (optimiser, loss, sigma, n)
        ]
        c, c_error = mean_and_error([final_c(r) for r in mine])
        mae, mae_error = mean_and_error([final_mae(r) for r in mine])
        near = [s for s in map(steps_to_get_near, mine) if s is not None]
        floor_c, floor_mae = floors[sigma, n]
        rows.append(
            {
                "optimiser": optimiser,
                "loss": loss,
                "sigma": sigma,
                "n": n,
                "c": c,
                "c_standard_error": c_error,
                "test_mae": mae,
                "test_mae_standard_error": mae_error,
                "steps_to_within_0.05": int(np.median(near)) if near else None,
                "sampling_error_of_c": floor_c,
                "mae_of_two_true_samples": floor_mae,
                "seconds_per_step": float(np.median([r["seconds_per_step"] for r in mine])),
            }
        )
    return rows


def table(rows: list[dict]) -> str:
    """The summary as a Markdown table."""

    def pm(value, error):
        return f"{value:.4f}" + ("" if error is None else f" ± {error:.4f}")

    lines = [
        "| optimiser | loss | σ | n | c (true 1.5) | s.e. of c that n trains allow | held-out MAE "
        "| MAE of two true samples of n | steps to within 0.05 | ms per step |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        lines.append(
            f"| {r['optimiser']} | {r['loss']} | {r['sigma']} | {r['n']} "
            f"| {pm(r['c'], r['c_standard_error'])} | {r['sampling_error_of_c']:.4f} "
            f"| {pm(r['test_mae'], r['test_mae_standard_error'])} "
            f"| {r['mae_of_two_true_samples']:.4f} | {r['steps_to_within_0.05']} "
            f"| {1e3 * r['seconds_per_step']:.1f} |"
        )
    return "\n".join(lines)


def draw(runs: list[dict], path: Path) -> None:
    """Left: the estimate over the steps. Right: the held-out error. Means over seeds and σ."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    sizes = sorted({r["n"] for r in runs})
    shades = plt.get_cmap("viridis")(np.linspace(0.1, 0.85, len(sizes)))
    styles = {"signature": "-", "mse": "--"}
    optimisers = list(dict.fromkeys(r["optimiser"] for r in runs))
    for n, shade in zip(sizes, shades, strict=True):
        for loss, style in styles.items():
            for optimiser in optimisers:
                key = (n, loss, optimiser)
                mine = [r for r in runs if (r["n"], r["loss"], r["optimiser"]) == key]
                c = np.mean([r["c"] for r in mine], 0)
                left.plot(np.arange(1, len(c) + 1), c, style, color=shade, lw=1.4)
                mae = np.mean([r["test_mae"] for r in mine], 0)
                steps = np.minimum(np.arange(len(mae)) * mine[0]["test_every"], len(c) - 1)
                right.semilogy(steps + 1, mae, style, color=shade, lw=1.4)
        left.plot([], [], color=shade, label=f"n = {n}")
    for loss, style in styles.items():
        left.plot([], [], style, color="0.3", label=f"{loss} loss")
    left.axhline(C_TRUE, color="0.5", lw=0.8, label="truth")
    for optimiser in optimisers:
        c = np.asarray(next(r["c"] for r in runs if r["optimiser"] == optimiser))
        half = int(np.argmax(c > 1.0))
        left.annotate(optimiser, (half + 1, c[half]), (12, -4), textcoords="offset points")
    left.set(xlabel="step", ylabel="input c", title="Estimated input")
    right.set(xlabel="step", ylabel="time", title="Held-out error of mean spike times")
    left.legend(frameon=False, loc="lower right")
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    fig.savefig(path, dpi=150)
    plt.close(fig)


def main(argv: list[str] | None = None) -> Path:
    """Runs the experiment and writes `results.json`, `table.md` and a picture."""
    parser = argparse.ArgumentParser(description="Estimate the input of a spiking neuron.")
    parser.add_argument("--out", type=Path, default=Path("out"), help="output folder")
    parser.add_argument("--full", action="store_true", help="all settings of the paper, 5 seeds")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()
    sizes, seeds = ((16, 32, 64, 128), 5) if args.full else ((128,), 1)
    cases = [(sigma, seed) for sigma in (0.25, 0.5) for seed in range(seeds)]
    runs = []
    for n in sizes:
        for kind in LOSSES:
            for optimiser, every in ((paper_optimiser(1500), 100), (better_optimiser(200), 20)):
                print(f"n = {n}, {kind} loss, {optimiser.name}", flush=True)
                runs += run(n, kind, optimiser, cases, every)
    floors = {(sigma, n): sampling_floor(sigma, n) for sigma in (0.25, 0.5) for n in sizes}
    rows = summarise(runs, floors)
    results = {"runs": runs, "summary": rows, "seconds": time.perf_counter() - begin}
    (args.out / "results.json").write_text(json.dumps(results))
    (args.out / "table.md").write_text(table(rows) + "\n")
    draw(runs, args.out / "input_estimation.png")
    print(table(rows))
    print(f"\nPicture: {args.out / 'input_estimation.png'}")
    print(f"Table:   {args.out / 'table.md'}")
    print(f"Numbers: {args.out / 'results.json'}")
    return args.out


if __name__ == "__main__":
    main()
