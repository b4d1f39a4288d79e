"""The picture of `neuron_zoo.py`."""

from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.lines import Line2D  # noqa: E402

BLUE, ORANGE, GREY = "#1f4e79", "#d9480f", "0.55"


class Trace(NamedTuple):
    """What the picture shows of a neuron: in seconds, or in mV and ms."""

    ts: np.ndarray
    voltage: np.ndarray
    # Its own, or those that arrive at a neuron that never fires.
    spikes: np.ndarray
    # A threshold that may move, or the peak of a neuron that runs away to one.
    threshold: np.ndarray | None = None
    peak: float | None = None
    # The input of this trace.
    level: float = 1.5
    # The rates at other inputs, of a neuron that fires.
    inputs: np.ndarray | None = None
    rates: np.ndarray | None = None
    millivolts: bool = False


def draw_trace(ax: Any, name: str, trace: Trace) -> None:
    """Potential, threshold and spikes; an upstroke is drawn up to the peak."""
    to_ms = 1 if trace.millivolts else 1000
    ax.plot(to_ms * trace.ts, trace.voltage, color=BLUE, lw=1)
    low, top = np.min(trace.voltage), np.max(trace.voltage)
    if trace.peak is not None:
        before = trace.voltage[np.searchsorted(trace.ts, trace.spikes) - 1]
        ax.vlines(to_ms * trace.spikes, before, trace.peak, color=BLUE, lw=1)
        top = trace.peak
    if trace.threshold is not None:
        ax.plot(to_ms * trace.ts, trace.threshold, color=GREY, lw=0.9, ls="--")
        top = max(top, np.max(trace.threshold))
    ends = top + 0.08 * (top - low), top + 0.3 * (top - low)
    ax.vlines(to_ms * trace.spikes, *ends, color=ORANGE, lw=1.4)
    ax.set_xlim(0, to_ms * trace.ts[-1])
    ax.set_ylabel("v (mV)" if trace.millivolts else "v", fontsize=8)
    about = "the spikes of LIF arrive" if trace.inputs is None else f"input {trace.level:.3g}"
    ax.set_title(f"{name}: {about}", fontsize=9, loc="left")


def draw_rates(ax: Any, trace: Trace) -> None:
    """The rate against the input, and where the trace is."""
    if trace.inputs is None or trace.rates is None:
        ax.axis("off")
        return
    rates = (1000 if trace.millivolts else 1) * trace.rates
    ax.plot(trace.inputs, rates, color=BLUE, lw=1.2)
    ax.plot(trace.level, np.interp(trace.level, trace.inputs, rates), "o", color=ORANGE, ms=4)
    ax.set_ylim(bottom=0)
    ax.set_ylabel("rate (1/s)", fontsize=8)
    ax.set_xlabel("input", fontsize=8)


def draw(traces: dict[str, Trace], path: Path) -> None:
    """A trace and the rate against the input for each neuron, two neurons side by side."""
    rows = -(-len(traces) // 2)
    fig, axes = plt.subplots(
        rows, 4, figsize=(14, 2 * rows), layout="constrained", width_ratios=(3, 1.1, 3, 1.1)
    )
    for ax in axes.flat:
        ax.tick_params(labelsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    # Down the left half, then down the right one.
    pairs = np.concatenate([axes[:, :2], axes[:, 2:]])
    for (left, right), (name, trace) in zip(pairs, traces.items(), strict=False):
        draw_trace(left, name, trace)
        draw_rates(right, trace)
        left.set_xlabel("time (ms)", fontsize=8)
    for left, right in pairs[len(traces) :]:
        left.axis("off")
        right.axis("off")
    handles = [
        Line2D([], [], color=BLUE, label="potential"),
        Line2D([], [], color=GREY, ls="--", label="threshold"),
        Line2D([], [], color=ORANGE, label="spikes", ls="", marker="|", ms=12, mew=1.4),
        Line2D([], [], color=ORANGE, label="the input of the trace", ls="", marker="o", ms=4),
    ]
    fig.legend(handles=handles, loc="outside lower center", ncols=4)
    fig.savefig(path, dpi=110)
    plt.close(fig)
