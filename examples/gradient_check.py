"""Gradient checks of five models, and the error of the gradient against dt.

    python examples/gradient_check.py [--full] [--out DIR]

Writes `results.json`, a table and a figure to DIR.
"""

import argparse
import functools
import json
from pathlib import Path
from typing import Any, Literal

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import matplotlib
import numpy as np
from tqdm import tqdm

import roughsnn as rs
from roughsnn.testing import check_gradients

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402

jax.config.update("jax_enable_x64", True)

T1, COARSEST = 2.56, 0.04


# --- five models: parameters, (params, key, dt) -> outputs -------------------------------------
def slif_network(p, sigma=0.25):
    """The stochastic LIF neuron of Holberg & Salvi, Section 5.1."""
    neuron = rs.neurons.LIF(p["tau"], rs.Subtract(p["reset"]), sigma)
    firing = rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0, 1.0), alpha=0.03)
    return rs.SpikingNetwork(rs.Population(1, neuron, firing))


def three_spikes(network, drive, key, dt, noise=None):
    """The first three spike times; one that has left the window counts as its end."""
    train = rs.simulate(
        network,
        drive,
        rs.Window(0.0, T1, dt, stop_after=3),
        max_spikes=3,
        key=key,
        noise=noise,
        engine=rs.EventByEvent(),
    ).spikes
    return jnp.where(train.marks >= 0, train.times, T1)


NEURON = {"c": jnp.array([1.5]), "tau": jnp.asarray(1 / 15), "reset": jnp.asarray(1.4)}


def noise_on_v(p, key, dt):
    """Stochastic firing, noise on the membrane."""
    return three_spikes(slif_network(p), p["c"], key, dt)


def noise_on_i(p, key, dt):
    """A hard threshold; the noise reaches v through the current only."""
    neuron = rs.neurons.LIF(p["tau"], rs.Subtract(p["reset"]))
    ports = {"syn": rs.synapses.Exponential(p["tau of i"], sigma=0.5)}
    network = rs.SpikingNetwork(rs.Population(1, neuron, rs.HardThreshold(), ports))
    return three_spikes(network, p["c"], key, dt)


def recurrent(p, key, dt):
    """Four coupled neurons that swap the order of their spikes."""
    neuron = rs.neurons.LIF(p["tau"][0], rs.Subtract(1.2), (0.25, 0.0))
    ports = {"syn": rs.synapses.Exponential(p["tau"][1], (0.0, 0.25))}
    firing = rs.StochasticFiring(rs.ExponentialIntensity(), alpha=0.03)
    population = rs.Population(4, neuron, firing, ports)
    network = rs.SpikingNetwork(population, weights=p["weights"] * (1 - jnp.eye(4)))
    train = rs.simulate(
        network,
        p["c"],
        rs.Window(0.0, 0.64, dt),
        max_spikes=80,
        key=key,
        engine=rs.EventByEvent(),
    ).spikes
    times = train.per_neuron(2)
    return jnp.where(jnp.isfinite(times), times, 0.64)


WEIGHTS = {
    "c": jnp.array([1.5, 1.3, 1.2, 1.0]),
    "tau": jnp.array([1 / 6, 1 / 5]),
    "weights": 0.6 * jnp.array(np.random.default_rng(0).normal(size=(4, 4)), float),
}


def kicked_particle(p, key, dt):
    """An event SDE of one's own: a particle with noise in its velocity runs into a wall.

    At the wall it loses speed by subtraction (which commutes with the noise, as a reflection
    would not) and is set back.
    """
    path = rs.BrownianPath(0.0, T1, dt, shape=(), key=key, interpolation="linear")
    field = lambda t, y, args: jnp.stack([y[1], p["pull"] - p["drag"] * y[1]])
    noise = lambda t, y, args: jnp.stack([0.0 * p["pull"], jnp.asarray(0.4)])
    jump = lambda t, y, args, k, u: y - jnp.stack([p["back"], p["loss"]])
    sol = rs.eventsolve(
        dfx.MultiTerm(dfx.ODETerm(field), dfx.ControlTerm(noise, path)),
        rs.Window(0.0, T1, dt, stop_after=3),
        jnp.array([0.0, 0.5]),
        event=rs.Event(lambda t, y, args: y[:1] - 1, jump),
        max_events=12,
        key=key,
        engine=rs.EventByEvent(solver=dfx.Heun(), saveat=dfx.SaveAt(t1=True)),
    )
    return jnp.where(sol.event_marks[:3] >= 0, sol.event_times[:3], T1)


PARTICLE = {k: jnp.asarray(v) for k, v in dict(pull=2.0, drag=0.5, back=1.0, loss=0.6).items()}


def hard_and_noisy(p, key, dt, conditions: Literal["check", "waive"] = "check"):
    """A hard threshold on a noisy membrane: no pathwise gradient exists."""
    neuron = rs.neurons.LIF(p["tau"], rs.Subtract(p["reset"]), sigma=0.5)
    population = rs.Population(1, neuron, rs.HardThreshold())
    network = rs.SpikingNetwork(population, conditions=conditions)
    return three_spikes(network, p["c"], key, dt)[:1]


