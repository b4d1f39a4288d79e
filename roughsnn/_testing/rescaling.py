"""The time-rescaling test: are spikes as the model says they come?"""

import dataclasses
from typing import Unpack

import numpy as np

from .._engine.clamp import GivenBefore, clamp
from .._engine.final import FinalState
from .._engine.initial import as_initial
from .._engine.problem import as_network
from .._model.network import SpikingNetwork
from .._train.check import check_trains
from .._train.spike_train import SpikeTrain
from .._types import Drive, RealScalar
from .._window import Window


@dataclasses.dataclass(frozen=True)
class RescalingTest:
    """What [`roughsnn.testing.time_rescaling_test`][] found.

    **Attributes:**

    - `statistic`: the Kolmogorov-Smirnov distance to the uniform law.
    - `p_value`: its (asymptotic) p value.
    - `quantiles`: the rescaled intervals in [0, 1], sorted; uniform if the model holds.
    """

    statistic: float
    p_value: float
    quantiles: np.ndarray


def time_rescaling_test(
    train: SpikeTrain,
    network: SpikingNetwork,
    drive: Drive,
    *,
    dt0: RealScalar,
    **given: Unpack[GivenBefore],
) -> RescalingTest:
    r"""Tests a train against a network, its spikes held where they are.

    Between successive spikes of a neuron, $\int\lambda\,dt - \alpha$ is exponential with mean 1
    (Brown et al., Neural Computation 14 (2002)), for any network, input and noise. The network
    runs with the spikes of `train` ([`roughsnn.clamp`][]); $1 - e^{\alpha - \int\lambda}$ of all
    intervals are compared with the uniform law. The first spike of a neuron starts its first
    interval and is not tested, unless there is a `history`.

    **Arguments:**

    - `train`: one train (recorded or simulated), of all neurons of the network.
    - `network`: of any neurons, synapses and delays; it fires by
        [`roughsnn.StochasticFiring`][] or another [`roughsnn.AbstractHazard`][].
    - `drive`: as for [`roughsnn.simulate`][].
    - `dt0`: cell length; shorter than the intervals between spikes of a neuron.
    - `given`: `initial`, `noise`, `inputs` and `history`, as for [`roughsnn.clamp`][]. A network
        with noise needs the `noise` that drove it. That of a recorded neuron is not known: give a
        network without noise.

    **Returns:** a [`roughsnn.testing.RescalingTest`][].

    **Raises:** `ValueError` if no interval can be tested, and if noise is needed and not given;
    otherwise as [`roughsnn.clamp`][].
    """
    network = as_network(network)
    channels = max(population.channels for population in network.simulated.values())
    if channels > 0 and given.get("noise") is None:
        raise ValueError(
            f"The network has {channels} noise channels: give the `noise` that drove it, or a "
            "network without noise."
        )
    initial = given.get("initial")
    if not isinstance(initial, FinalState):
        # Drawn ones are refused: the state that was there has to be known.
        as_initial(initial, network, None)
    check_trains("train", train)
    train = train.complete()
    if network.num_neurons != train.num_neurons:
        raise ValueError(
            f"`train` must be of the {network.num_neurons} neurons of `network`, got "
            f"{train.num_neurons}."
        )
    marks = np.asarray(train.marks)
    tested = marks >= 0
    if given.get("history") is None:
        tested[np.unique(marks, return_index=True)[1]] = False
    if not np.any(tested):
        raise ValueError("No neuron has two spikes: there is no interval to test.")
    window = Window(train.t0, train.t1, dt0)
    found = clamp(network, drive, train, window, **given).quantiles
    quantiles = np.sort(np.asarray(found, np.float64)[tested])
    statistic, p_value = _kolmogorov(quantiles)
    return RescalingTest(statistic, p_value, quantiles)


def _kolmogorov(sorted_quantiles: np.ndarray) -> tuple[float, float]:
    n = len(sorted_quantiles)
    grid = np.arange(n + 1) / n
    distance = float(max(np.max(grid[1:] - sorted_quantiles), np.max(sorted_quantiles - grid[:-1])))
    # Stephens (1970): the asymptotic law at this argument is good from n = 5 on.
    x = (n**0.5 + 0.12 + 0.11 / n**0.5) * distance
    j = np.arange(1, 101)
    tail = 2 * np.sum((-1.0) ** (j - 1) * np.exp(-2 * (j * x) ** 2))
    return distance, float(np.clip(tail if x > 0.2 else 1.0, 0, 1))
