"""Weak and strong orders for every driver, interpolation and solver: a picture and a table.

python benchmarks/draw_orders.py PICTURE [--samples N] [--shown]

One neuron (tau = 1/15, 1/6; c = 1.5), errors against the default solver on 4096 cells of the same
path: of v at time 1.28 without spikes and of the first spike time, root mean square (strong), and
of the mean of the first spike time (weak; with its standard error from common noise).
"""

import argparse
from pathlib import Path
from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import matplotlib
import numpy as np
from tqdm import tqdm

import roughsnn as rs

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402

T1, FINEST = 1.28, 4096
CELLS = (32, 64, 128, 256)
SHAPE: Any = dict(shape=(1, 2))


def brownian(key, interpolation):
    """Brownian motion on the finest grid."""
    return rs.BrownianPath(0.0, T1, T1 / FINEST, key=key, interpolation=interpolation, **SHAPE)


def path_of(make, **options):
    """Another driver, by chords."""
    return lambda key, interpolation: make(0.0, T1, T1 / FINEST, key=key, **options, **SHAPE)


def small(path):
    """The stationary process has variance one."""
    return rs.GridPath(0.3 * path.increments, t0=0.0, t1=T1, dt=T1 / FINEST)


ORNSTEIN = path_of(rs.ornstein_uhlenbeck_path, timescale=0.1)
DRIVERS: dict[str, Any] = {
    "Brownian on v": (brownian, ((0.5, 0.0), (0.0, 0.0))),
    "Brownian on i": (brownian, ((0.0, 0.0), (0.0, 2.0))),
    "fractional, H = 0.35": (path_of(rs.fractional_path, hurst=0.35), ((0.5, 0.0), (0.0, 0.0))),
    "fractional, H = 0.7": (path_of(rs.fractional_path, hurst=0.7), ((0.5, 0.0), (0.0, 0.0))),
    "coloured, τ = 0.1": (path_of(rs.coloured_path, timescale=0.1), ((0.5, 0.0), (0.0, 0.0))),
    "Ornstein-Uhlenbeck": (lambda k, i: small(ORNSTEIN(k, i)), ((1.0, 0.0), (0.0, 0.0))),
    "multiplicative Brownian": (brownian, ((0.5, 0.0), (0.0, 0.0))),
}
SOLVERS: dict[str, Any] = {
    "default": None,
    "Heun": dfx.Heun(),
    "Tsit5": dfx.Tsit5(),
    "Euler": dfx.Euler(),
}


def pairs():
    """Every (driver, interpolation, solver) that is offered."""
    for driver in DRIVERS:
        multiplicative = driver.startswith("multiplicative")
        for interpolation in ("linear", "parabola") if "Brownian" in driver else ("linear",):
            for solver in SOLVERS:
                # The default is one of the others there, and Euler's equation is that of Ito.
                if multiplicative and (solver in ("default", "Euler")):
                    continue
                if multiplicative and interpolation == "parabola" and solver == "Heun":
                    continue
                if solver == "Euler" and interpolation == "parabola":
                    continue
                yield driver, interpolation, solver


def shown(driver: str, interpolation: str, solver: str) -> bool:
    """Whether the picture shows it: the defaults."""
    if driver.startswith("multiplicative"):
        return solver == ("Heun" if interpolation == "linear" else "Tsit5")
    return solver == "default"


def solve(driver: str, noise, solver, key) -> tuple:
    """v at the end without spikes, and the first spike time."""
    _, (on_v, on_i) = DRIVERS[driver]
    neuron: Any = rs.neurons.LIF(1 / 15, sigma=on_v)
    if driver.startswith("multiplicative"):
        neuron = rs.neurons.MultiplicativeLIF(1 / 15, on_v)
    ports = {"syn": rs.synapses.Exponential(1 / 6, on_i)}

    def run(threshold, stop_after=None, saveat=None):
        firing = rs.StochasticFiring(rs.ExponentialIntensity(5.0, threshold, 1.0), 0.03)
        return rs.simulate(
            rs.SpikingNetwork(rs.Population(1, neuron, firing, ports)),
            jnp.full(1, 1.5),
            rs.Window(0.0, T1, noise.dt, stop_after=stop_after),
            max_spikes=1,
            key=key,
            noise=noise,
            engine=rs.EventByEvent(solver=solver, saveat=saveat),
        )

    quiet = run(100.0, saveat=dfx.SaveAt(t1=True)).states
    return quiet.y1["v"][0], jnp.minimum(run(1.0, stop_after=1).spikes.times[0], T1)


