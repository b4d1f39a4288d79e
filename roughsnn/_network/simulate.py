"""Spike trains from a network."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Literal, overload

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optimistix as optx
from jaxtyping import Array

from .._event.conditions import conditions_of
from .._event.crossing import AbstractCrossing, QuadraticCrossing
from .._misc import check_finite, check_window, is_concrete, static_float
from .._path.base import AbstractJumpPath
from .._path.boundary import Boundary
from .._path.brownian import BrownianPath
from .._path.spike_train import SpikeTrain
from .._random import seeds, uniform
from .._results import RESULTS
from .._solve.adjoint import AbstractAdjoint
from .._solve.eventsolve import eventsolve
from .._solve.solution import Solution
from .._types import Drive, PRNGKey, RealScalar
from .exponential import ExponentialTrapezoid
from .firing import StochasticFiring, ThresholdFiring
from .membrane import LIF, AbstractLinearMembrane
from .network import SpikingNetwork, evaluate_drive
from .state import NeuronState


@overload
def simulate(
    network: SpikingNetwork,
    drive: Drive,
    *,
    t0: RealScalar,
    t1: RealScalar,
    dt0: RealScalar,
    max_spikes: int,
    key: PRNGKey,
    initial: NeuronState | None = ...,
    method: Literal["event"] = ...,
    saveat: None = ...,
    solver: dfx.AbstractSolver | None = ...,
    root_finder: optx.AbstractRootFinder | AbstractCrossing | None = ...,
    interpolation: Literal["linear", "parabola"] = ...,
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
    key: PRNGKey,
    initial: NeuronState | None = ...,
    method: Literal["event"] = ...,
    saveat: dfx.SaveAt,
    solver: dfx.AbstractSolver | None = ...,
    root_finder: optx.AbstractRootFinder | AbstractCrossing | None = ...,
    interpolation: Literal["linear", "parabola"] = ...,
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
    key: PRNGKey,
    initial: NeuronState | None = None,
    method: Literal["event"] = "event",
    saveat: dfx.SaveAt | None = None,
    solver: dfx.AbstractSolver | None = None,
    root_finder: optx.AbstractRootFinder | AbstractCrossing | None = None,
    interpolation: Literal["linear", "parabola"] = "linear",
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
    - `method`: `"event"`, the ordered, general engine.
    - `saveat`: also return the [`roughsnn.Solution`][] with these states.
    - `solver`: by default [`roughsnn.ExponentialTrapezoid`][] for membranes with linear
        decay, `diffrax.Heun` for others.
    - `root_finder`, `adjoint`: as in [`roughsnn.eventsolve`][].
    - `interpolation`: of the Brownian path, `"linear"` or `"parabola"`. The parabola makes v
        and i more accurate path by path and needs twice the random numbers; spike times are
        as accurate with the chord. Do not combine it with `diffrax.Heun`, whose stage at
        the end of a cell does not have the right law then.
    - `stop_after`: end on purpose at this spike (of all neurons together).
    - `boundary_ts`: increasing times inside of the window at which a functional may jump as a
        spike passes, e.g. the edges of bins. The train's `boundary` then holds what
        [`roughsnn.losses.binned_counts`][] needs; for t1 it always does. Not together with
        `saveat`.
    - `throw`: whether a failure raises; with `throw=False` a train that had no room is
        marked by `overflow`.

    **Returns:** a [`roughsnn.SpikeTrain`][], or it and a [`roughsnn.Solution`][].

    **Raises:** as [`roughsnn.eventsolve`][]; `ValueError` if the drive has the wrong shape.
    """
    if method != "event":
        raise ValueError(f"`method` must be 'event', got {method!r}.")
    if not isinstance(network, SpikingNetwork):
        raise TypeError(
            f"`network` must be a roughsnn.SpikingNetwork, got {type(network).__name__}."
        )
    t0, t1, dt0 = check_window(t0, t1, dt0, "dt0")
    neurons, dtype = _check_drive(network, drive, t0)
    path_key, event_key = jr.split(key)
    y0 = _initial_state(network, initial, neurons, dtype, event_key)
    path = None
    if network.membrane.channels > 0:
        shape = (neurons, network.membrane.channels)
        path = BrownianPath(
            t0, t1, dt0, shape=shape, key=path_key, interpolation=interpolation, dtype=dtype
        )
    edges = _check_edges(boundary_ts, saveat, t0, t1)
    if edges:
        hidden = dfx.SubSaveAt(ts=jnp.asarray(edges, dtype), fn=lambda t, y, args: y.s)
        save = dfx.SaveAt(subs=hidden)
    else:
        save = saveat
    terms = network.terms(drive, path)
    known = _check_conditions(network, terms, t0, neurons, dtype)
    if solver is None and isinstance(network.membrane, AbstractLinearMembrane):
        solver = ExponentialTrapezoid(NeuronState(*network.membrane.rates, None))
        if root_finder is None and isinstance(network.firing, StochasticFiring):
            root_finder = QuadraticCrossing()
    solution = eventsolve(
        terms,
        dfx.Heun() if solver is None else solver,
        t0,
        t1,
        dt0,
        y0,
        event=network.event(),
        max_events=max_spikes,
        key=event_key,
        saveat=save,
        root_finder=root_finder,
        adjoint=adjoint,
        stop_after=stop_after,
        jump_ts=drive.jump_times if isinstance(drive, AbstractJumpPath) else None,
        conditions="waive",
        throw=throw,
    )
    solution = dataclasses.replace(solution, conditions=known)
    train = SpikeTrain(
        times=solution.event_times,
        marks=solution.event_marks,
        count=solution.event_count,
        overflow=solution.result == RESULTS.max_events_reached,
        t0=t0,
        t1=t1,
        num_neurons=neurons,
    )
    given = initial is not None and initial.s is not None
    at_edges = solution.ys if edges else None
    boundary = _boundary(network, train, solution, edges, at_edges, event_key, given, stop_after)
    train = dataclasses.replace(train, boundary=boundary)
    return train if saveat is None else (train, solution)


