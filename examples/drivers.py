"""One network under each driver: Brownian, rough, smooth, coloured, shared and jumping noise.

    python examples/drivers.py [--samples N] [--out DIR]

A picture with a path of each driver and the spikes that it causes, and how fast the solution
converges as the step falls. Writes `results.json`, `table.md` and `drivers.png` to DIR.
"""

import argparse
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import matplotlib
import numpy as np
from tqdm import tqdm

import roughsnn as rs

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402

T1, NEURONS, FINEST = 1.0, 12, 1024
STEPS = (32, 64, 128, 256)
RATES, JUMP = 60.0, 0.06


# --- the drivers: noise for the potentials, or spikes for the ports ------------------------------
def brownian(key, cells):
    """White noise."""
    return rs.BrownianPath(0.0, T1, T1 / cells, shape=(NEURONS, 1), key=key, interpolation="linear")


def fractional(key, cells, hurst):
    """Fractional Brownian motion."""
    shape = (NEURONS, 1)
    return rs.fractional_path(0.0, T1, T1 / cells, hurst=hurst, shape=shape, key=key)


def coloured(key, cells):
    """Noise with a memory: smooth paths."""
    return rs.coloured_path(0.0, T1, T1 / cells, timescale=0.05, shape=(NEURONS, 1), key=key)


def ornstein_uhlenbeck(key, cells):
    """As rough as Brownian motion, but bounded."""
    path = rs.ornstein_uhlenbeck_path(
        0.0, T1, T1 / cells, timescale=0.05, shape=(NEURONS, 1), key=key
    )
    return rs.GridPath(0.3 * path.increments, t0=0.0, t1=T1, dt=T1 / cells)


def shared(key, cells):
    """Nine tenths of the variance are common to all neurons."""
    factor = np.concatenate([np.full((NEURONS, 1), 0.9**0.5), 0.1**0.5 * np.eye(NEURONS)], 1)
    sources = rs.BrownianPath(
        0.0, T1, T1 / cells, shape=(1 + NEURONS, 1), key=key, interpolation="linear"
    )
    return rs.correlated(sources, factor=factor)


NOISE = {
    "Brownian": brownian,
    "rough, H = 0.35": lambda key, cells: fractional(key, cells, 0.35),
    "smooth, H = 0.8": lambda key, cells: fractional(key, cells, 0.8),
    "coloured, τ = 0.05": coloured,
    "Ornstein-Uhlenbeck": ornstein_uhlenbeck,
    "shared": shared,
}


def poisson_input(key) -> rs.SpikeTrain:
    """Each neuron has an input of its own."""
    return rs.poisson_spikes(
        0.0, T1, rates=jnp.full(NEURONS, RATES), max_spikes=int(3 * RATES * T1), key=key
    )


def simulate(key, noise=None, spikes=None, *, cells=FINEST):
    """Uncoupled neurons: what they have in common comes from the driver."""
    population = rs.Population(
        NEURONS,
        rs.neurons.LIF(tau=1 / 8, sigma=None if noise is None else 0.5),
        rs.StochasticFiring(rs.ExponentialIntensity(8.0, 0.9, timescale=0.05), alpha=0.02),
        ports={"syn": rs.synapses.Exponential(tau=1 / 40)},
    )
    network, drive, inputs = rs.SpikingNetwork(population), 0.8, {}
    if spikes is not None:
        network = rs.SpikingNetwork(
            {"input": rs.Source(NEURONS), "neurons": population},
            [rs.Projection("input", "neurons", JUMP * 8 * jnp.eye(NEURONS))],
        )
        drive, inputs = 0.1, {"input": spikes}
    return rs.simulate(
        network,
        jnp.full(NEURONS, drive),
        rs.Window(0.0, T1, T1 / cells),
        max_spikes=20 * NEURONS,
        key=key,
        noise=noise,
        inputs=inputs,
    ).spikes


