"""The picture and the table of `recorded_neuron.py`."""

from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402

NAMES = {
    "likelihood": "likelihood",
    "score": "score",
    "both": "both",
    "glm": "GLM with history",
    "stimulus": "GLM of the stimulus",
}
COLOURS = {"likelihood": "#1f4e79", "score": "#2e8b57", "both": "#8e44ad", "glm": "#d98200"}
RECORDED = "#b3001b"


def draw(judged: dict, test: np.ndarray, split: float, level: tuple, path: Path) -> None:
    """Stimulus and rasters of the last receptor; interspike intervals; time rescaling."""
    fig = plt.figure(figsize=(11, 7.5), layout="constrained")
    grid = fig.add_gridspec(3, 2, height_ratios=(0.7, 1.2, 1.7))
    top = fig.add_subplot(grid[0, :])
    top.plot(*level, color="0.2", lw=1)
    top.set(ylabel="level (sd)", title="Sound level, recorded and simulated spikes (held out)")
    raster = fig.add_subplot(grid[1, :], sharex=top)
    raster.eventplot(
        [test, *(s - split for s in judged["both"]["trials"][:20])],
        lineoffsets=[23, *range(20, 0, -1)],
        linelengths=[3, *[0.8] * 20],
        colors=[RECORDED, *[COLOURS["both"]] * 20],
        linewidths=1,
    )
    raster.set(xlabel="time since the split (ms)", xlim=(0, level[0][-1]), yticks=(10.5, 23))
    raster.set_yticklabels(["model (both)", "recorded"])
    hist = fig.add_subplot(grid[2, 0])
    bins = [float(edge) for edge in range(45)]
    hist.hist(np.diff(test), bins, density=True, color=RECORDED, alpha=0.35, label="recorded")
    ks = fig.add_subplot(grid[2, 1])
    first = next(iter(judged.values()))
    band = 1.36 / np.sqrt(len(first["rescaled"]))
    ks.fill_between([0, 1], [-band, 1 - band], [band, 1 + band], color="0.88", label="95 % band")
    for name, colour in COLOURS.items():
        hist.hist(
            judged[name]["intervals"],
            bins,
            density=True,
            histtype="step",
            color=colour,
            lw=1.4,
            label=NAMES[name],
        )
        quantiles = judged[name]["rescaled"]
        u = (np.arange(len(quantiles)) + 0.5) / len(quantiles)
        statistic = judged[name]["time_rescaling_ks"]
        ks.plot(u, quantiles, color=colour, lw=1.4, label=f"{NAMES[name]}, KS = {statistic:.3f}")
    hist.set(xlabel="interspike interval (ms)", ylabel="density", title="Intervals in free runs")
    ks.set(
        xlim=(0, 1),
        ylim=(0, 1),
        xlabel="uniform quantile",
        ylabel="rescaled interval",
        title="Time rescaling",
    )
    for axis in (hist, ks):
        axis.legend(frameon=False, fontsize=8)
    for axis in fig.axes:
        axis.spines[["top", "right"]].set_visible(False)
    fig.savefig(path, dpi=150)
    plt.close(fig)


def table(judged: dict, recorded: dict) -> str:
    """The scores as a Markdown table."""
    rows = {
        "log-likelihood per spike (nats)": ("{log_likelihood_per_spike_nats:.3f}", None),
        "bits per spike over a constant rate": ("{bits_per_spike:.3f}", None),
        "rate correlation": ("{rate_correlation:.3f}", None),
        "spikes": ("{spikes:.0f} ± {spikes_sd:.0f}", "{spikes}"),
        "mean interval (ms)": ("{mean_interval_ms:.2f}",) * 2,
        "CV of intervals": ("{cv:.3f}",) * 2,
        "1st percentile of intervals (ms)": ("{first_percentile_ms:.2f}",) * 2,
        "time rescaling: KS (p)": ("{time_rescaling_ks:.3f} ({time_rescaling_p:.2g})", None),
    }
    names = [NAMES[name] for name in judged]
    lines = ["| | " + " | ".join([*names, "recorded"]) + " |", "|---" * (len(names) + 2) + "|"]
    for label, (model, data) in rows.items():
        cells = [model.format(**row) for row in judged.values()]
        cells.append("" if data is None else data.format(**recorded))
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
