"""How alike the activity of a model and of a recording are, neuron by neuron."""

import dataclasses
import warnings
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from .._engine.base import Simulation
from .._loss.missing import Missing, accepted
from .._loss.statistics import psth
from .._misc import check_positive_float
from .._results import RESULTS
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
    x: SpikeTrain,
    y: SpikeTrain,
    ts: Float[Array, " times"],
    timescale: float,
    *,
    missing: Missing = "raise",
) -> np.ndarray:
    """Pearson's correlation over time of the PSTHs of model and data, for each neuron.

    **Arguments:**

    - `x`, `y`: batches of trials of one stimulus.
    - `ts`, `timescale`, `missing`: as for [`roughsnn.losses.psth`][].

    **Returns:** shape `(neurons,)`; NaN for a neuron whose PSTH is constant.
    """
    check_batches(x, y)
    a, b = (np.asarray(psth(z, ts, timescale, missing=missing)) for z in (x, y))
    a, b = a - a.mean(0), b - b.mean(0)
    norm = np.sqrt((a**2).sum(0) * (b**2).sum(0))
    return np.where(norm > 0, (a * b).sum(0) / np.where(norm > 0, norm, 1), np.nan)


def intervals(batch: SpikeTrain, *, missing: Missing = "raise") -> list[np.ndarray]:
    """The inter-spike intervals of each neuron, those of all trials together (Elephant's `isi`);
    with `missing="nan"` one NaN for each trial with spikes missing."""
    trials = _trials(batch, missing)
    isi = _elephant().isi
    return [
        np.concatenate(
            [_intervals_of(isi, None if trial is None else trial[n]) for trial in trials]
        )
        for n in range(batch.num_neurons)
    ]


def isi_cv(batch: SpikeTrain, *, missing: Missing = "raise") -> np.ndarray:
    """The coefficient of variation of the inter-spike intervals of each neuron (Elephant's `cv`);
    NaN for fewer than two intervals, and with `missing="nan"` if any trial has spikes missing."""
    each, cv = intervals(batch, missing=missing), _elephant().cv
    known = [len(isi) > 1 and not np.any(np.isnan(isi)) for isi in each]
    return np.array([cv(isi) if ok else np.nan for isi, ok in zip(each, known, strict=True)])


def local_variation(batch: SpikeTrain, *, missing: Missing = "raise") -> np.ndarray:
    """Shinomoto's local variation of each neuron, averaged over trials (Elephant's `lv`): like the
    CV, but blind to slow changes of the rate. NaN without a trial of three spikes, and with
    `missing="nan"` if spikes are missing in any trial."""
    trials = _trials(batch, missing)
    lv, isi = _elephant().lv, _elephant().isi
    if None in trials:
        return np.full(batch.num_neurons, np.nan)
    out = []
    for n in range(batch.num_neurons):
        found = [lv(isi(trial[n])) for trial in trials if trial is not None and len(trial[n]) > 2]
        out.append(np.mean(found) if found else np.nan)
    return np.array(out)


def fano_factor(batch: SpikeTrain, *, missing: Missing = "raise") -> np.ndarray:
    """Variance over mean of the counts in the window, for each neuron (Elephant's `fanofactor`);
    NaN for a silent neuron, and with `missing="nan"` if spikes are missing in any trial."""
    trials = _trials(batch, missing)
    fano = _elephant().fanofactor
    if None in trials:
        return np.full(batch.num_neurons, np.nan)
    each = [[trial[n] for trial in trials if trial is not None] for n in range(batch.num_neurons)]
    return np.array([fano(e) if any(len(t) for t in e) else np.nan for e in each], float)


def mean_rates(batch: SpikeTrain, *, missing: Missing = "raise") -> np.ndarray:
    """Spikes per time of each neuron, averaged over trials; with `missing="nan"` NaN if spikes are
    missing in any trial."""
    trials = _trials(batch, missing)
    counts = [
        np.full(batch.num_neurons, np.nan) if trial is None else [len(n) for n in trial]
        for trial in trials
    ]
    return np.array(counts, float).mean(0) / (batch.t1 - batch.t0)


@dataclasses.dataclass(frozen=True)
class Explosions:
    """Which fraction of a model's trials went wrong, and how; see
    [`roughsnn.scores.explosions`][].

    **Attributes:**

    - `ran_away`: trials with far more spikes than any that was recorded, or a state that is no
        longer finite.
    - `not_followed`: trials that the engine could not follow, with no more spikes than usual so
        far: `dt0` is too long. They are no explosions of the model.
    - `out_of_capacity`: trials with more than `max_spikes` spikes, where that is no explosion yet.
    - `failed`: trials that failed otherwise, see their `result`.
    """

    ran_away: float
    not_followed: float
    out_of_capacity: float
    failed: float


def explosions(x: Simulation | SpikeTrain, y: SpikeTrain, *, factor: float = 3.0) -> Explosions:
    """Which fraction of the model's trials run away, and which could not be judged.

    **Arguments:**

    - `x`: a batch of free simulations with `throw=False`, so that some may have failed: what
        [`roughsnn.simulate`][] returns, or its `spikes` if none failed.
    - `y`: the recorded trials.
    - `factor`: with how many times the spikes of the fullest recorded trial a trial runs away.

    **Returns:** a [`roughsnn.scores.Explosions`][]; its four fractions do not overlap.

    **Raises:** `TypeError` for other things; `ValueError` for trains with spikes missing, which do
        not say why.
    """
    factor = check_positive_float("factor", factor)
    train = x.spikes if isinstance(x, Simulation) else x
    check_trains("x", train, batch=True)
    check_trains("y", y, batch=True)
    limit = factor * max(int(np.max(np.asarray(y.complete().count))), 1)
    ran_away = np.asarray(train.count) > limit
    if not isinstance(x, Simulation):
        if np.any(np.asarray(x.overflow)):
            raise ValueError(
                "Some trains of `x` have spikes missing, but they do not say why: give the batch "
                "that roughsnn.simulate returned, not its `spikes`."
            )
        return Explosions(float(np.mean(ran_away)), 0.0, 0.0, 0.0)
    is_any = lambda *members: np.any([np.asarray(x.result == one) for one in members], axis=0)
    full = is_any(RESULTS.max_events_reached)
    ran_away |= is_any(RESULTS.nonfinite_state) | (full & (train.times.shape[-1] >= limit))
    lost = is_any(RESULTS.crowded_cell, RESULTS.step_failed, RESULTS.max_steps_reached) & ~ran_away
    full &= ~ran_away
    failed = np.asarray(x.result != RESULTS.successful) & ~(ran_away | lost | full)
    return Explosions(*(float(np.mean(part)) for part in (ran_away, lost, full, failed)))


def _trials(batch: SpikeTrain, missing: Missing) -> list[list[np.ndarray] | None]:
    """For each trial and neuron the spike times; `None` for a trial with spikes missing."""
    check_trains("batch", batch, batch=True)
    found = accepted(batch, missing)
    lists = [[np.asarray(n, float) for n in trial] for trial in found.to_lists()]
    gone = np.asarray(batch.overflow)
    return [None if lost else trial for trial, lost in zip(lists, gone, strict=True)]


def _intervals_of(isi: Any, times: np.ndarray | None) -> np.ndarray:
    if times is None:
        return np.full(1, np.nan)
    return np.asarray(isi(times)) if len(times) > 1 else np.zeros(0)
