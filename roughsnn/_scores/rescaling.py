"""Time rescaling over trials."""

import numpy as np

from .._engine.clamp import Clamped
from .._train.check import check_trains
from .._train.spike_train import SpikeTrain


def rescaled_quantiles(
    clamped: Clamped, train: SpikeTrain, *, alpha: float | np.ndarray = 0.0
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

    **Returns:** $1 - e^{-\text{interval}}$ for all intervals; for [`roughsnn.plot.ks`][] and
    `scipy.stats.kstest(..., "uniform")`.

    **Raises:** `ValueError` for a train that is no batch.
    """
    check_trains("train", train, batch=True)
    marks = np.asarray(train.marks)
    own = np.broadcast_to(np.asarray(alpha, float), (train.num_neurons,))
    hazards, last = np.asarray(clamped.hazards, float), np.asarray(clamped.last_hazards, float)
    found = []
    for neuron, refractory in enumerate(own):
        left = 0.0
        for trial in range(len(marks)):
            each = np.maximum(hazards[trial][marks[trial] == neuron] - refractory, 0)
            rest = max(last[trial, neuron] - refractory, 0)
            if len(each):
                found += [left + each[0], *each[1:]]
                left = 0.0
            left += rest
    return -np.expm1(-np.array(found))
