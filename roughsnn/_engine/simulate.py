"""Spike trains from a network."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Literal, overload

import diffrax as dfx
import equinox as eqx
import jax.numpy as jnp
import optimistix as optx

from .._event.crossing import AbstractCrossing
from .._misc import check_positive_int, check_window, static_float
from .._model.inputs import SpikeInput
from .._model.network import SpikingNetwork
from .._model.state import NeuronState
from .._path.base import AbstractGridPath
from .._random import RandomKey
from .._results import RESULTS
from .._solve.adjoint import AbstractAdjoint, CheckpointAdjoint
from .._solve.eventsolve import eventsolve
from .._solve.saveat import check_saveat
from .._solve.solution import Solution
from .._train.spike_train import SpikeTrain
from .._types import Drive, RealScalar
from .boundary import boundary_of
from .lockstep_solve import check_lockstep, solve_lockstep
from .prepare import check_model, prepare


@overload
def simulate(
    network: SpikingNetwork,
    drive: Drive,
    *,
    t0: RealScalar,
    t1: RealScalar,
    dt0: RealScalar,
    max_spikes: int,
    key: RandomKey,
    initial: NeuronState | None = ...,
    method: Literal["event", "lockstep"] = ...,
    saveat: None = ...,
    solver: dfx.AbstractSolver | None = ...,
    stepsize_controller: dfx.AbstractStepSizeController | None = ...,
    max_steps: int = ...,
    root_finder: optx.AbstractRootFinder | AbstractCrossing | None = ...,
    interpolation: Literal["linear", "parabola"] = ...,
    noise: AbstractGridPath | None = ...,
    spike_input: SpikeInput | None = ...,
    adjoint: AbstractAdjoint | None = ...,
    stop_after: int | None = ...,
    boundary_ts: Sequence[float] = ...,
    throw: bool = ...,
) -> SpikeTrain: ...


@overload
def simulate(
    network: SpikingNetwork,
    drive: Drive,
    *,
    t0: RealScalar,
    t1: RealScalar,
    dt0: RealScalar,
    max_spikes: int,
    key: RandomKey,
    initial: NeuronState | None = ...,
    method: Literal["event"] = ...,
    saveat: dfx.SaveAt,
    solver: dfx.AbstractSolver | None = ...,
    stepsize_controller: dfx.AbstractStepSizeController | None = ...,
    max_steps: int = ...,
    root_finder: optx.AbstractRootFinder | AbstractCrossing | None = ...,
    interpolation: Literal["linear", "parabola"] = ...,
    noise: AbstractGridPath | None = ...,
    spike_input: SpikeInput | None = ...,
    adjoint: AbstractAdjoint | None = ...,
    stop_after: int | None = ...,
    boundary_ts: Sequence[float] = ...,
    throw: bool = ...,
) -> tuple[SpikeTrain, Solution]: ...


def simulate(
    network: SpikingNetwork,
    drive: Drive,
    *,
    t0: RealScalar,
    t1: RealScalar,
    dt0: RealScalar,
    max_spikes: int,
    key: RandomKey,
    initial: NeuronState | None = None,
    method: Literal["event", "lockstep"] = "event",
    saveat: dfx.SaveAt | None = None,
    solver: dfx.AbstractSolver | None = None,
    stepsize_controller: dfx.AbstractStepSizeController | None = None,
    max_steps: int = 4096,
    root_finder: optx.AbstractRootFinder | AbstractCrossing | None = None,
    interpolation: Literal["linear", "parabola"] = "linear",
    noise: AbstractGridPath | None = None,
    spike_input: SpikeInput | None = None,
    adjoint: AbstractAdjoint | None = None,
    stop_after: int | None = None,
    boundary_ts: Sequence[float] = (),
    throw: bool = True,
) -> SpikeTrain | tuple[SpikeTrain, Solution]:
    r"""One sample of the spike trains of a network; `jax.vmap` over keys gives many.

    The key fixes the sample: Brownian increments by cell and channel, thresholds by
    neuron and own spike number. So it is continuous in the parameters, also where the
    spikes of two neurons swap order, and differentiable with the exact pathwise gradient
    (Holberg & Salvi 2024, Theorem 3.2).

    **Arguments:**

    - `network`: a [`roughsnn.SpikingNetwork`][].
    - `drive`: the input $c(t)$, a callable `t -> (neurons,)` or a `diffrax.AbstractPath`
        with such values. At the jumps of a [`roughsnn.StepPath`][] the solver stops.
    - `t0`, `t1`, `dt0`: window and cell length, concrete numbers.
    - `max_spikes`: the room for spikes of all neurons together.
    - `key`: a `jax.random.key`.
    - `initial`: a [`roughsnn.NeuronState`][]; `s=None` draws the first thresholds. By
        default v = i = 0.
    - `method`: `"event"`, the ordered, general engine, or `"lockstep"`, which advances all
        neurons by one cell at a time, with the same noise and thresholds: much faster for
        networks. Spikes keep their exact offsets; what neurons do to one another within a
        cell is left out, an error of second order in `dt0`. For membranes with linear decay,
        without `saveat` and `solver`; jumps of the drive and `boundary_ts` on the grid.
    - `saveat`: also return the [`roughsnn.Solution`][] with these states.
    - `solver`: by default [`roughsnn.ExponentialTrapezoid`][] for membranes with linear
        decay, `diffrax.Heun` for others.
    - `stepsize_controller`, `max_steps`: adaptive steps, as in [`roughsnn.eventsolve`][], for
        networks without noise; by default with `diffrax.Tsit5`.
    - `root_finder`, `adjoint`: as in [`roughsnn.eventsolve`][].
    - `interpolation`: of the Brownian path, `"linear"` or `"parabola"`. The parabola makes
        single paths more accurate, v, i, spike times and their gradients (which are off by 3 to
        4 % instead of 5 to 7 % at dt0 = 0.01 in the setting of Holberg & Salvi), and needs twice
        the random numbers; means are as accurate with the chord. Do not combine it with
        `diffrax.Heun`, whose stage at the end of a cell does not have the right law then.
    - `noise`: what drives the noise channels in place of Brownian motion, with values of shape
        `(neurons, channels)` and cells of length `dt0`: a [`roughsnn.fractional_path`][],
        [`roughsnn.coloured_path`][] or [`roughsnn.ornstein_uhlenbeck_path`][], noise that is
        [`roughsnn.correlated`][] across neurons, or any [`roughsnn.GridPath`][]. The key draws
        the thresholds then, and `interpolation` is not used.
    - `spike_input`: a [`roughsnn.SpikeInput`][]: spikes from outside that act on the currents. The
        event engine stops at each of them; the lockstep engine does not.
    - `stop_after`: end on purpose at this spike (of all neurons together).
    - `boundary_ts`: increasing times inside of the window at which a functional may jump as a
        spike passes, e.g. the edges of bins. The train's `boundary` then holds what
        [`roughsnn.losses.binned_counts`][] needs; for t1 it always does. Not together with
        `saveat`.
    - `throw`: whether a failure raises; with `throw=False` a train that had no room, or failed
        otherwise, is marked by `overflow`.

    **Returns:** a [`roughsnn.SpikeTrain`][], or it and a [`roughsnn.Solution`][].

    **Raises:** as [`roughsnn.eventsolve`][]; `ValueError` if the drive has the wrong shape.

    !!! info

        Compiled at the first call, and kept for the drive and the shapes that it was given. A drive
        that is an `equinox.Module` (or a path) may have other values at each call; a `lambda` is
        compiled anew for each time that it is made.
    """
    if method not in ("event", "lockstep"):
        raise ValueError(f"`method` must be 'event' or 'lockstep', got {method!r}.")
    t0, t1, dt0 = check_window(t0, t1, dt0, "dt0")
    max_spikes = check_positive_int("max_spikes", max_spikes)
    edges = _check_edges(boundary_ts, saveat, t0, t1)
    model = check_model(
        network,
        drive,
        t0,
        t1,
        dt0,
        initial=initial,
        noise=noise,
        spike_input=spike_input,
        adaptive=stepsize_controller is not None,
    )
    if method == "lockstep":
        if saveat is not None or solver is not None or stepsize_controller is not None:
            raise ValueError("`saveat`, `solver` and `stepsize_controller` are for method='event'.")
        check_lockstep(network, drive, model, t0, dt0, edges, noise)
    if saveat is not None:
        check_saveat(saveat, t0, t1)
    return _simulate(
        network,
        drive,
        key,
        initial,
        noise,
        spike_input,
        saveat,
        solver,
        stepsize_controller,
        root_finder,
        CheckpointAdjoint() if adjoint is None else adjoint,
        model=model,
        method=method,
        window=(t0, t1, dt0),
        max_spikes=max_spikes,
        max_steps=max_steps,
        interpolation=interpolation,
        stop_after=stop_after,
        edges=edges,
        throw=throw,
    )


@eqx.filter_jit
def _simulate(
    network,
    drive,
    key,
    initial,
    noise,
    spike_input,
    saveat,
    solver,
    controller,
    root_finder,
    adjoint,
    *,
    model,
    method,
    window,
    max_spikes,
    max_steps,
    interpolation,
    stop_after,
    edges,
    throw,
) -> SpikeTrain | tuple[SpikeTrain, Solution]:
    """What [`roughsnn.simulate`][] returns, compiled once for functions and shapes."""
    t0, t1, dt0 = window
    p = prepare(
        network,
        drive,
        model,
        t0,
        t1,
        dt0,
        key,
        initial=initial,
        solver=solver,
        root_finder=root_finder,
        interpolation=interpolation,
        noise=noise,
        spike_input=spike_input if method == "event" else None,
        adaptive=controller is not None,
    )
    if method == "lockstep":
        solution = None
        train, excess, _ = solve_lockstep(
            network,
            drive,
            p,
            t0,
            t1,
            dt0,
            spike_input=spike_input,
            max_spikes=max_spikes,
            adjoint=adjoint,
            stop_after=stop_after,
            edges=edges,
            throw=throw,
        )
    else:
        save = saveat
        if edges:
            ts = jnp.asarray(edges, p.y0.v.dtype)
            save = dfx.SaveAt(subs=dfx.SubSaveAt(ts=ts, fn=lambda t, y, args: y.s))
        solution = eventsolve(
            p.terms,
            p.solver,
            t0,
            t1,
            dt0,
            p.y0,
            event=p.event,
            max_events=max_spikes,
            key=p.event_key,
            saveat=save,
            stepsize_controller=controller,
            max_steps=max_steps,
            root_finder=p.root_finder,
            adjoint=adjoint,
            stop_after=stop_after,
            jump_ts=p.jump_ts,
            conditions="waive",
            throw=throw,
        )
        solution = dataclasses.replace(solution, conditions=model.conditions)
        train = SpikeTrain(
            times=solution.event_times,
            marks=solution.event_marks,
            count=solution.event_count,
            overflow=solution.result != RESULTS.successful,
            t0=t0,
            t1=t1,
            num_neurons=model.num_neurons,
        )
        excess = None if solution.y1.s is None else solution.y1.s[None]
        if edges and excess is not None:
            excess = jnp.concatenate([solution.ys, excess])
    if excess is not None:
        given = initial is not None and initial.s is not None
        boundary = boundary_of(network, train, excess, (*edges, t1), p.event_key, given)
        if boundary is not None and stop_after is not None:
            # A solve that was ended never got there.
            boundary = boundary.where(train.count < stop_after)
        train = dataclasses.replace(train, boundary=boundary)
    return train if saveat is None or solution is None else (train, solution)


def _check_edges(boundary_ts, saveat, t0: float, t1: float) -> tuple[float, ...]:
    edges = tuple(static_float(f"boundary_ts[{n}]", t) for n, t in enumerate(boundary_ts))
    inside = [t0, *edges, t1]
    if any(b <= a for a, b in itertools.pairwise(inside)):
        raise ValueError(
            f"`boundary_ts` must be increasing and lie inside of the window ({t0}, {t1}), got "
            f"{edges}. t1 itself need not be named."
        )
    if edges and saveat is not None:
        raise ValueError("`boundary_ts` cannot be combined with `saveat`: simulate twice.")
    return edges
