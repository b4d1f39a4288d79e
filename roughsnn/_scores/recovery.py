"""How well weights and held-out spikes are found."""

import dataclasses

import numpy as np
from jaxtyping import Array, Float

from .._check import check_flag
from .._loss.missing import Missing, accepted
from .._misc import as_plain
from .._train.check import check_trains
from .._train.spike_train import SpikeTrain


@dataclasses.dataclass(frozen=True)
class ConnectivityRecovery:
    """What [`roughsnn.scores.connectivity_recovery`][] found.

    **Attributes:**

    - `correlation`: Pearson's, of estimated and true weights over all pairs.
    - `auroc`: how well the size of an estimate tells connected from unconnected pairs: the
        probability that a connected pair has the larger one (0.5 is chance). NaN if all or none
        are connected.
    - `sign`: the part of the connected pairs whose estimate has the right sign.
    - `mean_error`: the mean absolute error.
    """

    correlation: float
    auroc: float
    sign: float
    mean_error: float


def connectivity_recovery(
    weights: Float[Array, "pre post"] | np.ndarray,
    truth: Float[Array, "pre post"] | np.ndarray,
    *,
    diagonal: bool | None = None,
) -> ConnectivityRecovery:
    """Compares estimated weights with the true ones.

    **Arguments:**

    - `weights`, `truth`: `[pre, post]`, of the observed neurons, or of two populations; where the
        truth is 0 there is no connection.
    - `diagonal`: whether the diagonal counts, as it does between two populations. By default it
        does unless the matrices are square.

    **Returns:** a [`roughsnn.scores.ConnectivityRecovery`][].

    **Raises:** `TypeError` for what are no numbers; `ValueError` for matrices of different shapes,
    that are not finite, or of fewer than two pairs.
    """
    found, true = as_plain("weights", weights), as_plain("truth", truth)
    if found.shape != true.shape or found.ndim != 2:
        raise ValueError(
            f"`weights` and `truth` must be matrices of one shape, got {found.shape} and "
            f"{true.shape}."
        )
    diagonal = true.shape[0] != true.shape[1] if diagonal is None else diagonal
    counts = ~np.eye(*true.shape, dtype=bool) | check_flag("diagonal", diagonal)
    if counts.sum() < 2:
        without = "" if diagonal else ", without the diagonal"
        raise ValueError(
            "`weights` and `truth` must be of at least two pairs of neurons, got shape "
            f"{true.shape}{without}."
        )
    for name, matrix in (("weights", found), ("truth", true)):
        if not np.all(np.isfinite(matrix)):
            raise ValueError(f"`{name}` must be finite, got {matrix}.")
    found, true = found[counts], true[counts]
    there = true != 0
    auroc = np.nan
    if 0 < there.sum() < len(there):
        # Only here, as it takes a while to import.
        import scipy.stats

        # The Mann-Whitney statistic.
        ranks = scipy.stats.rankdata(np.abs(found))[there].sum()
        pairs = there.sum() * (~there).sum()
        auroc = (ranks - there.sum() * (there.sum() + 1) / 2) / pairs
    moves = found.std() > 0 and true.std() > 0
    return ConnectivityRecovery(
        correlation=float(np.corrcoef(found, true)[0, 1]) if moves else np.nan,
        auroc=float(auroc),
        sign=float(np.mean(np.sign(found[there]) == np.sign(true[there])))
        if there.any()
        else np.nan,
        mean_error=float(np.abs(found - true).mean()),
    )


def bits_per_spike(
    log_likelihood: Float[Array, "..."] | float,
    held_out: SpikeTrain,
    training: SpikeTrain,
    *,
    missing: Missing = "raise",
) -> float:
    """By how many bits per spike a model predicts held-out trials better than constant rates.

    The log-likelihood less that of independent Poisson processes with the rates of the training
    trials, divided by the number of spikes and by log 2.

    **Arguments:**

    - `log_likelihood`: of all held-out trials together, in nats (from
        [`roughsnn.log_likelihood`][] or [`roughsnn.clamp`][]); summed up here if there are several.
    - `held_out`, `training`: batches of trials.
    - `missing`: what to do about trials with spikes missing, and a log-likelihood that is nan:
        `"raise"`, or return `"nan"`.

    **Raises:** `ValueError` if no spikes are held out, a neuron that fires in them is silent in
    the training trials, the trials are of different neurons, or the log-likelihoods are not those
    of these trials, or nan.
    """
    counts, durations = [], []
    for name, batch in (("held_out", held_out), ("training", training)):
        check_trains(name, batch, batch=True)
        trials = accepted(batch, missing).to_lists()
        counts.append(np.array([[len(n) for n in trial] for trial in trials]).sum(0))
        durations.append(len(trials) * (batch.t1 - batch.t0))
    if held_out.num_neurons != training.num_neurons:
        raise ValueError(
            f"`held_out` and `training` must be of the same neurons, got {held_out.num_neurons} "
            f"and {training.num_neurons}."
        )
    found = as_plain("log_likelihood", log_likelihood)
    number, neurons = held_out.times.shape[0], held_out.num_neurons
    if found.shape not in ((), (number,), (neurons,), (number, neurons)):
        raise ValueError(
            "`log_likelihood` must be a number, or have one for each of the "
            f"{number} held-out trials, the {neurons} neurons, or both, got shape {found.shape}."
        )
    gone = [bool(np.any(np.asarray(batch.overflow))) for batch in (held_out, training)]
    if any(gone) or np.any(np.isnan(found)):
        if missing == "nan":
            return float("nan")
        raise ValueError("`log_likelihood` is nan: a simulation failed. Leave such trials out.")
    (spikes, seen), (time, before) = counts, durations
    if spikes.sum() == 0:
        raise ValueError("The held-out trials have no spikes.")
    silent = (seen == 0) & (spikes > 0)
    if np.any(silent):
        raise ValueError(
            f"Neurons {np.flatnonzero(silent).tolist()} are silent in the training trials: their "
            "held-out spikes have the rate 0, and no likelihood."
        )
    rates = seen / before
    logs = np.log(np.where(spikes > 0, rates, 1))
    baseline = (spikes * logs).sum() - rates.sum() * time
    return float((np.sum(found) - baseline) / spikes.sum() / np.log(2))
