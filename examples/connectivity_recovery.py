"""Recover the connections of a recurrent network of which a part is observed.

A network of 32 excitatory and 8 inhibitory neurons with stochastic firing is recorded for 250
trials of 0.4 s; of 40 neurons all, half or 6 are seen. Ways to estimate input and weights:

- `likelihood`: of the observed neurons' spikes; either of a model of these neurons alone, or of
  one with all 40, whose hidden neurons are drawn as they are given the past of the observed ones;
- `sample and measure` (Bellec, Wang, Modirshanechi, Brea & Gerstner, NeurIPS 2021): the second
  likelihood, PSTHs and noise covariances of free simulations, and a rate for the hidden neurons;
- `signature MMD`: the distance of the laws of free and recorded trains by the signature kernels of
  all pairs of ten observed neurons (or as many as there are), which are drawn anew in each step.

The estimates are judged by the connections among the observed neurons, and by what the networks do
when they run freely.

    python examples/connectivity_recovery.py                # 6 of 40 neurons, one seed
    python examples/connectivity_recovery.py --full         # all cases, five seeds: two hours
    python examples/connectivity_recovery.py --full --seeds 0 1
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import matplotlib
import numpy as np
import optax
from seeds import over_seeds, show

import roughsnn as rs

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402

NEURONS, EXCITATORY, INPUTS = 40, 32, (6, 2)  # inputs of a neuron: excitatory, inhibitory
T1, DT, TRIALS, PERIOD = 400.0, 2.0, 250, 200.0  # ms
ROOM, SUBSET, SUBSET_ROOM = 1200, 10, 400
KERNEL = rs.PerNeuronKernel(rs.SignatureKernel(time_scale=4.0), max_spikes=32, interactions=2)
BATCH, BATCH_MMD = 40, 16  # trials in a step
TS, SMOOTHING, LAGS = jnp.arange(16.0, T1 + 1, 16.0), 10.0, (0, 1)
METHODS = {
    "alone": "likelihood, observed neurons alone",
    "likelihood": "likelihood, hidden neurons drawn",
    "measure": "sample and measure",
    "mmd": "signature MMD",
}
PARTS = (1.0, 0.5, 0.15)
ACTIVITY = ("rate_ratio", "psth_correlation", "noise_correlation")
SCORES = ("correlation", "auroc", "error", "bias", "ran_away", "explosions", *ACTIVITY, "seconds")


class Circuit(eqx.Module):
    """What is estimated."""

    weights: jax.Array
    bias: jax.Array
    stimulus: jax.Array  # sine and cosine

    def network(self) -> rs.SpikingNetwork:
        """The network without its input."""
        firing = rs.StochasticFiring(rs.ExponentialIntensity(3.0, 1.0, 10.0))
        neuron, ports = rs.neurons.LIF(tau=10.0), {"syn": rs.synapses.Exponential(tau=5.0)}
        population = rs.Population(self.weights.shape[0], neuron, firing, ports)
        return rs.SpikingNetwork(population, weights=self.weights)

    def drive(self, t: jax.Array) -> jax.Array:
        """The input at t."""
        phase = 2 * jnp.pi * t / PERIOD
        return self.bias + self.stimulus[0] * jnp.sin(phase) + self.stimulus[1] * jnp.cos(phase)

    @classmethod
    def truth(cls, seed: int) -> "Circuit":
        """Balanced: each neuron has six excitatory and two inhibitory inputs."""
        rng = np.random.default_rng(seed)
        excitatory = rng.permutation(np.arange(NEURONS) < EXCITATORY)
        there = np.zeros((NEURONS, NEURONS), bool)
        for post in range(NEURONS):
            for kind, number in zip((excitatory, ~excitatory), INPUTS, strict=True):
                others = np.setdiff1d(np.flatnonzero(kind), [post])
                there[rng.choice(others, number, replace=False), post] = True
        size = rng.uniform(0.28, 0.7, there.shape)
        weights = np.where(there, np.where(excitatory[:, None], size, -3 * size), 0)
        bias = rng.uniform(0.3, 0.8, NEURONS)
        stimulus = 0.25 * rng.normal(size=(2, NEURONS))
        return cls(*(jnp.asarray(x, jnp.float32) for x in (weights, bias, stimulus)))

    @classmethod
    def start(cls, neurons: int, key: jax.Array) -> "Circuit":
        """Hardly coupled."""
        a, b, c = jr.split(key, 3)
        weights = 0.05 * jr.normal(a, (neurons, neurons)) * (1 - jnp.eye(neurons))
        bias = 0.3 + 0.05 * jr.normal(b, (neurons,))
        return cls(weights, bias, 0.05 * jr.normal(c, (2, neurons)))


def free_runs(model: Circuit, key: jax.Array, trials: int, room: int = ROOM, throw: bool = True):
    """A batch of free simulations."""

    def one(key):
        return rs.simulate(
            model.network(),
            model.drive,
            rs.Window(0.0, T1, DT),
            max_spikes=room,
            key=key,
            throw=throw,
        )

    return jax.vmap(one)(jr.split(key, trials))


def simulate(model: Circuit, key: jax.Array, trials: int, room: int = ROOM) -> rs.SpikeTrain:
    """Their spikes."""
    return free_runs(model, key, trials, room).spikes


def only(batch: rs.SpikeTrain, neurons, room: int) -> rs.SpikeTrain:
    """Some neurons of a batch."""
    return jax.vmap(lambda train: train.only(neurons, room))(batch)


def make_losses(method: str, data: rs.SpikeTrain, neurons: int):
    """The losses of a model of `neurons` neurons, the first of which are those of `data`."""
    seen = data.num_neurons
    hidden = range(seen, neurons)
    room = 3 * data.times.shape[-1]
    spikes = float(data.count.mean())
    rate = float(rs.scores.mean_rates(data).mean())
    psth = jnp.mean(rs.losses.psth(data, TS, SMOOTHING) ** 2)
    covariance = jnp.mean(rs.losses.noise_covariance(data, TS, SMOOTHING, lags=LAGS) ** 2)

    def likelihood(model, data, key):
        def one(train, key):
            drawn: dict[str, Any] = {}
            if len(hidden):
                drawn = dict(observed=range(seen), key=key, max_spikes=ROOM)
            found = rs.clamp(
                model.network(), model.drive, train, rs.Window(train.t0, train.t1, DT), **drawn
            )
            return jnp.sum(found.log_likelihood)

        return -jnp.mean(jax.vmap(one)(data, jr.split(key, len(data.count)))) / spikes

    def losses(model, data, key):
        trials, drawn, free, subset = jr.split(key, 4)
        batch = BATCH_MMD if method == "mmd" else BATCH
        index = jr.choice(trials, TRIALS, (batch,), replace=False)
        data = jax.tree.map(lambda x: x[index], data)
        found = {}
        if method != "mmd":
            found["likelihood"] = likelihood(model, data, drawn)
        if method in ("alone", "likelihood"):
            return found
        x = simulate(model, free, batch)
        if len(hidden):
            found["rate"] = rs.losses.rate_penalty(x, rate, neurons=hidden) / rate**2
        x = only(x, range(seen), room)
        if method == "measure":
            found["psth"] = rs.losses.psth_distance(x, data, TS, SMOOTHING) / psth
            gap = rs.losses.covariance_distance(x, data, TS, SMOOTHING, lags=LAGS)
            found["covariance"] = gap / covariance
        else:
            some = jr.choice(subset, seen, (min(seen, SUBSET),), replace=False)
            pair = (only(z, some, SUBSET_ROOM) for z in (x, data))
            found["mmd"] = rs.losses.signature_mmd(*pair, kernel=KERNEL)
        return found

    return losses


def optimiser(steps: int) -> optax.GradientTransformation:
    """Adam; slower for weights, which move the rates of all neurons together."""

    def adam(rate):
        schedule = optax.warmup_cosine_decay_schedule(
            0.0, rate, min(30, steps // 2), steps, 0.05 * rate
        )
        return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule, b2=0.99))

    labels: Any = ("weights", "input", "input")
    return optax.partition({"weights": adam(0.01), "input": adam(0.03)}, Circuit(*labels))


def compare(x: rs.SpikeTrain, test: rs.SpikeTrain) -> dict:
    """How alike free runs and recorded trials are."""
    off = ~np.eye(x.num_neurons, dtype=bool)
    ours, theirs = (
        np.asarray(rs.losses.noise_correlation(z, TS, SMOOTHING)[0][off]) for z in (x, test)
    )
    values = (
        rs.scores.mean_rates(x).sum() / rs.scores.mean_rates(test).sum(),
        np.nanmean(rs.scores.psth_correlation(x, test, TS, SMOOTHING)),
        np.corrcoef(ours, theirs)[0, 1],
    )
    return dict(zip(ACTIVITY, map(float, values), strict=True))


def run(method: str, part: float, seed: int, steps: int) -> dict:
    """One fit, judged on new recorded trials."""
    begin = time.perf_counter()
    truth = Circuit.truth(seed)
    rng = np.random.default_rng([seed, 5])
    observed = np.sort(rng.permutation(NEURONS)[: round(part * NEURONS)])
    seen = len(observed)
    record = jax.jit(simulate, static_argnums=2)
    data, test = (
        only(record(truth, jr.key(k), TRIALS), observed, ROOM) for k in (seed, 500 + seed)
    )
    data = jax.jit(only, static_argnums=2)(data, jnp.arange(seen), int(data.count.max()))
    neurons = seen if method == "alone" else NEURONS
    weights = {"rate": 10.0 if method == "measure" else 1.0}
    hidden = neurons > seen and method in ("measure", "mmd")
    models = [Circuit.start(neurons, jr.key(seed))]

    def keep(step, model, metrics):
        models[0] = model

    ran_away = False
    try:
        result = rs.fit(
            models[0],
            rs.Objective(make_losses(method, data, neurons), weights=weights if hidden else None),
            data,
            optimiser(steps),
            steps=steps,
            key=jr.key(seed),
            loop=rs.Loop(callback=keep),
        )
        if result.stopped:
            raise RuntimeError(result.stopped)
    except eqx.EquinoxRuntimeError:
        # More spikes than there is room for: judge the network that made them.
        ran_away = True
    # Room for a runaway.
    run = jax.jit(lambda m, k: free_runs(m, k, 100, 4 * ROOM, throw=False))
    sim = run(models[0], jr.key(9))
    free, x = sim.spikes, only(sim.spikes, range(seen), 4 * ROOM)
    exploded = rs.scores.explosions(dataclasses.replace(sim, spikes=x), test).ran_away
    # What is said of free runs is said of those that came to their end.
    whole = np.flatnonzero(~np.asarray(free.overflow))
    x, free = (jax.tree.map(lambda z: z[whole], batch) for batch in (x, free))
    activity = compare(x, test) if len(whole) > 1 else {}
    there = np.asarray(truth.weights)[np.ix_(observed, observed)]
    found = np.asarray(models[0].weights)[:seen, :seen]
    off = ~np.eye(seen, dtype=bool)
    unconnected = found[off & (there == 0)]
    hidden_rate = None
    if neurons > seen and len(whole):
        hidden_rate = float(1e3 * rs.scores.mean_rates(free)[seen:].mean())
    recovery = rs.scores.connectivity_recovery(found, there)
    return {
        "method": method,
        "part": part,
        "seed": seed,
        "steps": steps,
        "truth": there[off].tolist(),
        "estimate": found[off].tolist(),
        "correlation": recovery.correlation,
        "auroc": recovery.auroc,
        "error": recovery.mean_error,
        "bias": float(unconnected.mean()) if len(unconnected) else None,
        "explosions": exploded,
        "ran_away": float(ran_away),
        "hidden_rate_hz": hidden_rate,
        **dict.fromkeys(ACTIVITY),
        **activity,
        "seconds": time.perf_counter() - begin,
    }


def summarise(runs: list[dict]) -> list[dict]:
    """A row for each part and method."""
    rows = []
    for part, method in dict.fromkeys((r["part"], r["method"]) for r in runs):
        mine = [r for r in runs if (r["part"], r["method"]) == (part, method)]
        row = {"part": part, "method": method, "seeds": len(mine)}
        rows.append({**row, **over_seeds(mine, SCORES)})
    return rows


def table(rows: list[dict]) -> str:
    """The summary as a Markdown table."""
    lines = [
        "| observed | method | seeds | correlation | AUROC | mean error | mean weight where there "
        "is none | fits that run away | free runs that explode | rate, free / recorded "
        "| PSTH correlation | noise correlations |",
        "|---" * 12 + "|",
    ]

    for r in rows:
        cells = " | ".join(show(r[name], 2) for name in SCORES[:-1])
        lines.append(f"| {r['part']:.0%} | {METHODS[r['method']]} | {r['seeds']} | {cells} |")
    return "\n".join(lines)


def draw(runs: list[dict], rows: list[dict], path: Path) -> None:
    """Weights, true against estimated; scores against the part that is observed."""
    methods = [m for m in METHODS if any(r["method"] == m for r in runs)]
    part = min(r["part"] for r in runs)
    fig, axes = plt.subplots(2, 4, figsize=(12, 6), layout="constrained")
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    for n, (axis, method) in enumerate(zip(axes[0], METHODS, strict=True)):
        mine = [r for r in runs if r["method"] == method and r["part"] == part]
        axis.set_title(METHODS[method], fontsize=9)
        for r in mine:
            axis.plot(r["truth"], r["estimate"], ".", color=f"C{n}", ms=4, alpha=0.6)
        axis.axline((0, 0), slope=1, color="0.6", lw=0.8)
        axis.set(xlabel="true weight", ylabel=f"estimate, {part:.0%} observed", ylim=(-2.2, 1.5))
    shown = (
        ("correlation", "correlation with the true weights"),
        ("auroc", "AUROC"),
        ("bias", "mean weight where there is none"),
        ("noise_correlation", "match of noise correlations"),
    )
    for axis, (name, label) in zip(axes[1], shown, strict=True):
        for method in methods:
            mine = [r for r in rows if r["method"] == method]
            where = [100 * r["part"] for r in mine]
            means = [np.nan if r[name][0] is None else r[name][0] for r in mine]
            errors = [r[name][1] or 0 for r in mine]
            colour = f"C{list(METHODS).index(method)}"
            axis.errorbar(where, means, errors, fmt="o-", ms=4, color=colour, label=method)
        axis.set(xlabel="neurons observed (%)", ylabel=label)
    axes[1, 2].axhline(0, color="0.6", lw=0.8)
    axes[1, 0].legend(frameon=False, fontsize=8)
    fig.savefig(path, dpi=150)
    plt.close(fig)


def main(argv: list[str] | None = None) -> Path:
    """Runs the experiment and writes `results.json`, `table.md` and a picture."""
    parser = argparse.ArgumentParser(description="Recover the connections of a network.")
    parser.add_argument("--out", type=Path, default=Path("out/connectivity"), help="output folder")
    parser.add_argument("--full", action="store_true", help="all parts, more steps")
    parser.add_argument("--seeds", type=int, nargs="+", help="by default 0, with --full 0 ... 4")
    parser.add_argument("--steps", type=int, help="of each fit (60; 300 with --full)")
    parser.add_argument(
        "--merge",
        type=Path,
        nargs="+",
        default=[],
        metavar="FOLDER",
        help="do not fit, join what other calls have written to these folders",
    )
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    steps = args.steps or (300 if args.full else 60)
    seeds = args.seeds or (range(5) if args.full else [0])
    cases = [
        (method, part, seed)
        for seed in seeds
        for part in (PARTS if args.full else PARTS[-1:])
        for method in METHODS
        if part < 1 or method != "alone"  # the same there
    ]
    runs = [r for folder in args.merge for r in json.loads((folder / "runs.json").read_text())]
    for method, part, seed in [] if args.merge else cases:
        runs.append(run(method, part, seed, steps))
        print(f"{method}, {part:.0%}, seed {seed}: {runs[-1]['error']:.3f}", flush=True)
        (args.out / "runs.json").write_text(json.dumps(runs))
        # Each fit compiles its own programs.
        jax.clear_caches()
    rows = sorted(summarise(runs), key=lambda r: -r["part"])
    (args.out / "results.json").write_text(json.dumps({"runs": runs, "summary": rows}))
    (args.out / "table.md").write_text(table(rows) + "\n")
    draw(runs, rows, args.out / "connectivity_recovery.png")
    print(table(rows))
    print(f"\nPicture: {args.out / 'connectivity_recovery.png'}")
    print(f"Table:   {args.out / 'table.md'}")
    print(f"Numbers: {args.out / 'results.json'}")
    return args.out


if __name__ == "__main__":
    main()