MODELS = {
    "SLIF, noise on v": (noise_on_v, NEURON),
    "hard threshold, noise on i": (noise_on_i, NEURON | {"tau of i": jnp.asarray(1 / 4.5)}),
    "recurrent network": (recurrent, WEIGHTS),
    "particle and wall": (kicked_particle, PARTICLE),
    "hard threshold, noise on v": (hard_and_noisy, NEURON),
}


def check_models(full: bool):
    """A verdict for each model; the last one must be refused."""
    dts = (0.04, 0.02, 0.01) if full else (0.02,)
    options: Any = dict(samples=4096 if full else 512, probes=(8 if full else 4, 2), dts=dts)
    rows = []
    for name, (fn, params) in tqdm(MODELS.items(), desc="harness"):
        refusal, settings = None, options
        if fn is hard_and_noisy:
            try:
                fn(params, jr.key(0), COARSEST)
            except ValueError as error:
                refusal = str(error)
            fn = functools.partial(hard_and_noisy, conditions="waive")
            settings = dict(
                options, dts=(0.04, 0.0025) if full else (0.0025,), samples=8192 if full else 4096
            )
        rows.append((name, refusal, check_gradients(fn, params, jr.key(0), **settings)))
    return rows


# --- the error against dt ----------------------------------------------------------------------
def thresholds(c, key):
    """The random levels of s at the start and after each of the first two spikes."""
    sim = rs.simulate(
        slif_network(NEURON),
        c[None],
        rs.Window(0.0, T1, COARSEST, stop_after=3),
        max_spikes=3,
        key=key,
        engine=rs.EventByEvent(saveat=dfx.SaveAt(t0=True, steps=True)),
    )
    train, sol = sim.spikes, sim.states
    s = sol.ys["s"][:, 0]
    # The first entry is the start; right limits follow left ones.
    after = [jnp.max(jnp.where(sol.ts == t, jnp.arange(s.shape[0]), 0)) for t in train.times[:2]]
    return jnp.stack([s[0], *(s[n] for n in after)])


def recipe(c, increments, levels, dt):
    """Spike times by Euler with a restart at each spike, query times held constant."""
    grid = jnp.linspace(0.0, T1, increments.shape[0] + 1)
    walk = jnp.concatenate([jnp.zeros(1), jnp.cumsum(increments)])
    at = lambda t: jnp.interp(jax.lax.stop_gradient(t), grid, walk)

    def step(carry, _):
        t, v, s, n = carry
        rate, slope = jnp.exp(5 * (v - 1)), 15 * (c - v)
        fires = s + dt * rate >= 0
        h = jnp.where(fires, -s / rate, dt)
        v = v + h * slope + 0.25 * (at(t + h) - at(t))
        s = s + h * rate
        n = jnp.where(fires, jnp.minimum(n + 1, 2), n)
        v, s = jnp.where(fires, v - 1.4, v), jnp.where(fires, levels[n], s)
        return (t + h, v, s, n), jnp.where(fires, t + h, jnp.inf)

    start = (jnp.zeros(()), jnp.zeros(()), levels[0], jnp.zeros((), jnp.int32))
    _, times = jax.lax.scan(step, start, length=round(T1 / dt) + 3)
    return jnp.sort(times)[:3]


def relative_errors(samples: int, finest: int, dts):
    """Relative RMS errors of d tau_1..3 / dc, path by path, against a fine grid."""
    keys, c = jr.split(jr.key(1), samples), jnp.asarray(1.5)

    def motion(key, dt, interpolation: Literal["linear", "parabola"] = "linear"):
        """The same Brownian motion at every dt."""
        key, shape = jr.fold_in(key, 1), (1, 1)
        return rs.BrownianPath(0.0, T1, dt, shape=shape, key=key, interpolation=interpolation)

    def times(c, key, dt, interpolation: Literal["linear", "parabola"] = "linear"):
        noise = motion(key, dt, interpolation)
        return three_spikes(slif_network(NEURON), c[None], key, dt, noise)

    levels = jax.jit(jax.vmap(lambda key: thresholds(c, key)))(keys)

    def restarted(c, key, level, dt):
        return recipe(c, motion(key, dt).increments[:, 0, 0], level, dt)

    def slopes(fn, *inputs):
        tangent = lambda *x: jax.jvp(lambda c: fn(c, *x), (c,), (jnp.ones_like(c),))
        return jax.jit(jax.vmap(tangent))(*inputs)

    def derivatives(dt, h=1e-5):
        """By automatic differentiation, and by central differences, in one program."""

        @jax.jit
        def run(shifts):
            over_shifts = jax.vmap(
                lambda s, key: jax.jvp(lambda c: times(c, key, dt), (c + s,), (jnp.ones_like(c),)),
                (0, None),
            )
            return jax.vmap(over_shifts, (None, 0))(shifts, keys)

        values, tangents = run(jnp.array([0.0, h, -h]))
        return values[:, 0], tangents[:, 0], (values[:, 1] - values[:, 2]) / (2 * h)

    values, exact = slopes(lambda c, key: times(c, key, COARSEST / 2**finest), keys)
    # Paths on which all three spikes come well before the end.
    used = np.asarray(jnp.all(values < 0.9 * T1, axis=1))
    size = np.sqrt(np.mean(np.asarray(exact)[used] ** 2, axis=0))

    def error(found):
        gap = np.asarray(found - exact)[used]
        gap = np.where(np.isfinite(gap), gap, 10 * size)
        return (np.sqrt(np.mean(gap**2, axis=0)) / size).tolist()

    rows = []
    for dt in tqdm(dts, desc="error against dt"):
        _, ours, difference = derivatives(dt)
        closer = slopes(lambda c, k, dt=dt: times(c, k, dt, "parabola"), keys)[1]
        theirs = slopes(lambda c, k, level, dt=dt: restarted(c, k, level, dt), keys, levels)[1]
        rows.append(
            {
                "dt": dt,
                "roughsnn": error(ours),
                "roughsnn, parabola": error(closer),
                "stop-gradient recipe": error(theirs),
                "finite differences": error(difference),
                "mean bias": (
                    np.asarray(ours - exact)[used].mean(0) / np.asarray(exact)[used].mean(0)
                ).tolist(),
            }
        )
    return rows