def errors(driver: str, interpolation: str, solver: str, samples: int) -> dict:
    """Errors for each number of cells."""
    make, _ = DRIVERS[driver]
    exact_solver = dfx.Tsit5() if driver.startswith("multiplicative") else None
    best = "parabola" if make is brownian else "linear"

    @jax.jit
    def one(key):
        noise_key, key = jr.split(key)
        finest = rs.coarsened(make(noise_key, best), 1)
        exact = solve(driver, finest, exact_solver, key)
        found = []
        for cells in CELLS:
            path = rs.coarsened(finest, FINEST // cells)
            if interpolation == "linear":
                path = rs.GridPath(path.increments, t0=0.0, t1=T1, dt=path.dt)
            got = solve(driver, path, SOLVERS[solver], key)
            found.append(jnp.stack([a - b for a, b in zip(got, exact, strict=True)]))
        return jnp.stack(found), exact[1]

    keys = jr.split(jr.key(0), samples)
    gaps, exact = map(np.asarray, jax.lax.map(one, keys, batch_size=512))
    rms = np.sqrt(np.mean(gaps**2, 0))
    mean, error = gaps[..., 1].mean(0), gaps[..., 1].std(0) / samples**0.5
    return {
        "driver": driver,
        "interpolation": interpolation,
        "solver": solver,
        "state": rms[:, 0],
        "time": rms[:, 1],
        "mean": mean / exact.mean(),
        "error": error / exact.mean(),
    }


def order(values: np.ndarray) -> float:
    """The slope in a log-log plot."""
    return float(-np.polyfit(np.log(CELLS), np.log(np.maximum(np.abs(values), 1e-15)), 1)[0])


def weak(row: dict) -> str:
    """The order of the mean, if it stands out of its error at three steps at least."""
    seen = np.abs(row["mean"]) > 3 * row["error"]
    number = len(CELLS) if seen.all() else int(np.argmin(seen))
    if number < 2:
        return "-"
    logs = np.log(CELLS[:number]), np.log(np.abs(row["mean"][:number]))
    slope = -np.polyfit(*logs, 1)[0]
    spread = 2 * np.hypot(*(row["error"] / np.abs(row["mean"]))[[0, number - 1]])
    return f"{slope:.1f} ± {spread / np.log(CELLS[number - 1] / CELLS[0]):.1f}"


def table(rows: list[dict]) -> str:
    """Markdown."""
    lines = [
        "| driver | interpolation | solver | strong, v | strong, τ | weak, mean τ | bias, dt = 0.01 |",  # noqa: E501
        "|---|---|---|---|---|---|---|",
    ]
    at = CELLS.index(128)
    for r in rows:
        bias = f"{100 * r['mean'][at]:+.3f} ± {100 * r['error'][at]:.3f} %"
        lines.append(
            f"| {r['driver']} | {r['interpolation']} | {r['solver']} | {order(r['state']):.1f} | "
            f"{order(r['time']):.1f} | {weak(r)} | {bias} |"
        )
    return "\n".join(lines)


def draw(rows: list[dict], picture: Path) -> None:
    """Strong errors of state and spike time, and the weak error, against dt; default solvers."""
    fig, axes = plt.subplots(1, 3, figsize=(12.5, 4), layout="constrained")
    steps = T1 / np.array(CELLS)
    chosen = [r for r in rows if shown(r["driver"], r["interpolation"], r["solver"])]
    panels = (
        ("state", "of v without spikes (rms)"),
        ("time", "of the first spike time (rms)"),
        ("mean", "of the mean first spike time (relative)"),
    )
    for axis, (what, title) in zip(axes, panels, strict=True):
        names = list(DRIVERS)
        for r in chosen:
            line = "--" if r["interpolation"] == "parabola" else "-"
            marker = "s" if r["solver"] == "Tsit5" else "o"
            # Means only where they stand out of their error.
            seen = (
                np.abs(r["mean"]) > 2 * r["error"] if what == "mean" else np.full(len(CELLS), True)
            )
            axis.loglog(
                steps,
                np.where(seen, np.abs(r[what]), np.nan),
                line + marker,
                ms=3.5,
                lw=1.2,
                color=f"C{names.index(r['driver'])}",
                label=r["driver"] + (", parabola" if line == "--" else ""),
            )
        low, high = axis.get_ylim()
        for slope in (1, 2):
            guide = high / 2 * (steps / steps[0]) ** slope
            axis.loglog(steps, guide, ":", color="0.6", lw=1)
            axis.annotate(f"dt^{slope}", (steps[-1], guide[-1]), fontsize=7, color="0.4")
        axis.set_ylim(low, high)
        axis.set(xlabel="dt", title=f"error {title}")
        axis.set_xticks(steps, [f"{x:g}" for x in steps])
        axis.minorticks_off()
        axis.title.set_fontsize(9)
        axis.spines[["top", "right"]].set_visible(False)
    fig.legend(
        *axes[0].get_legend_handles_labels(), frameon=False, fontsize=7, loc="outside right upper"
    )
    fig.savefig(picture, dpi=150)
    plt.close(fig)


def main() -> None:
    """Writes the picture and prints the table."""
    parser = argparse.ArgumentParser(description="Orders of convergence.")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--samples", type=int, default=8192)
    parser.add_argument("--shown", action="store_true", help="only what the picture shows")
    args = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    chosen = [pair for pair in pairs() if not args.shown or shown(*pair)]
    rows = [errors(*pair, args.samples) for pair in tqdm(chosen, desc="orders")]
    draw(rows, args.picture)
    print(table(rows))


if __name__ == "__main__":
    main()
