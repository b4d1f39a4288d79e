"""Estimate all weights of a feed-forward network from its spike trains.

The network experiment of Holberg & Salvi (NeurIPS 2024, Section 5.2, Figure 2): 4 neurons with a
constant input drive 16, which drive 2; all 22 are observed for one unit of time, n times. First
the published way, the expected signature of depth 3 with RMSProp. Then moments that see single
synapses, correlograms of connected pairs, weighted by the covariance of the data, and steps that
are scaled by the information in them. What the data allow is computed beside.

    python examples/weight_estimation.py                # quick: our way, n = 512, one seed
    python examples/weight_estimation.py --full         # 3 sample sizes, 5 seeds: half an hour
    python examples/weight_estimation.py --published 5  # the published way, n = 512, 5 seeds
    python examples/weight_estimation.py --diagnose     # what the gradients see
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import matplotlib
import numpy as np
import optax
from tqdm import tqdm

import roughsnn as rs

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402

LAYERS = (4, 16, 2)
NEURONS, BATCH, MAX_SPIKES = sum(LAYERS), 128, 160
WINDOW = rs.Window(0.0, 1.0, 0.01)
STARTS = np.cumsum((0, *LAYERS))
MASK = np.zeros((NEURONS, NEURONS), bool)
for _pre in range(2):
    MASK[STARTS[_pre] : STARTS[_pre + 1], STARTS[_pre + 1] : STARTS[_pre + 2]] = True
PRE, POST = np.nonzero(MASK)
FIRST = POST < STARTS[2]  # weights onto the middle layer; the others are those onto the last
# Time constants of the responses of a correlogram, and over what part of the window late spikes
# fade, so that nothing jumps as a spike leaves it.
LAGS, TAPER = (0.05, 0.2), 0.1


def true_weights(seed: int) -> jax.Array:
    """U(0.5, 1.5) x 3 / fan-in."""
    fan_in = np.where(FIRST, LAYERS[0], LAYERS[1])
    draw = np.random.default_rng(seed).uniform(0.5, 1.5, PRE.size)
    return jnp.asarray(draw * 3 / fan_in, jnp.float32)


def initial_weights(seed: int) -> jax.Array:
    """U(0, 1)."""
    return jnp.asarray(np.random.default_rng([seed, 1]).uniform(0, 1, PRE.size), jnp.float32)


def simulate(
    weights: jax.Array, key: jax.Array, samples: int, room: int = MAX_SPIKES
) -> rs.SpikeTrain:
    """A batch of trains of all neurons."""
    matrix = jnp.zeros((NEURONS, NEURONS)).at[PRE, POST].set(weights)
    population = rs.Population(
        NEURONS,
        rs.neurons.LIF(tau=1 / 6, reset=rs.Subtract(1.2), sigma=(0.25, 0.0)),
        rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0, 1.0), alpha=0.03),
        ports={"syn": rs.synapses.Exponential(tau=1 / 5, sigma=(0.0, 0.25))},
    )
    network = rs.SpikingNetwork(population, weights=matrix, mask=MASK)
    drive = jnp.asarray(1.5 * (np.arange(NEURONS) < LAYERS[0]), jnp.float32)
    initial = {"v": jnp.full(NEURONS, 1.1), "syn": jnp.full(NEURONS, 0.6)}

    def one(key):
        return rs.simulate(network, drive, WINDOW, max_spikes=room, key=key, initial=initial).spikes

    return jax.vmap(one)(jr.split(key, samples))


def moments(x: rs.SpikeTrain) -> jax.Array:
    """Smooth statistics of one train: counts, times, and responses of pairs at two time scales.

    A pair (k, j) has the sum over spikes s of k and t of j behind it of u exp(1 - u) with
    u = (t - s) / lag: it is 0 where they swap order.
    """
    times = jnp.where(x.marks >= 0, x.times, x.t1)
    left = jnp.clip((x.t1 - times) / TAPER, 0, 1)
    spikes = (x.marks[:, None] == jnp.arange(NEURONS)).astype(times.dtype)
    fading = spikes * (left**2 * (3 - 2 * left))[:, None]
    features = [jnp.sum(fading, 0), times @ fading]
    lag = jnp.maximum(times[None] - times[:, None], 0)
    for tau in LAGS:
        pairs = spikes.T @ (lag / tau * jnp.exp(1 - lag / tau)) @ fading
        features += [pairs[PRE, POST], jnp.diagonal(pairs)]
    return jnp.concatenate(features)


def statistics(weights: jax.Array, key: jax.Array, samples: int = BATCH) -> jax.Array:
    """The moments of a batch."""
    return jax.vmap(moments)(simulate(weights, key, samples))


in_batches = jax.jit(
    lambda weights, keys: jax.lax.map(lambda k: statistics(weights, k), keys).reshape(
        keys.shape[0] * BATCH, -1
    )
)


@jax.jit
def jacobian(weights: jax.Array, keys: jax.Array) -> jax.Array:
    """The derivative of the mean moments in the weights, a column each."""

    def column(direction):
        push = lambda k: jax.jvp(lambda w: statistics(w, k).mean(0), (weights,), (direction,))[1]
        return jnp.mean(jax.lax.map(push, keys), 0)

    return jax.lax.map(column, jnp.eye(weights.size), batch_size=24).T


def attainable(weights: jax.Array, key: jax.Array, batches: int = 32) -> np.ndarray:
    """The standard errors of the weights, times the root of n, of the best estimate from these
    moments.

    Two halves of the samples give the Jacobian twice, so that its noise is not taken for
    information.
    """
    first, second, third = (jr.split(k, batches) for k in jr.split(key, 3))
    covariance = np.cov(np.asarray(in_batches(weights, third), float).T)
    covariance += 1e-5 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    a, b = (np.asarray(jacobian(weights, keys), float) for keys in (first, second))
    half = a.T @ np.linalg.solve(covariance, b)
    return np.sqrt(np.diag(np.linalg.inv((half + half.T) / 2)))


def to_raw(weights: jax.Array) -> jax.Array:
    """What is trained in our way: weights stay positive, as no gradient wakes a silent neuron."""
    return jnp.log(jnp.expm1(jnp.maximum(weights, 0.05)))


def scaled_by(matrix: jax.Array) -> optax.GradientTransformation:
    """Gradients times a matrix."""
    return optax.stateless(lambda updates, _: jax.tree.map(lambda u: matrix @ u, updates))


class Progress:
    """Shows steps, and keeps weights on the way."""

    def __init__(self, steps: int, label: str, weights: Callable, every: int = 10):
        self.bar = tqdm(total=steps, desc=label, disable=None)
        self.weights, self.every, self.kept, self.step = weights, every, [], 0

    def __call__(self, step, model, metrics):
        """After a step."""
        del step, metrics
        if self.step % self.every == 0:
            self.kept.append(np.asarray(self.weights(model)))
        self.step += 1
        self.bar.update()


def fit(model, loss, data, optimiser, steps, key, progress):
    """One stage of training."""
    loop = rs.Loop(callback=progress, progress=False)
    result = rs.fit(model, loss, data, optimiser, steps=steps, key=key, loop=loop)
    if result.stopped:
        raise RuntimeError(result.stopped)
    return result.model


def our_way(data: rs.SpikeTrain, start: jax.Array, key: jax.Array, quick: bool) -> np.ndarray:
    """Adam, then steps scaled by the inverse of the information, smaller and smaller."""
    descent, rounds, steps = (100, 2, 40) if quick else (150, 4, 80)
    target = rs.losses.Moments.of(jax.jit(jax.vmap(moments))(data), shrinkage=0.05)
    progress = Progress(descent + rounds * steps, "moments", jax.nn.softplus)

    def loss(raw, target, key):
        return rs.losses.moment_distance(statistics(jax.nn.softplus(raw), key), target)

    schedule = optax.cosine_decay_schedule(0.1, descent, 0.1)
    raw = fit(to_raw(start), loss, target, optax.adam(schedule, b2=0.99), descent, key, progress)
    scale = np.asarray(target(jnp.eye(target.whitening.scales.size)), float)
    for number in range(rounds):
        keys = jr.split(jr.fold_in(key, number), 2 if quick else 4)
        slope = np.asarray(jacobian(jax.nn.softplus(raw), keys) * jax.nn.sigmoid(raw), float)
        information = 2 * slope.T @ scale @ scale.T @ slope
        ridge = 0.02 * np.trace(information) / PRE.size * np.eye(PRE.size)
        matrix = jnp.asarray(np.linalg.inv(information + ridge), jnp.float32)
        size = 0.3
        if number == rounds - 1:
            size = lambda n: 3 / (10 + n)
        optimiser = optax.chain(
            scaled_by(matrix), optax.scale_by_learning_rate(size), optax.clip_by_global_norm(0.5)
        )
        raw = fit(raw, loss, target, optimiser, steps, jr.fold_in(key, 10 + number), progress)
    return np.stack([*progress.kept, np.asarray(jax.nn.softplus(raw))])


def published_loss(weights: jax.Array, data: rs.SpikeTrain, key: jax.Array) -> jax.Array:
    """The V-statistic of depth-3 signatures with matched spikes."""
    ours, theirs = jr.split(key)
    index = jr.choice(theirs, data.times.shape[0], (BATCH,), replace=False)
    some = jax.tree.map(lambda z: z[index], data)
    # Its weights grow, and with them the number of spikes.
    found = simulate(weights, ours, BATCH, 2 * MAX_SPIKES)
    published: Any = dict(depth=3, match_spikes=True, taper=0.0, unbiased=False, allow_jumps=True)
    return rs.losses.expected_signature(found, some, **published)


def published_way(data: rs.SpikeTrain, start: jax.Array, key: jax.Array, steps: int) -> np.ndarray:
    """The published loss, under RMSProp."""
    progress = Progress(steps, "depth 3", lambda w: w)
    optimiser = optax.rmsprop(1e-3, decay=0.7, momentum=0.3)
    end = fit(start, published_loss, data, optimiser, steps, key, progress)
    return np.stack([*progress.kept, np.asarray(end)])


def diagnose(batches: int = 24) -> str:
    """What the gradients at the start say of the way to the truth: the pathwise derivative, that
    of the mean loss, by differences on the same noise, and signal to noise in one step.

    The way has two parts: the sums of the weights onto each neuron, and the differences among
    these weights.
    """
    truth, start = true_weights(0), initial_weights(0)
    data = jax.jit(simulate, static_argnums=2)(truth, jr.key(100), 512)
    target = rs.losses.Moments.of(jax.jit(jax.vmap(moments))(data))
    way = np.asarray(truth - start)
    sums = np.array([way[np.flatnonzero(j == POST)].mean() for j in POST])
    lines = [
        "| loss | part of the way | pathwise | true | ratio | signal to noise |",
        "|---|---|---|---|---|---|",
    ]
    for name, loss in (
        ("published", lambda w, k: published_loss(w, data, k)),
        ("moments", lambda w, k: rs.losses.moment_distance(statistics(w, k), target)),
    ):
        gradient, value = jax.jit(jax.grad(loss)), jax.jit(loss)
        keys = jr.split(jr.key(5), batches)
        slopes = np.stack([np.asarray(gradient(start, k)) for k in keys])
        for part, direction in (("sums", sums), ("differences", way - sums)):
            unit, h = direction / np.linalg.norm(direction), 0.1
            pathwise = slopes @ unit
            pairs = [value(start + h * unit, k) - value(start - h * unit, k) for k in keys]
            true = np.array(pairs) / (2 * h)
            error = [z.std(ddof=1) / batches**0.5 for z in (pathwise, true)]
            lines.append(
                f"| {name} | {part} | {pathwise.mean():.4g} ± {error[0]:.2g} "
                f"| {true.mean():.4g} ± {error[1]:.2g} | {pathwise.mean() / true.mean():.2f} "
                f"| {abs(pathwise.mean()) / pathwise.std(ddof=1):.2f} |"
            )
            print(lines[-1], flush=True)
    return "\n".join(lines)


def run(way: str, n: int, seed: int, quick: bool) -> dict:
    """One fit."""
    truth, start = true_weights(seed), initial_weights(seed)
    data = jax.jit(simulate, static_argnums=2)(truth, jr.key(100 + seed), n)
    begin = time.perf_counter()
    if way == "ours":
        path = our_way(data, start, jr.key(seed), quick)
    else:
        path = published_way(data, start, jr.key(seed), 600)
    errors = np.abs(path - np.asarray(truth))
    return dict(way=way, n=n, seed=seed, seconds=time.perf_counter() - begin) | {
        "truth": truth.tolist(),
        "start": start.tolist(),
        "estimate": path[-1].tolist(),
        "error": errors.mean(1).tolist(),
        "first_layer": float(errors[-1][FIRST].mean()),
        "last_layer": float(errors[-1][~FIRST].mean()),
    }


def summarise(runs: list[dict], errors: np.ndarray | None) -> list[dict]:
    """A row for each way and n."""
    rows = []
    for way, n in dict.fromkeys((r["way"], r["n"]) for r in runs):
        mine = [r for r in runs if (r["way"], r["n"]) == (way, n)]
        final = [r["error"][-1] for r in mine]
        error = float(np.std(final, ddof=1) / len(final) ** 0.5) if len(final) > 1 else None
        rows.append(
            {
                **dict(way=way, n=n, seeds=len(mine)),
                "start": float(np.mean([r["error"][0] for r in mine])),
                "error": float(np.mean(final)),
                "standard_error": error,
                "first_layer": float(np.mean([r["first_layer"] for r in mine])),
                "last_layer": float(np.mean([r["last_layer"] for r in mine])),
                # The mean size of a normal variable with this standard deviation.
                "attainable": None
                if errors is None or way != "ours"
                else float(np.mean(errors) * (2 / np.pi / n) ** 0.5),
                "seconds": float(np.median([r["seconds"] for r in mine])),
            }
        )
    return rows


def table(rows: list[dict]) -> str:
    """The summary as a Markdown table."""
    lines = [
        "| way | n | seeds | mean \\|w − w_true\\| at the start | at the end | first layer "
        "| last layer | what these moments allow | seconds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        error = "" if r["standard_error"] is None else f" ± {r['standard_error']:.3f}"
        allowed = "–" if r["attainable"] is None else f"{r['attainable']:.3f}"
        lines.append(
            f"| {r['way']} | {r['n']} | {r['seeds']} | {r['start']:.3f} | {r['error']:.3f}{error} "
            f"| {r['first_layer']:.3f} | {r['last_layer']:.3f} | {allowed} | {r['seconds']:.0f} |"
        )
    return "\n".join(lines)


def draw(runs: list[dict], path: Path) -> None:
    """Errors over the steps, and the weights of the largest n, true against estimated."""
    ways = list(dict.fromkeys(r["way"] for r in runs))
    fig, axes = plt.subplots(
        1, 1 + len(ways), figsize=(4.2 * (1 + len(ways)), 4), layout="constrained"
    )
    sizes = sorted({r["n"] for r in runs})
    shades = plt.get_cmap("viridis")(np.linspace(0.1, 0.8, len(sizes)))
    for way, style in zip(ways, ("-", "--"), strict=False):
        for n, shade in zip(sizes, shades, strict=True):
            mine = [r["error"] for r in runs if (r["way"], r["n"]) == (way, n)]
            if mine:
                along = 100 * np.linspace(0, 1, len(mine[0]))
                axes[0].plot(along, np.mean(mine, 0), style, color=shade, label=f"{way}, n = {n}")
    axes[0].set(xlabel="part of the steps (%)", ylabel="mean |w − w_true|", ylim=(0, None))
    axes[0].legend(frameon=False, fontsize=8)
    for axis, way in zip(axes[1:], ways, strict=True):
        mine = [r for r in runs if r["way"] == way]
        best = [r for r in mine if r["n"] == max(r["n"] for r in mine)]
        truth, found = (np.concatenate([r[k] for r in best]) for k in ("truth", "estimate"))
        layer = np.tile(FIRST, len(best))
        for select, colour, name in ((layer, "C0", "4 → 16"), (~layer, "C1", "16 → 2")):
            axis.plot(truth[select], found[select], ".", color=colour, ms=4, alpha=0.6, label=name)
        axis.plot([0, 1.2], [0, 1.2], color="0.6", lw=0.8)
        axis.set(xlabel="true weight", ylabel="estimate", title=f"{way}, n = {best[0]['n']}")
        axis.legend(frameon=False, fontsize=8)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    fig.savefig(path, dpi=150)
    plt.close(fig)


def main(argv: list[str] | None = None) -> Path:
    """Runs the experiment and writes `results.json`, `table.md` and a picture."""
    parser = argparse.ArgumentParser(description="Estimate the weights of a spiking network.")
    parser.add_argument("--out", type=Path, default=Path("out/weights"), help="output folder")
    parser.add_argument("--full", action="store_true", help="our way, 3 sample sizes, 5 seeds")
    parser.add_argument(
        "--published", type=int, default=0, metavar="SEEDS", help="the published way, n = 512"
    )
    parser.add_argument("--quick", action="store_true", help="32 trains, to see that it runs")
    parser.add_argument("--diagnose", action="store_true", help="what the gradients see")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    if args.diagnose:
        (args.out / "gradients.md").write_text(diagnose() + "\n")
        return args.out
    cases = [("published", 512, seed) for seed in range(args.published)]
    if args.full:
        cases += [("ours", n, seed) for seed in range(5) for n in (256, 512, 1024)]
    elif not cases:
        cases = [("ours", 32 if args.quick else 512, 0)]
    runs = []
    for way, n, seed in cases:
        runs.append(run(way, n, seed, not args.full))
        print(f"{way}, n = {n}, seed {seed}: {runs[-1]['error'][-1]:.3f}", flush=True)
        (args.out / "runs.json").write_text(json.dumps(runs))
        # Each fit compiles its own programs; kept all, they would use up the process's memory maps.
        jax.clear_caches()
    errors = attainable(true_weights(0), jr.key(9)) if args.full else None
    rows = summarise(runs, errors)
    (args.out / "results.json").write_text(json.dumps({"runs": runs, "summary": rows}))
    (args.out / "table.md").write_text(table(rows) + "\n")
    draw(runs, args.out / "weight_estimation.png")
    print(table(rows))
    print(f"\nPicture: {args.out / 'weight_estimation.png'}")
    print(f"Table:   {args.out / 'table.md'}")
    print(f"Numbers: {args.out / 'results.json'}")
    return args.out


if __name__ == "__main__":
    main()
