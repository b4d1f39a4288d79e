"""Spike trains from a network."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import equinox as eqx

from .._model.network import SpikingNetwork
from .._path.base import AbstractGridPath
from .._path.brownian import Brownian
from .._random import RandomKey
from .._results import Failure
from .._solve.engine import EventByEvent
from .._train.spike_train import SpikeTrain
from .._types import Drive
from .._window import Window
from .base import Lockstep, Simulation
from .event_by_event import check_event_by_event, run_event_by_event
from .final import FinalState
from .lockstep import check_lockstep, run_lockstep
from .problem import Problem, pose


def simulate(
    network: SpikingNetwork,
    drive: Drive,
    window: Window,
    *,
    key: RandomKey,
    max_spikes: int,
    engine: Lockstep | EventByEvent | None = None,
    initial: Mapping[str, Any] | FinalState | None = None,
    noise: AbstractGridPath | Brownian | None = None,
    inputs: Mapping[str, SpikeTrain] = MappingProxyType({}),
    throw: bool = True,
) -> Simulation:
    r"""One sample of the spike trains of a network; `jax.vmap` over keys gives many.

    The key fixes the sample: Brownian motion by neuron, channel and time since the first window,
    thresholds by neuron and own spike number. So it is continuous in the parameters, also where
    the spikes of two neurons swap order, and differentiable with the exact pathwise gradient
    (Holberg & Salvi 2024, Theorem 3.2); and a longer window, `window.refined(2)` or one neuron more
    leave the rest as it was.

    **Arguments:**

    - `network`: a [`roughsnn.SpikingNetwork`][].
    - `drive`: the input $c(t)$ of all neurons: an array of shape `(neurons,)` for a constant one,
        or `(cells, neurons)` with a row for each cell; a callable `t -> (neurons,)`; or a
        `diffrax.AbstractPath` with such values. The jumps of a [`roughsnn.StepPath`][] may
        be at any time, and have derivatives. Or a dictionary by population, with 0 for those that
        it does not name.
    - `window`: a [`roughsnn.Window`][].
    - `key`: a `jax.random.key`.
    - `max_spikes`: the capacity for spikes of all neurons together.
    - `engine`: [`roughsnn.Lockstep`][] (default), or [`roughsnn.EventByEvent`][], the ordered,
        general one.
    - `initial`: a dictionary from parts of the state to arrays, e.g. `{"v": ...}`, with several
        populations by population and part, see [`roughsnn.PopulationState`][]. Instead of an array
        it may hold a function from a key to the part of one neuron, e.g. `jax.random.uniform`:
        each neuron calls it with a key of its own, made from `key` and from the names of the
        population and of the part (a mirrored key draws as the original). What it does not name is
        at rest; the first thresholds `"s"` are drawn. Or `sim.final` of a simulation with
        the same network, engine, key and `dt0`: this one goes on where that ended, as if both were
        one (with noise that the key draws). The drive then reads the time since the first window;
        a drive of rows, `noise` and `inputs` are those of the present one.
    - `noise`: what drives the noise channels: [`roughsnn.Brownian`][] (default) or a path with
        values of shape `(neurons, channels)` and cells of length `dt0`: a
        [`roughsnn.fractional_path`][], [`roughsnn.coloured_path`][] or
        [`roughsnn.ornstein_uhlenbeck_path`][], noise that is [`roughsnn.correlated`][] across
        neurons, or any [`roughsnn.GridPath`][]. The key draws only the thresholds then.
    - `inputs`: a [`roughsnn.SpikeTrain`][] on the window for each [`roughsnn.Source`][] of the
        network, by name; with gradients in the spike times. The event engine stops at each spike;
        lockstep does not.
    - `throw`: whether a failure raises; with `throw=False` it is in `result`, and a train that had
        no room, or failed otherwise, is marked by `overflow`. Which samples fail depends on what
        they do: those that do not are no fair sample (see [`roughsnn.drop_failed`][]).

    **Returns:** a [`roughsnn.Simulation`][]: `.spikes`, `.states`, `.result`, `.final`.

    **Raises:** `ValueError`/`TypeError` naming the argument for static mistakes, and for models
        without exact gradients; a runtime error for failures if `throw`.

    !!! info

        Compiled at the first call, and kept for the drive and the shapes that it was given. A drive
        that is an array, an `equinox.Module` or a path may have other values at each call; a
        `lambda` is compiled anew for each time that it is made.
    """
    engine = Lockstep() if engine is None else engine
    if not isinstance(engine, Lockstep | EventByEvent):
        raise TypeError(
            f"`engine` must be a roughsnn.Lockstep or a roughsnn.EventByEvent, got {engine!r}."
        )
    problem = pose(
        network,
        drive,
        window,
        key=key,
        max_spikes=max_spikes,
        engine=engine,
        initial=initial,
        noise=noise,
        inputs=inputs,
    )
    if isinstance(engine, Lockstep):
        check_lockstep(problem, engine, window)
    else:
        check_event_by_event(problem, engine, window)
    sim, failure = _run(problem, engine.local(window))
    sim = failure.raised(sim) if throw else sim
    return sim.shifted(window, problem.network.sizes)


@eqx.filter_jit
def _run(problem: Problem, engine: Lockstep | EventByEvent) -> tuple[Simulation, Failure]:
    """What [`roughsnn.simulate`][] returns, compiled once for functions and shapes."""
    if isinstance(engine, Lockstep):
        return run_lockstep(problem, engine)
    return run_event_by_event(problem, engine)
