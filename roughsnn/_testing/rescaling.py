"""The time-rescaling test: are spikes as the model says they come?"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Float, PyTree

from .._check import check_kind
from .._engine.initial import as_initial, initial_state
from .._engine.known import event_of
from .._engine.noise import flat_path
from .._engine.problem import as_network, check_drive
from .._event.event import Event
from .._misc import described, one_hot
from .._model.drive import as_drive
from .._model.equation import Diffusion, Drift
from .._model.layout import Layout, layout_of
from .._model.network import SpikingNetwork
from .._model.population import Source
from .._model.state import NetworkState
from .._path.base import AbstractGridPath, AbstractJumpPath
from .._path.brownian import BrownianPath
from .._solve.engine import EventByEvent
from .._solve.eventsolve import eventsolve
from .._train.check import check_trains
from .._train.spike_train import SpikeTrain
from .._types import Drive, RealScalar
from .._window import Clock, Window


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
    path: BrownianPath | None = None,
    initial: Mapping[str, Any] | None = None,
) -> RescalingTest:
    r"""Tests a train against a network, its spikes held where they are.

    Between successive spikes of a neuron that the model describes, $\int\lambda(v)\,dt - \alpha$
    is exponential with mean 1 (Brown et al., Neural Computation 14 (2002)), for any network,
    input and noise. The network is solved with the spikes of `train`, which reset, and act
    through the weights; $1 - e^{\alpha - \int\lambda}$ of all intervals are compared with the
    uniform law. The first spike of a neuron starts its first interval and is not tested.

    **Arguments:**

    - `train`: one train (recorded or simulated).
    - `network`: fires by [`roughsnn.StochasticFiring`][] or another
        [`roughsnn.AbstractHazard`][]; without [`roughsnn.Source`][]s.
    - `drive`: as for [`roughsnn.simulate`][].
    - `dt0`: cell length.
    - `path`: for a network with noise the path that drove it, shape `(neurons, channels)`.
        That of a recorded neuron is not known: give a network without noise.
    - `initial`: the state at the start, as for [`roughsnn.simulate`][], in arrays; by default at
        rest.

    **Returns:** a [`roughsnn.testing.RescalingTest`][].

    **Raises:** `ValueError` if no neuron has two spikes, if noise is needed and not given, for
    a train, input, path or state of another number of neurons, and for networks with sources;
    `TypeError` for hard thresholds, and for arguments of another kind.
    """
    network = as_network(network)
    alpha = _refractoriness(network)
    channels = max(population.channels for population in network.simulated.values())
    if channels > 0 and path is None:
        raise ValueError(
            f"The network has {channels} noise channels: give the `path` that drove it, or a "
            "network without noise."
        )
    check_trains("train", train)
    train = train.complete()
    window = Window(train.t0, train.t1, dt0)
    drive = as_drive(drive, window, Clock.of(window), network)
    check_drive(network, drive, window.t0)
    neurons = network.num_neurons
    if neurons != train.num_neurons:
        raise ValueError(
            f"`train` must be of the {neurons} neurons of `network`, got {train.num_neurons}."
        )
    parts = as_initial(initial, network, None)
    if path is not None:
        _check_path(path, train, (neurons, channels))
    marks = np.asarray(train.marks)
    number = np.array([np.sum(marks[: n + 1] == m) for n, m in enumerate(marks)])
    tested = (marks >= 0) & (number > 1)
    if not np.any(tested):
        raise ValueError("No neuron has two spikes: there is no interval to test.")
    hazard = _integrated_hazards(train, network, drive, window, path, parts)
    excess = np.asarray(hazard)[tested] - alpha[marks[tested]]
    quantiles = np.sort(-np.expm1(-np.maximum(excess, 0)))
    statistic, p_value = _kolmogorov(quantiles)
    return RescalingTest(statistic, p_value, quantiles)


def _refractoriness(network: SpikingNetwork) -> np.ndarray:
    """`alpha` of each neuron; raises for networks that cannot be tested."""
    if network.waits or network.plastic:
        raise ValueError(
            "`network` must have no delays, no refractory times and no plasticity. With them the "
            "`quantiles` of roughsnn.clamp are those of the rescaled intervals."
        )
    alphas = []
    for name, population in network.populations.items():
        if isinstance(population, Source):
            raise ValueError(
                f"`network` must have no roughsnn.Source, got {name!r}: the test is not given its "
                "spikes."
            )
        if population.hazard is None:
            raise TypeError(
                "`network` must have random thresholds: the `firing` of its populations must be a "
                f"roughsnn.StochasticFiring, got {described(population.firing)}."
            )
        alphas.append(np.broadcast_to(np.asarray(population.hazard.alpha), (population.size,)))
    return np.concatenate(alphas)


def _check_path(path: Any, train: SpikeTrain, shape: tuple[int, int]) -> None:
    check_kind("path", path, AbstractGridPath, "a path like a roughsnn.BrownianPath")
    got = jax.eval_shape(path.arrays)[0].shape[1:]
    if got != shape:
        raise ValueError(
            f"`path` must have values of shape (neurons, channels) = {shape}, got {got}."
        )
    if path.t0 > train.t0 or path.t1 < train.t1:
        raise ValueError(
            f"`path` must reach over the window of `train`, [{train.t0}, {train.t1}], got one on "
            f"[{path.t0}, {path.t1}]."
        )


def _integrated_hazards(train, network, drive, window: Window, path, initial):
    """For each spike the hazard integrated since the neuron's last one."""
    capacity, dtype = train.times.shape[0], train.times.dtype
    layout = layout_of(network, [tuple(range(p.channels)) for p in network.simulated.values()])
    y0 = initial_state(layout, initial, dtype, jax.random.key(0))
    y0 = _with_hazards(y0, jnp.zeros(layout.size, dtype), layout)
    # Padding is put behind the end, so that it is never reached.
    times = jnp.where(train.marks >= 0, train.times, 2 * train.t1 - train.t0 + 1)
    places = jnp.asarray(np.argsort(layout.indices))[jnp.maximum(train.marks, 0)]
    jump = event_of(network, layout).transition

    def fn(t, y, args: Any):
        return (t - times[jnp.minimum(y["next"].astype(jnp.int32), capacity - 1)])[None]

    def transition(t, y, args, k, u) -> PyTree:
        n = jnp.minimum(y["next"].astype(jnp.int32), capacity - 1)
        fired = one_hot(places[n], layout.size)
        before = _hazards(y["state"])
        state = jump(t, y["state"], args, places[n], u)
        state = _with_hazards(state, jnp.where(fired, 0, before), layout)
        found = jnp.sum(jnp.where(fired, before, 0))
        hazards = jnp.where(one_hot(n, capacity), found, y["hazards"])
        return {"state": state, "next": y["next"] + 1, "hazards": hazards}

    drift = Drift(layout, drive)

    def rate(t, y, args):
        still = jax.tree.map(jnp.zeros_like, {"next": y["next"], "hazards": y["hazards"]})
        return {"state": drift(t, y["state"], args), **still}

    terms = dfx.ODETerm(rate)
    if path is not None:
        noise = Diffusion(layout)

        def diffusion(t, y, args):
            def act(dx):
                still = jax.tree.map(jnp.zeros_like, y)
                return {**still, "state": noise.moved(y["state"], dx)}

            return lx.FunctionLinearOperator(act, jax.ShapeDtypeStruct((noise.size,), dtype))

        terms = dfx.MultiTerm(terms, dfx.ControlTerm(diffusion, flat_path(layout, path)))
    start = {"state": y0, "next": jnp.zeros((), dtype), "hazards": jnp.zeros(capacity, dtype)}
    return eventsolve(
        terms,
        window,
        start,
        event=Event(fn, transition, "waive"),
        max_events=capacity,
        key=jax.random.key(0),
        engine=EventByEvent(solver=dfx.Heun()),
        jump_ts=drive.jump_times if isinstance(drive, AbstractJumpPath) else None,
    ).y1["hazards"]


def _hazards(y: NetworkState) -> Float[Array, " neurons"]:
    """The hidden states of all neurons, group after group."""
    return jnp.concatenate([group.s for group in y.groups if group.s is not None])


def _with_hazards(y: NetworkState, s: Float[Array, " neurons"], layout: Layout) -> NetworkState:
    return eqx.tree_at(lambda y: [group.s for group in y.groups], y, layout.split(s))


def _kolmogorov(sorted_quantiles: np.ndarray) -> tuple[float, float]:
    n = len(sorted_quantiles)
    grid = np.arange(n + 1) / n
    distance = float(max(np.max(grid[1:] - sorted_quantiles), np.max(sorted_quantiles - grid[:-1])))
    # Stephens (1970): the asymptotic law at this argument is good from n = 5 on.
    x = (n**0.5 + 0.12 + 0.11 / n**0.5) * distance
    j = np.arange(1, 101)
    tail = 2 * np.sum((-1.0) ** (j - 1) * np.exp(-2 * (j * x) ** 2))
    return distance, float(np.clip(tail if x > 0.2 else 1.0, 0, 1))
