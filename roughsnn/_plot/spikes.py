"""Pictures of spikes."""

from typing import Any

import numpy as np
from jaxtyping import Array, Float

from .._check import as_times
from .._loss.statistics import psth as psth_of
from .._misc import described
from .._train.check import check_same_kind, check_trains
from .._train.spike_train import SpikeTrain
from .axes import BLUE, ORANGE, SEVERAL, make_axes

_SPIKES = "#222222"


def raster(train: SpikeTrain, *, ax: Any = None, neuron: int | None = None, color=None) -> Any:
    """A raster plot: a row for each neuron of one train, or for each trial of a batch.

    **Arguments:**

    - `train`: one train, or a batch of trials. (Of one population: `train["exc"]`.)
    - `ax`: `matplotlib` axes; by default new ones.
    - `neuron`: of a batch, the neuron to show; by default the spikes of all.
    - `color`: of the spikes; by default several populations of one train have a colour each, and
        their names stand beside them.

    **Returns:** the axes.
    """
    batch = isinstance(train, SpikeTrain) and train.times.ndim == 2
    check_trains("train", train, batch=batch)
    rows, label = train.to_lists(), "trial" if batch else "neuron"
    if neuron is not None:
        neuron = _check_neuron(neuron, train.num_neurons)
    if batch:
        rows = [np.concatenate(t) if neuron is None else t[neuron] for t in rows]
    elif neuron is not None:
        raise ValueError("`neuron` is for a batch; of one train use train.only([n]).")
    ax = make_axes(ax)
    several = () if batch or len(train.populations) < 2 else train.populations
    colors = [SEVERAL[n % len(SEVERAL)] for n, (_, size) in enumerate(several) for _ in range(size)]
    color = (colors or _SPIKES) if color is None else color
    ax.eventplot(rows, colors=color, linelengths=0.8, linewidths=0.8)
    ax.set(xlabel="time", ylabel=label, xlim=(train.t0, train.t1), ylim=(len(rows) - 0.5, -0.5))
    if several:
        sizes = np.array([size for _, size in several])
        ends = np.cumsum(sizes)
        ax.set_yticks(ends - (sizes + 1) / 2, [name for name, _ in several])
        ax.set_ylabel("population")
    return ax


def psth(
    x: SpikeTrain,
    y: SpikeTrain | None = None,
    *,
    ts: Float[Array, " times"],
    timescale: float,
    neuron: int | None = None,
    ax: Any = None,
) -> Any:
    """The PSTH of a model, and if given that of the data.

    **Arguments:**

    - `x`, `y`: batches of trials, of the model and of the data.
    - `ts`, `timescale`: as for [`roughsnn.losses.psth`][].
    - `neuron`: which one; by default the mean over neurons.
    - `ax`: `matplotlib` axes; by default new ones.

    **Returns:** the axes.
    """
    check_trains("x", x, batch=True)
    if y is not None:
        check_trains("y", y, batch=True)
        check_same_kind(x, y)
    if neuron is not None:
        neuron = _check_neuron(neuron, x.num_neurons)
    ts = as_times("ts", ts)
    curves = []
    for batch, label, color in ((y, "data", BLUE), (x, "model", ORANGE)):
        if batch is not None:
            rates = np.asarray(psth_of(batch, ts, timescale))
            curves.append((rates.mean(1) if neuron is None else rates[:, neuron], color, label))
    ax = make_axes(ax)
    for rates, color, label in curves:
        ax.plot(ts, rates, color, label=label)
    ax.set(xlabel="time", ylabel="rate", xlim=(float(ts[0]), float(ts[-1])))
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False)
    return ax


def _check_neuron(neuron: int, neurons: int) -> int:
    known = isinstance(neuron, int | np.integer) and not isinstance(neuron, bool)
    if not known or not 0 <= neuron < neurons:
        raise ValueError(f"`neuron` must be in 0 ... {neurons - 1}, got {described(neuron)}.")
    return int(neuron)
