"""Time rescaling over trials."""

import numpy as np

from .._engine.clamp import Clamped
from .._loss.missing import Missing, accepted
from .._misc import as_plain
from .._results import RESULTS
from .._train.check import check_trains
from .._train.spike_train import SpikeTrain


def rescaled_quantiles(
    clamped: Clamped,
    train: SpikeTrain,
    *,
    alpha: float | np.ndarray = 0.0,
    missing: Missing = "raise",
) -> np.ndarray:
    r"""The rescaled intervals of all neurons, uniform on [0, 1] if the model is right.

    Measured in its own hazard (beyond $\alpha$), each neuron is a Poisson process of rate 1 (Brown
    et al., Neural Computation 14 (2002)). What is left at the end of a trial is added to the first
    interval of the next, so that no interval is cut: the `quantiles` of short trials alone, which
    lack the long intervals that the end cuts, are too small. Only a neuron's last one is left out.

    **Arguments:**

    - `clamped`: what [`roughsnn.clamp`][] made of a batch of trials (under `jax.vmap`), of a
        network without noise whose neurons are all observed.
    - `train`: those trials.
    - `alpha`: the refractoriness of the network; a number, or one for each observed neuron.
    - `missing`: what to do about trials that failed, or have spikes missing: `"raise"`, or
        `"nan"` for the intervals that are not known then.

    **Returns:** $1 - e^{-\text{interval}}$ for all intervals; for [`roughsnn.plot.ks`][] and
    `scipy.stats.kstest(..., "uniform")`.

    **Raises:** `TypeError` for what is not clamped; `ValueError` for a train that is no batch or
    another one, for trials that failed, and for `alpha` that is negative or of another size.
    """
    check_trains("train", train, batch=True)
    if not isinstance(clamped, Clamped):
        raise TypeError(
            f"`clamped` must be what roughsnn.clamp returns, got a {type(clamped).__name__}."
        )
    accepted(train, missing)
    marks = np.asarray(train.marks)
    if np.shape(clamped.hazards) != marks.shape:
        raise ValueError(
            f"`clamped` must be of the trials of `train`, of shape {marks.shape}, got "
            f"{np.shape(clamped.hazards)}."
        )
    observed = np.shape(clamped.last_hazards)[1:]
    if observed != (train.num_neurons,):
        raise ValueError(
            f"`clamped` must be of the {train.num_neurons} neurons of `train`, got hazards of "
            f"shape {np.shape(clamped.last_hazards)}."
        )
    gone = np.asarray((clamped.result != RESULTS.successful) | train.overflow)
    if missing == "raise" and np.any(gone):
        raise ValueError(
            f"{np.sum(gone)} of {len(gone)} trials of `clamped` failed: see their `result`, or "
            "give missing='nan'."
        )
    own = as_plain("alpha", alpha)
    if own.shape not in ((), (train.num_neurons,)) or not np.all((own >= 0) & np.isfinite(own)):
        raise ValueError(
            f"`alpha` must be a number that is not negative, or {train.num_neurons} of them, got "
            f"{own}."
        )
    own = np.broadcast_to(own, (train.num_neurons,))
    hazards, last = np.array(clamped.hazards, float), np.array(clamped.last_hazards, float)
    found = []
    hazards[gone], last[gone] = np.nan, np.nan
    for neuron, refractory in enumerate(own):
        left = 0.0
        for trial in range(len(marks)):
            each = np.maximum(hazards[trial][marks[trial] == neuron] - refractory, 0)
            rest = np.maximum(last[trial, neuron] - refractory, 0)
            if len(each):
                found += [left + each[0], *each[1:]]
                left = 0.0
            left += rest
    return -np.expm1(-np.array(found))
