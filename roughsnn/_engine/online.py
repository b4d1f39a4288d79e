"""The derivative of a network along one direction, carried forward with its spikes."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, Unpack

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .._check import check_function
from .._misc import described
from .._model.drive import Rows
from .._model.network import SpikingNetwork
from .._model.state import NetworkState
from .._path.base import AbstractJumpPath
from .._random import RandomKey
from .._results import RESULTS, Failure
from .._solve.engine import EventByEvent, by_cells
from .._solve.recursion import carried_forward, check_direction
from .._solve.setup import compact, set_up
from .._train.spike_train import SpikeTrain
from .._types import Drive
from .._window import Window
from .event_by_event import ended, equation_of
from .problem import Given, Problem, as_network, pose

Model: TypeAlias = Callable[[PyTree], tuple[SpikingNetwork, Drive]]


class OnlineSimulation(eqx.Module):
    """What [`roughsnn.simulate_online`][] returns.

    **Attributes:**

    - `spikes`: the [`roughsnn.SpikeTrain`][].
    - `time_derivatives`: shape `(max_spikes,)`, the derivative of each spike time, padded with 0.
    - `state`, `state_derivative`: the [`roughsnn.NetworkState`][] at the end of the window, and
        its derivative at that time.
    - `result`: a [`roughsnn.RESULTS`][].
    """

    spikes: SpikeTrain
    time_derivatives: Float[Array, " spikes"]
    state: NetworkState
    state_derivative: NetworkState
    result: RESULTS


def simulate_online(
    model: Model,
    params: PyTree,
    direction: PyTree,
    window: Window,
    *,
    key: RandomKey,
    max_spikes: int,
    engine: EventByEvent | None = None,
    throw: bool = True,
    **given: Unpack[Given],
) -> OnlineSimulation:
    r"""Spikes of a network and their derivatives along a direction, as each spike happens.

    The recursion of [`roughsnn.online_gradient`][] (Holberg & Salvi 2024, Theorem 3.2) for
    networks of any neurons, synapses and delays, where arrivals and the ends of refractory times
    are events, too. The location of a spike is not differentiated and nothing is stored, so memory
    does not grow with time. It is the derivative of [`roughsnn.simulate`][] as `dt0` → 0, reached
    in another way: `jax.jvp` through `simulate` gives that of its cells.

    One direction; `jax.vmap` over `direction` gives several. All weights at once, for layers:
    [`roughsnn.eligibility`][].

    **Arguments:**

    - `model`: `params -> (network, drive)`.
    - `params`, `direction`: pytrees of floating arrays of one structure.
    - `window`, `key`, `max_spikes`, `throw`, `given`: as for [`roughsnn.simulate`][]; derivatives
        of what is `given` (`initial`, `noise`) are 0.
    - `engine`: a [`roughsnn.EventByEvent`][], of which solver and root finder are used.

    **Returns:** an [`roughsnn.OnlineSimulation`][].

    **Raises:** as [`roughsnn.simulate`][]; `ValueError` for networks with a
        [`roughsnn.Source`][], and for a drive that is a [`roughsnn.StepPath`][]: the times at
        which these act may move with the parameters.
    """
    engine = by_cells(engine, "simulate_online")
    check_function("model", model, "model(params)")
    check_direction(params, direction)

    def posed(params: PyTree) -> Problem:
        network, drive = _called(model, params)
        drive = _with_arrays(drive, network)
        return pose(network, drive, window, key=key, max_spikes=max_spikes, engine=engine, **given)

    # What is known of values is known outside of transformations only.
    known = posed(params)
    _check_fixed(known)
    problem, dproblem = _with_tangents(posed, params, direction)
    problem = dataclasses.replace(problem, conditions=known.conditions)
    found, failure = _simulate_online(problem, jax.tree.leaves(dproblem), engine)
    found = failure.raised(found) if throw else found
    spikes = dataclasses.replace(found.spikes.in_frame(window), populations=problem.network.sizes)
    return dataclasses.replace(found, spikes=spikes)


def _called(model: Model, params: PyTree) -> tuple[SpikingNetwork, Drive]:
    found = model(params)
    if not isinstance(found, tuple) or len(found) != 2:
        raise TypeError(f"`model` must return (network, drive), got {described(found)}.")
    return as_network(found[0]), found[1]


class _Drive(eqx.Module):
    """A function of time with the arrays that it closes over as leaves."""

    fn: Callable = eqx.field(static=True)
    consts: list[Array]
    dtype: Any = eqx.field(static=True)

    def __call__(self, t) -> Array:
        """The input at a time."""
        return self.fn(jnp.asarray(t, self.dtype), *self.consts)


def _with_arrays(drive: Any, network: SpikingNetwork) -> Any:
    """The drive as a pytree of what it depends on."""
    if isinstance(drive, Mapping):
        return {name: _with_arrays(one, network) for name, one in drive.items()}
    if isinstance(drive, eqx.Module) or not callable(drive) or isinstance(drive, type):
        return drive
    leaves = [x for x in jax.tree.leaves(network) if eqx.is_inexact_array(x)]
    dtype = jnp.result_type(*leaves) if leaves else jnp.result_type(float)
    fn, consts = jax.closure_convert(drive, jax.ShapeDtypeStruct((), dtype))
    return _Drive(fn, list(consts), dtype)


def _check_fixed(problem: Problem) -> None:
    """Refuses what acts at times that may be parameters."""
    use = "Use jax.jvp through roughsnn.simulate."
    if problem.inputs:
        raise ValueError(
            f"`simulate_online` takes no roughsnn.Source, got {', '.join(problem.inputs)}: "
            f"derivatives of their spike times would be lost. {use}"
        )
    if isinstance(problem.drive, AbstractJumpPath) and not isinstance(problem.drive, Rows):
        raise ValueError(
            "`simulate_online` takes no drive that jumps: derivatives of the times of its jumps "
            f"would be lost. {use}"
        )


@eqx.filter_jit
def _simulate_online(
    problem: Problem, derivatives: list[Array], engine: EventByEvent
) -> tuple[OnlineSimulation, Failure]:
    """What [`roughsnn.simulate_online`][] returns, compiled once for functions and shapes;
    `derivatives` are those of the floating arrays of the problem."""
    room = problem.max_spikes
    moving, rest = eqx.partition(problem, eqx.is_inexact_array)

    def parts(moving):
        equation, own, _ = equation_of(eqx.combine(moving, rest).grouped(), engine)
        return set_up(equation, own, window=problem.window, max_events=room)

    dmoving = jax.tree.unflatten(jax.tree.structure(moving), derivatives)
    (stepper, start, length), (dstepper, dstart, _) = _with_tangents(parts, moving, dmoving)
    numbers, others = eqx.partition(stepper, eqx.is_inexact_array)
    stepper_at = lambda numbers: eqx.combine(numbers, others)
    final, dy, emitted = carried_forward(stepper_at, numbers, dstepper, start, dstart.y, length)
    times, marks, dtaus = emitted
    times, marks, dtaus = compact(marks, room, (times, jnp.inf), (marks, -1), (dtaus, 0.0))
    train, result, failure = ended(problem, stepper, final, times, marks)
    return OnlineSimulation(train, dtaus, final.y, dy, result), failure


def _with_tangents(fn: Callable[[PyTree], Any], x: PyTree, dx: PyTree) -> tuple[Any, Any]:
    """`fn(x)`, a pytree of anything, and the derivatives of its floating arrays along `dx`."""
    plain: list[Any] = []

    def arrays(x):
        moving, rest = eqx.partition(fn(x), eqx.is_inexact_array)
        others, still = eqx.partition(rest, eqx.is_array)
        plain.append(still)
        return moving, others

    moving, dmoving, others = jax.jvp(arrays, (x,), (dx,), has_aux=True)
    return eqx.combine(moving, others, plain[-1]), dmoving
