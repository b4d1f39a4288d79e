"""How alike the activity of a model and of a recording are, neuron by neuron."""

import warnings
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from .._loss.statistics import psth
from .._train.check import check_batches, check_trains
from .._train.spike_train import SpikeTrain


def _elephant() -> Any:
    try:
        with warnings.catch_warnings(action="ignore"):
            import elephant.statistics
    except ModuleNotFoundError as e:
        raise ModuleNotFoundError(
            "This score needs Elephant: install it with `pip install 'roughsnn[scores]'`."
        ) from e
    return elephant.statistics


def psth_correlation(
    x: SpikeTrain, y: SpikeTrain, ts: Float[Array, " times"], timescale: float
) -> np.ndarray:
    """Pearson's correlation over time of the PSTHs of model and data, for each neuron.

    **Arguments:**

    - `x`, `y`: batches of trials of one stimulus.
    - `ts`, `timescale`: as for [`roughsnn.losses.psth`][].

    **Returns:** shape `(neurons,)`; NaN for a neuron whose PSTH is constant.
    """
    check_batches(x, y)
    a, b = (np.asarray(psth(z, ts, timescale)) for z in (x, y))
    a, b = a - a.mean(0), b - b.mean(0)
    norm = np.sqrt((a**2).sum(0) * (b**2).sum(0))
    return np.where(norm > 0, (a * b).sum(0) / np.where(norm > 0, norm, 1), np.nan)


def intervals(batch: SpikeTrain) -> list[np.ndarray]:
    """The inter-spike intervals of each neuron, those of all trials together (Elephant's `isi`)."""
    trials = _trials(batch)
    isi = _elephant().isi
    return [
        np.concatenate([isi(trial[n]) if len(trial[n]) > 1 else np.zeros(0) for trial in trials])
        for n in range(batch.num_neurons)
    ]


def isi_cv(batch: SpikeTrain) -> np.ndarray:
    """The coefficient of variation of the inter-spike intervals of each neuron (Elephant's `cv`);
    NaN for fewer than two intervals."""
    cv = _elephant().cv
    return np.array([cv(isi) if len(isi) > 1 else np.nan for isi in intervals(batch)])


def local_variation(batch: SpikeTrain) -> np.ndarray:
    """Shinomoto's local variation of each neuron, averaged over trials (Elephant's `lv`): like the
    CV, but blind to slow changes of the rate. NaN without a trial of three spikes."""
    lv, isi, trials = _elephant().lv, _elephant().isi, _trials(batch)
    out = []
    for n in range(batch.num_neurons):
        found = [lv(isi(trial[n])) for trial in trials if len(trial[n]) > 2]
        out.append(np.mean(found) if found else np.nan)
    return np.array(out)


def fano_factor(batch: SpikeTrain) -> np.ndarray:
    """Variance over mean of the counts in the window, for each neuron (Elephant's `fanofactor`);
    NaN for a silent neuron."""
    trials, fano = _trials(batch), _elephant().fanofactor
    each = [[trial[n] for trial in trials] for n in range(batch.num_neurons)]
    return np.array([fano(e) if any(len(t) for t in e) else np.nan for e in each], float)


def mean_rates(batch: SpikeTrain) -> np.ndarray:
    """Spikes per time of each neuron, averaged over trials."""
    trials = _trials(batch)
    return np.array([[len(n) for n in trial] for trial in trials]).mean(0) / (batch.t1 - batch.t0)


def explosions(x: SpikeTrain, y: SpikeTrain, *, factor: float = 3.0) -> float:
    """The part of the model's trials that run away: with more than `factor` times as many spikes
    as the fullest recorded trial, more than there was room for, or a simulation that failed.

    **Arguments:**

    - `x`: a batch of free simulations, with `throw=False` so that it may have overflowed or failed.
    - `y`: the recorded trials.
    """
    check_trains("y", y, batch=True)
    limit = factor * max(int(np.max(np.asarray(y.count))), 1)
    if np.any(np.asarray(x.overflow)) and x.times.shape[-1] < limit:
        raise ValueError(
            f"There was room for {x.times.shape[-1]} spikes only, {limit:.0f} would be an "
            "explosion: simulate with more `max_spikes`."
        )
    return float(np.mean(np.asarray(x.overflow) | (np.asarray(x.count) > limit)))


def _trials(batch: SpikeTrain) -> list[list[np.ndarray]]:
    check_trains("batch", batch, batch=True)
    return [[np.asarray(n, float) for n in trial] for trial in batch.complete().to_lists()]