# --- how fast solutions converge -----------------------------------------------------------------
@jax.jit
@jax.vmap
def square_errors(finest: rs.GridPath, key):
    """Of the first spike times, for each number of steps, against the finest grid."""

    def at(cells):
        train = simulate(key, rs.coarsened(finest, FINEST // cells), cells=cells)
        times = train.per_neuron(1)[:, 0]
        return jnp.where(jnp.isfinite(times), times, T1)

    exact = at(FINEST)
    return jnp.stack([jnp.mean((at(cells) - exact) ** 2) for cells in STEPS])


def convergence(name: str, samples: int) -> dict:
    """Root mean square errors on paths that are known on the finest grid."""
    noise_keys, keys = jr.split(jr.key(1), (2, samples))
    finest = jax.vmap(lambda key: rs.coarsened(NOISE[name](key, FINEST), 1))(noise_keys)
    errors = np.sqrt(np.mean(np.asarray(square_errors(finest, keys)), 0))
    slope = np.polyfit(np.log(STEPS), np.log(errors), 1)[0]
    return {"driver": name, "steps": list(STEPS), "errors": errors.tolist(), "order": -slope}


def table(rows: list[dict]) -> str:
    """Markdown."""
    head = " | ".join(f"dt = 1/{n}" for n in STEPS)
    lines = [f"| driver | {head} | order |", "|---|" + "---|" * (len(STEPS) + 1)]
    for row in rows:
        errors = " | ".join(f"{e:.1e}" for e in row["errors"])
        lines.append(f"| {row['driver']} | {errors} | {row['order']:.1f} |")
    return "\n".join(lines)


# --- the picture ---------------------------------------------------------------------------------
def draw(path: Path) -> None:
    """A column for each driver: a path of it, and the spikes."""
    names = [*NOISE, "Poisson spikes"]
    fig, axes = plt.subplots(
        2, len(names), figsize=(2.3 * len(names), 4.2), sharex=True, layout="constrained"
    )
    t = np.linspace(0, T1, FINEST + 1)
    for n, name in enumerate(names):
        noise_key, key = jr.split(jr.key(4))
        if name in NOISE:
            noise = NOISE[name](noise_key, FINEST)
            value = np.cumsum(np.asarray(noise.arrays()[0])[:, :3, 0], 0)
            axes[0, n].plot(t[1:], value, lw=0.8)
            train = simulate(key, noise)
        else:
            spikes = poisson_input(noise_key)
            for m, times in enumerate(spikes.to_lists()[:3]):
                axes[0, n].step(
                    [0, *times, T1],
                    [*range(len(times) + 1), len(times)],
                    lw=0.8,
                    where="post",
                    color=f"C{m}",
                )
            train = simulate(key, spikes=spikes)
        axes[1, n].eventplot(train.to_lists(), linewidths=1.0, colors="0.15")
        axes[0, n].set_title(name, fontsize=9)
        axes[1, n].set(xlabel="time", ylim=(-0.7, NEURONS - 0.3), xlim=(0, T1), yticks=[])
        for axis in axes[:, n]:
            axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("driver of three neurons")
    axes[1, 0].set_ylabel("spikes of all neurons")
    fig.savefig(path, dpi=150)
    plt.close(fig)


def main(argv: list[str] | None = None) -> Path:
    """Runs all and writes the results."""
    parser = argparse.ArgumentParser(description="One network under each driver.")
    parser.add_argument("--out", type=Path, default=Path("out/drivers"), help="output folder")
    parser.add_argument("--samples", type=int, default=64, help="paths for the table")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    rows = [convergence(name, args.samples) for name in tqdm(NOISE, desc="convergence")]
    (args.out / "results.json").write_text(json.dumps(rows, indent=1))
    (args.out / "table.md").write_text(table(rows) + "\n")
    draw(args.out / "drivers.png")
    print(table(rows))
    return args.out


if __name__ == "__main__":
    main()