def _check_drive(network: SpikingNetwork, drive: Drive, t0: float) -> tuple[int, jnp.dtype]:
    if not callable(drive) and not isinstance(drive, dfx.AbstractPath):
        raise TypeError(
            "`drive` must be a callable t -> (neurons,) or a diffrax.AbstractPath, got a "
            f"{type(drive).__name__}. For a constant input c use `lambda t: c`."
        )
    out = eqx.filter_eval_shape(lambda t: evaluate_drive(drive, t), jnp.asarray(t0, float))
    if not isinstance(out, jax.ShapeDtypeStruct) or len(out.shape) != 1:
        got = getattr(out, "shape", type(out).__name__)
        raise ValueError(f"`drive` must return an array of shape (neurons,), got {got}.")
    if not jnp.issubdtype(out.dtype, jnp.floating):
        raise ValueError(f"`drive` must return a floating dtype, got {out.dtype}.")
    if network.num_neurons not in (None, out.shape[0]):
        raise ValueError(
            f"`drive` must return one input for each of the {network.num_neurons} neurons, "
            f"got shape {out.shape}."
        )
    leaves = [x for x in jax.tree.leaves(network) if eqx.is_inexact_array(x)]
    return out.shape[0], jnp.result_type(out.dtype, *leaves)


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


def _boundary(
    network, train: SpikeTrain, solution: Solution, edges, at_edges, key, given, stop_after
) -> Boundary | None:
    """Which neurons could fire at the edges and at t1, and how far they are from it."""
    s1 = solution.y1.s
    if s1 is None:
        return None
    ts = (*edges, train.t1)
    excess = s1[None] if at_edges is None else jnp.concatenate([at_edges, s1[None]])
    neurons = jnp.arange(train.num_neurons, dtype=jnp.int32)
    words = seeds(key)

    def one(t, s):
        fired = jnp.where((train.times < t) | (t == train.t1), train.marks, -1)
        number = jnp.sum(fired[:, None] == neurons[None], axis=0, dtype=jnp.int32)
        u = jax.vmap(lambda k, n: uniform(words, k, n, s.dtype))(neurons, number)
        risk = network.firing.at_risk(s, u)
        # A threshold that was given is not random. A solve that was ended never got here.
        return (risk & (number > 0)) if given else risk

    there = jax.vmap(one)(jnp.asarray(ts, excess.dtype), excess)
    if stop_after is not None:
        there = there & (train.count < stop_after)
    there = there & jnp.isfinite(excess)
    return Boundary(jnp.where(there, excess, 0), there, ts)


def _check_conditions(network, terms, t0: float, neurons: int, dtype):
    """What is known of C1-C5. The package's own parts meet them by construction."""
    if network.conditions == "waive":
        return "waived"
    own = type(network.membrane) is LIF and type(network.firing) in (
        StochasticFiring,
        ThresholdFiring,
    )
    if own:
        return "hold"
    level = network.firing.level(jnp.full(neurons, 0.5, dtype))
    with jax.ensure_compile_time_eval():
        zero = jnp.zeros(neurons, dtype)
        y = NeuronState(zero, zero, level)
    return conditions_of(terms, network.event(), t0, y, None)


def _initial_state(network, initial, neurons: int, dtype, key: PRNGKey) -> NeuronState:
    def draw() -> Array | None:
        words = seeds(key)
        u = jax.vmap(lambda k: uniform(words, k, 0, dtype))(jnp.arange(neurons))
        level = network.firing.level(u)
        return None if level is None else jnp.broadcast_to(level, (neurons,)).astype(dtype)

    if initial is None:
        zero = jnp.zeros(neurons, dtype)
        return NeuronState(zero, zero, draw())
    if not isinstance(initial, NeuronState):
        raise TypeError(f"`initial` must be a roughsnn.NeuronState, got {type(initial).__name__}.")
    for name in ("v", "i", "s"):
        value = getattr(initial, name)
        if name == "s" and value is None:
            continue
        value = jnp.asarray(value)
        if value.shape != (neurons,) or not jnp.issubdtype(value.dtype, jnp.floating):
            raise ValueError(
                f"`initial.{name}` must be a floating array of shape ({neurons},), got "
                f"{value.dtype} of shape {value.shape}."
            )
        check_finite(f"initial.{name}", value)
    s = draw() if initial.s is None else jnp.asarray(initial.s, dtype)
    if s is not None and is_concrete(s) and bool(np.any(np.asarray(s) >= 0)):
        raise ValueError(f"`initial.s` must be negative, got {s}.")
    return NeuronState(jnp.asarray(initial.v, dtype), jnp.asarray(initial.i, dtype), s)