# --- the table and the figure ------------------------------------------------------------------
def write_table(models, errors) -> str:
    """Markdown: verdicts of the harness, then errors against dt."""
    lines = [
        "| model | refused | verdict of the harness | checks | grave |",
        "|---|---|---|---|---|",
    ]
    for name, refusal, report in models:
        grave = {c.check for c in report.comparisons if c.verdict != "agrees"}
        lines.append(
            f"| {name} | {'yes' if refusal else 'no'} | {report.verdict} | "
            f"{len(report.comparisons)} | {', '.join(sorted(grave)) or '–'} |"
        )
    lines += [
        "",
        "| dt | " + " | ".join(f"{m}, spike {n}" for m in METHODS for n in (1, 2, 3)) + " |",
    ]
    lines.append("|---" * (1 + 3 * len(METHODS)) + "|")
    for row in errors:
        cells = [f"{100 * e:.2g} %" for m in METHODS for e in row[m]]
        lines.append(f"| {row['dt']:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


METHODS = {
    "roughsnn": "C0",
    "roughsnn, parabola": "C4",
    "stop-gradient recipe": "C3",
    "finite differences": "C2",
}


def draw(errors, out: Path) -> None:
    """One panel for each spike: relative RMS error of its derivative against dt."""
    fig, axes = plt.subplots(1, 3, figsize=(10, 4), sharey=True, layout="constrained")
    dts = np.array([row["dt"] for row in errors])
    ticks = dts[:: 1 + len(dts) // 5]
    for n, ax in enumerate(axes):
        for method, colour in METHODS.items():
            style = "x" if method == "finite differences" else "o-"
            ax.loglog(dts, [row[method][n] for row in errors], style, color=colour, label=method)
        ax.loglog(dts, 0.06 * (dts / 0.01) ** 0.5, "k:", lw=1, label=r"$\propto\sqrt{dt}$")
        ax.set(title=f"spike {n + 1}", xlabel="dt")
        ax.set_xticks(ticks, [f"{dt:g}" for dt in ticks])
        ax.set_xticks([], minor=True)
        ax.invert_xaxis()
    axes[0].set_ylabel(r"relative error of $d\tau/dc$")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    fig.savefig(out, dpi=150)
    plt.close(fig)


def main() -> None:
    """Runs both parts and writes what they found."""
    parser = argparse.ArgumentParser(description="Gradient checks of five models.")
    parser.add_argument("--full", action="store_true", help="more samples, a finer grid")
    parser.add_argument("--quick", action="store_true", help="a coarse grid, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the results")
    parser.add_argument("--no-models", action="store_true", help="only the error against dt")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    finest, levels, samples = (11, 8, 512) if options.full else (6, 3, 128)
    if options.quick:
        finest, levels, samples = 4, 2, 32
    errors = relative_errors(samples, finest, [COARSEST / 2**n for n in range(levels)])
    models = [] if options.no_models else check_models(options.full)
    for name, refusal, report in models:
        print(f"\n{name}" + (f"\nrefused: {refusal}" if refusal else ""))
        print(report)
    table = write_table(models, errors)
    picture, page = options.out / "gradient_check.png", options.out / "gradient_check.md"
    draw(errors, picture)
    page.write_text(table)
    found = [{"model": n, "refused": bool(r), "verdict": report.verdict} for n, r, report in models]
    results = options.out / "results.json"
    results.write_text(json.dumps({"models": found, "errors": errors}, indent=1))
    print(f"\n{table}\nPicture: {picture}\nTable:   {page}\nNumbers: {results}")
    bad = [n for n, r, report in models if bool(r) == report.passed]
    if bad:
        raise SystemExit(f"Not as it should be: {bad}")


if __name__ == "__main__":
    main()
