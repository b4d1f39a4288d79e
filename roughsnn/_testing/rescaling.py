"""The time-rescaling test: are spikes as the model says they come?"""

import dataclasses
from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import PyTree

from .._check import check_kind
from .._engine.problem import as_network, check_drive, check_initial, check_sizes
from .._event.event import Event
from .._misc import described, one_hot
from .._model.drive import as_drive
from .._model.firing import StochasticFiring
from .._model.network import SpikingNetwork
from .._model.state import NeuronState
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
    initial: NeuronState | None = None,
) -> RescalingTest:
    r"""Tests a train against a network, its spikes held where they are.

    Between successive spikes of a neuron that the model describes, $\int\lambda(v)\,dt - \alpha$
    is exponential with mean 1 (Brown et al., Neural Computation 14 (2002)), for any network,
    input and noise. The network is solved with the spikes of `train`, which reset, and act
    through the weights; $1 - e^{\alpha - \int\lambda}$ of all intervals are compared with the
    uniform law. The first spike of a neuron starts its first interval and is not tested.

    **Arguments:**

    - `train`: one train (recorded or simulated).
    - `network`: fires by [`roughsnn.StochasticFiring`][].
    - `drive`: as for [`roughsnn.simulate`][].
    - `dt0`: cell length.
    - `path`: for a network with noise the path that drove it, shape `(neurons, channels)`.
        That of a recorded neuron is not known: give a network without noise.
    - `initial`: v and i at the start, by default 0.

    **Returns:** a [`roughsnn.testing.RescalingTest`][].

    **Raises:** `ValueError` if no neuron has two spikes, if noise is needed and not given, and for
    a train, input, path or state of another number of neurons; `TypeError` for hard thresholds,
    and for arguments of another kind.
    """
    network = as_network(network)
    if not isinstance(network.firing, StochasticFiring):
        raise TypeError(
            "`network` must have random thresholds: its `firing` must be a "
            f"roughsnn.StochasticFiring, got {described(network.firing)}."
        )
    if network.membrane.channels > 0 and path is None:
        raise ValueError(
            f"The network has {network.membrane.channels} noise channels: give the `path` that "
            "drove it, or a network without noise."
        )
    check_trains("train", train)
    train = train.complete()
    window = Window(train.t0, train.t1, dt0)
    drive = as_drive(drive, window, Clock.of(window))
    neurons, _ = check_drive(network, drive, window.t0)
    check_sizes(network, neurons)
    if neurons != train.num_neurons:
        raise ValueError(
            f"`train` must be of the {neurons} neurons that `drive` is for, got "
            f"{train.num_neurons}."
        )
    check_initial(initial, neurons)
    if path is not None:
        _check_path(path, train, (neurons, network.membrane.channels))
    marks = np.asarray(train.marks)
    number = np.array([np.sum(marks[: n + 1] == m) for n, m in enumerate(marks)])
    tested = (marks >= 0) & (number > 1)
    if not np.any(tested):
        raise ValueError("No neuron has two spikes: there is no interval to test.")
    hazard = _integrated_hazards(train, network, drive, window, path, initial)
    alpha = np.broadcast_to(np.asarray(network.firing.alpha), (train.num_neurons,))
    excess = np.asarray(hazard)[tested] - alpha[marks[tested]]
    quantiles = np.sort(-np.expm1(-np.maximum(excess, 0)))
    statistic, p_value = _kolmogorov(quantiles)
    return RescalingTest(statistic, p_value, quantiles)


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
    room, neurons = train.times.shape[0], train.num_neurons
    zero = jnp.zeros(neurons, train.times.dtype)
    y0 = NeuronState(zero, zero, zero) if initial is None else initial
    y0 = NeuronState(y0.v, y0.i, zero)
    # Padding is put behind the end, so that it is never reached.
    times = jnp.where(train.marks >= 0, train.times, 2 * train.t1 - train.t0 + 1)
    jump = network.event().transition

    def fn(t, y, args: Any):
        return (t - times[jnp.minimum(y["next"].astype(jnp.int32), room - 1)])[None]

    def transition(t, y, args, k, u) -> PyTree:
        n = jnp.minimum(y["next"].astype(jnp.int32), room - 1)
        mark = jnp.maximum(train.marks[n], 0)
        fired = one_hot(mark, neurons)
        state = jump(t, y["state"], args, mark, u)
        found = jnp.sum(jnp.where(fired, y["state"].s, 0))
        state = NeuronState(state.v, state.i, jnp.where(fired, 0, y["state"].s))
        hazards = jnp.where(one_hot(n, room), found, y["hazards"])
        return {"state": state, "next": y["next"] + 1, "hazards": hazards}

    inner = network.terms(drive, None)

    def rate(t, y, args):
        still = jax.tree.map(jnp.zeros_like, {"next": y["next"], "hazards": y["hazards"]})
        return {"state": inner.vf(t, y["state"], args), **still}

    terms = dfx.ODETerm(rate)
    if path is not None:

        def diffusion(t, y, args):
            def act(dx):
                state = y["state"]
                dv, di = network.membrane.noise(state.v, state.i, dx)
                still = jax.tree.map(jnp.zeros_like, y)
                return {**still, "state": NeuronState(dv, di, zero)}

            shape = (neurons, network.membrane.channels)
            return lx.FunctionLinearOperator(act, jax.ShapeDtypeStruct(shape, zero.dtype))

        terms = dfx.MultiTerm(terms, dfx.ControlTerm(diffusion, path))
    start = {"state": y0, "next": jnp.zeros((), zero.dtype), "hazards": jnp.zeros(room, zero.dtype)}
    return eventsolve(
        terms,
        window,
        start,
        event=Event(fn, transition, "waive"),
        max_events=room,
        key=jax.random.key(0),
        engine=EventByEvent(solver=dfx.Heun()),
        jump_ts=drive.jump_times if isinstance(drive, AbstractJumpPath) else None,
    ).y1["hazards"]


def _kolmogorov(sorted_quantiles: np.ndarray) -> tuple[float, float]:
    n = len(sorted_quantiles)
    grid = np.arange(n + 1) / n
    distance = float(max(np.max(grid[1:] - sorted_quantiles), np.max(sorted_quantiles - grid[:-1])))
    # Stephens (1970): the asymptotic law at this argument is good from n = 5 on.
    x = (n**0.5 + 0.12 + 0.11 / n**0.5) * distance
    j = np.arange(1, 101)
    tail = 2 * np.sum((-1.0) ** (j - 1) * np.exp(-2 * (j * x) ** 2))
    return distance, float(np.clip(tail if x > 0.2 else 1.0, 0, 1))
