"""A network as an event SDE, and its solution event by event."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._misc import joined
from .._model.equation import Arrivals, Diffusion, Drift
from .._model.firing import HardThreshold
from .._model.layout import Layout
from .._model.links import links_of
from .._model.state import NetworkState
from .._model.waiting import Agenda
from .._path.base import AbstractCellPath, AbstractJumpPath
from .._results import RESULTS, Failure
from .._solve.engine import EventByEvent
from .._solve.eventsolve import solve
from .._solve.failure import failure_of, result_of
from .._solve.saveat import check_saveat
from .._solve.setup import Equation, check_problem
from .._solve.step import Carry, Stepper
from .._train.spike_train import SpikeTrain
from .._window import Window
from .base import Simulation
from .boundary import boundary_of
from .cell_hazard import HazardCrossing
from .check_exact import bends
from .exact import ExactStep
from .exact_crossing import ExactCrossing
from .exponential import ExponentialStep, LinearGroups
from .in_coordinates import Coordinates, InCoordinates
from .known import event_of
from .labels import flat_labels, labels_of
from .linear import is_linear
from .problem import Problem
from .sources import Arriving, left_of


def check_event_by_event(problem: Problem, engine: EventByEvent, window: Window) -> None:
    """`ValueError` for what goes with other problems only; the window as it was given."""
    if engine.adaptive and problem.noisy:
        raise ValueError(
            "Adaptive steps are for networks without noise: the noise is known on cells of length "
            "`dt0`. Leave out `controller`, or give neurons and synapses sigma=None."
        )
    if engine.saveat is not None:
        check_saveat(engine.saveat, window.t0, window.t1)
        if window.edges:
            raise ValueError(
                "`edges` of the window cannot be combined with `saveat`: simulate twice."
            )


def equation_of(
    problem: Problem, engine: EventByEvent
) -> tuple[Equation, EventByEvent, tuple[Arriving, ...]]:
    """The network as an event SDE, the engine with the parts that suit it, and the spikes of
    sources."""
    network, clock, layout = problem.network, problem.clock, problem.layout
    y0, key, path = problem.draw()
    solver, root_finder = engine.solver, engine.root_finder
    if solver is None and not engine.adaptive and all(map(is_linear, layout.groups)):
        finder = None
        if path is None:
            solver = ExactStep.of(layout, problem.dtype, bent=bends(problem.drive))
            finder = ExactCrossing.of(solver, problem.window.dt0)
        else:
            solver = ExponentialStep(LinearGroups.of(layout, path, problem.dtype))
            if not any(isinstance(group.firing, HardThreshold) for group in layout.groups):
                finder = HazardCrossing()
        root_finder = finder if root_finder is None else root_finder
    coordinates = None
    if solver is None and not engine.adaptive:
        coordinates = Coordinates.of(layout, problem.dtype)
    engine = dataclasses.replace(engine, solver=solver, root_finder=root_finder)
    drive = problem.drive
    agenda = agenda_of(problem, engine)
    arriving = problem.arriving(y0)
    terms, event = terms_of(problem, path, arriving), event_of(network, layout, agenda)
    if coordinates is not None:
        solver = engine.solver_for(terms)
        # An upstroke may be much shorter than the step: none of its end, but of its middle.
        solver = dfx.Midpoint() if isinstance(solver, dfx.Heun) else solver
        solver = InCoordinates.of(solver, coordinates)
        engine = dataclasses.replace(engine, solver=solver)
    y0, left = _with_waiting(y0, agenda, problem.dtype), left_of(arriving)
    # That of sources is known.
    y0 = dataclasses.replace(y0, plastic={k: x for k, x in y0.plastic.items() if k not in left})
    jump_ts = drive.jump_times if isinstance(drive, AbstractJumpPath) else None
    window, counts = problem.window, problem.counts
    y0 = check_problem(terms, window, y0, None, event=event, engine=engine, jump_ts=jump_ts)
    equation = Equation(
        terms=terms,
        event=event,
        y0=y0,
        args=None,
        key=key,
        jump_ts=jump_ts,
        clock=clock,
        counts=counts,
        resets=problem.conditions == "hold",
        outside=problem.outside,
        labels=flat_labels(labels_of(layout, key)),
        silent=0 if agenda is None else agenda.places,
        per_event=0 if agenda is None else agenda.per_spike,
    )
    return equation, engine, arriving


def agenda_of(problem: Problem, engine: EventByEvent) -> Agenda | None:
    """What may wait in a network with delays or refractory times."""
    layout = problem.layout
    links = links_of(problem.network, layout, "delayed")
    refractory = tuple(group.refractory for group in layout.groups)
    if not links and all(hold is None for hold in refractory):
        return None
    # Two spikes of each neuron on their way, and some more.
    pending = 32 + 2 * sum(link.arrivals for link in links)
    return Agenda(layout, links, refractory, engine.max_pending or pending)


def _with_waiting(y0: NetworkState, agenda: Agenda | None, dtype: Any) -> NetworkState:
    """The state at the start, where nothing waits unless it goes on from another one."""
    wanted = None if agenda is None else agenda.empty(dtype)
    if y0.waiting is None:
        return dataclasses.replace(y0, waiting=wanted)
    got, places = y0.waiting.left.shape[0], 0 if wanted is None else wanted.left.shape[0]
    if got != places:
        raise ValueError(
            f"`initial` is the end of another simulation: it has {got} places for spikes on their "
            f"way and refractory neurons, this one has {places}. Give the same `max_pending`, "
            "delays and refractory times."
        )
    return y0


def terms_of(
    problem: Problem, path: AbstractCellPath | None, arriving: Sequence[Arriving] = ()
) -> dfx.AbstractTerm:
    """The network between spikes as diffrax terms; noise only if `path` is given, and what is
    `arriving` from sources."""
    layout = problem.layout
    terms: list[dfx.AbstractTerm] = [dfx.ODETerm(Drift(layout, problem.drive))]
    if path is not None:
        terms.append(dfx.ControlTerm(Diffusion(layout), path))
    begin = problem.clock.start(0, problem.dtype)
    for one in arriving:
        arrivals = Arrivals(layout, one.link.group, one.link.port)
        terms.append(dfx.ControlTerm(arrivals, one.jumps(problem.window.t1, begin)))
    return terms[0] if len(terms) == 1 else dfx.MultiTerm(*terms)


def run_event_by_event(problem: Problem, engine: EventByEvent) -> tuple[Simulation, Failure]:
    """The simulation of a problem, one spike after the other."""
    problem = problem.grouped()
    window, wanted, layout = problem.window, engine.saveat is not None, problem.layout
    equation, engine, arriving = equation_of(problem, engine)
    excess = lambda y: layout.numbered(hidden(y))
    random = any(group.hazard is not None for group in layout.groups)
    if window.edges and random:
        ts = jnp.asarray(window.edges, problem.dtype)
        excess_at = dfx.SubSaveAt(ts=ts, fn=lambda t, y, args: excess(y))
        engine = dataclasses.replace(engine, saveat=dfx.SaveAt(subs=excess_at))
    solution, failure, final = solve(
        equation,
        engine,
        window=window,
        max_events=problem.max_spikes,
        conditions=problem.conditions,
    )
    solution = dataclasses.replace(
        solution, event_marks=numbered_marks(solution.event_marks, layout)
    )
    result, failure = judged(solution.result, failure, solution.y1)
    solution = dataclasses.replace(solution, result=result)
    train = train_of(
        problem, solution.event_times, solution.event_marks, solution.event_count, result
    )
    if random:
        s = excess(solution.y1)[None]
        if window.edges:
            s = jnp.concatenate([solution.ys, s])
        train = dataclasses.replace(train, boundary=boundary_of(problem, train, s, equation.key))
    states = solution if wanted else None
    good = result == RESULTS.successful
    told = jnp.zeros_like(final.counts)
    end = problem.end(solution.y1, final.counts, told, engine, good, None, arriving)
    return Simulation(train, states, result, end, problem.conditions), failure


def numbered_marks(marks: Int[Array, " events"], layout: Layout) -> Int[Array, " events"]:
    """The numbers in the network of the neurons that fired; -1 for padding."""
    if layout.in_order:
        return marks
    numbers = jnp.asarray(layout.indices)[jnp.maximum(marks, 0)]
    return jnp.where(marks >= 0, numbers, -1)


def train_of(
    problem: Problem,
    times: Float[Array, " events"],
    marks: Int[Array, " events"],
    count: Int[Array, ""],
    result: RESULTS,
) -> SpikeTrain:
    """The train of a solve that went on from event to event."""
    return SpikeTrain(
        times=times,
        marks=marks,
        count=count,
        overflow=result != RESULTS.successful,
        t0=0.0,
        t1=problem.window.t1,
        num_neurons=problem.neurons,
    )


def ended(
    problem: Problem,
    stepper: Stepper,
    final: Carry,
    times: Float[Array, " spikes"],
    marks: Int[Array, " spikes"],
) -> tuple[SpikeTrain, RESULTS, Failure]:
    """The train of a recursion, by the numbers of the neurons, and how it went."""
    result = result_of(final)
    failure = failure_of(result, stepper, final, problem.counts)
    result, failure = judged(result, failure, final.y)
    marks = numbered_marks(marks, problem.layout)
    return train_of(problem, times, marks, final.num_events, result), result, failure


def judged(result: RESULTS, failure: Failure, end: NetworkState) -> tuple[RESULTS, Failure]:
    """The outcome, also if there was no place for what waits."""
    if end.waiting is None:
        return result, failure
    lost = end.waiting.lost > 0
    index = jnp.where(lost, len(failure.messages), failure.index)
    result = RESULTS.where(lost, RESULTS.too_many_pending, result)
    return result, Failure(index, (*failure.messages, RESULTS[RESULTS.too_many_pending]))


def hidden(y: NetworkState) -> Float[Array, " neurons"]:
    """The hidden states, group after group; below 0 where there are none."""
    each = []
    for one in y.groups:
        like = jax.tree.leaves(one.neuron)[0]
        still = jnp.full(like.shape[:1], -1.0, like.dtype)
        each.append(still if one.s is None else one.s)
    return joined(each)
