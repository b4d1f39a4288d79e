"""The picture and the table of `recorded_neuron.py`."""

from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402


def draw(result: dict, path: Path) -> None:
    """Stimulus and rasters; interspike intervals; time rescaling."""
    shown = result["pictures"]
    scores = result["scores"]
    fig = plt.figure(figsize=(11, 7.5), layout="constrained")
    grid = fig.add_gridspec(3, 2, height_ratios=(0.7, 1.2, 1.7))
    split = shown["split"]
    top = fig.add_subplot(grid[0, :])
    top.plot(*shown["level"], color="0.2", lw=1)
    top.set(ylabel="level (sd)", title="Sound level, recorded and simulated spikes (held out)")
    raster = fig.add_subplot(grid[1, :], sharex=top)
    raster.eventplot(
        [shown["test"] - split, *shown["simulated"][:20]],
        lineoffsets=[23, *range(20, 0, -1)], linelengths=[3, *[0.8] * 20],
        colors=["#b3001b", *["#1f4e79"] * 20], linewidths=1,
    )  # fmt: skip
    raster.set(
        xlabel="time since the split (ms)", xlim=(0, shown["level"][0][-1]), yticks=(10.5, 23)
    )
    raster.set_yticklabels(["model", "recorded"])
    hist = fig.add_subplot(grid[2, 0])
    bins = [float(edge) for edge in range(45)]
    hist.hist(shown["isi"], bins, density=True, color="#b3001b", alpha=0.45, label="recorded")
    hist.hist(shown["model_isi"], bins, density=True, histtype="step", color="#1f4e79", lw=1.6,
              label="model, free run")  # fmt: skip
    hist.set(xlabel="interspike interval (ms)", ylabel="density", title="Interspike intervals")
    hist.legend(frameon=False)
    ks = fig.add_subplot(grid[2, 1])
    u = (np.arange(len(shown["rescaled"])) + 0.5) / len(shown["rescaled"])
    band = scores["ks_95_percent_band"]
    ks.fill_between([0, 1], [-band, 1 - band], [band, 1 + band], color="0.88", label="95 % band")
    ks.plot(u, shown["rescaled"], color="#1f4e79", lw=1.6, label="model")
    ks.set(
        xlim=(0, 1), ylim=(0, 1), xlabel="uniform quantile", ylabel="rescaled interval",
        title=f"Time rescaling, KS = {scores['time_rescaling_ks']:.3f}, "
        f"p = {scores['time_rescaling_p']:.2g}",
    )  # fmt: skip
    ks.legend(frameon=False, loc="upper left")
    for axis in fig.axes:
        axis.spines[["top", "right"]].set_visible(False)
    fig.savefig(path, dpi=150)
    plt.close(fig)


def table(scores: dict) -> str:
    """The scores as a Markdown table."""
    ll, rate = scores["log_likelihood_per_spike_nats"], scores["rate_correlation"]
    bits = scores["bits_per_spike_over_homogeneous"]
    isi, cv, count = scores["isi_mean_ms"], scores["isi_cv"], scores["spike_count"]
    p, i, h = "inhomogeneous_poisson", "inhomogeneous Poisson", "homogeneous Poisson"
    return "\n".join(
        [
            f"| held out ({scores['test_spikes']} spikes) | model | {i} | {h} | recorded |",
            "|---|---|---|---|---|",
            f"| log-likelihood per spike (nats) | {ll['model']:.3f} | {ll[p]:.3f} "
            f"| {ll['homogeneous_poisson']:.3f} | |",
            f"| bits per spike | {bits['model']:.3f} | {bits[p]:.3f} | 0 | |",
            f"| rate correlation | {rate['model']:.3f} | {rate[p]:.3f} | 0 | 1 |",
            f"| mean interval (ms) | {isi['model']:.2f} | | | {isi['recorded']:.2f} |",
            f"| CV of intervals | {cv['model']:.3f} | | 1 | {cv['recorded']:.3f} |",
            f"| spikes | {count['model_mean']:.0f} ± {count['model_sd']:.0f} | | "
            f"| {count['recorded']} |",
            f"| time rescaling: KS (95 % band), p | {scores['time_rescaling_ks']:.3f} "
            f"({scores['ks_95_percent_band']:.3f}), {scores['time_rescaling_p']:.2g} | | | |",
        ]
    )
