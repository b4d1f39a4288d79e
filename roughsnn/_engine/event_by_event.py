"""A network as an event SDE, and its solution event by event."""

import dataclasses

import diffrax as dfx
import jax.numpy as jnp

from .._event.crossing import QuadraticCrossing
from .._model.firing import StochasticFiring
from .._model.membrane import AbstractLinearMembrane
from .._model.state import NeuronState
from .._path.base import AbstractJumpPath
from .._results import RESULTS, Failure
from .._solve.engine import EventByEvent
from .._solve.eventsolve import solve
from .._solve.saveat import check_saveat
from .._solve.setup import Equation, check_problem
from .._train.spike_train import SpikeTrain
from .._window import Window
from .base import Simulation
from .boundary import boundary_of
from .exponential import ExponentialTrapezoid, is_cascade
from .problem import Problem


def check_event_by_event(problem: Problem, engine: EventByEvent, window: Window) -> None:
    """`ValueError` for what goes with other problems only; the window as it was given."""
    if engine.adaptive and problem.noisy:
        raise ValueError(
            "Adaptive steps are for networks without noise: the noise is known on cells of length "
            "`dt0`. Leave out `controller`, or give the membrane sigma=None."
        )
    if engine.saveat is not None:
        check_saveat(engine.saveat, window.t0, window.t1)
        if window.edges:
            raise ValueError(
                "`edges` of the window cannot be combined with `saveat`: simulate twice."
            )


def equation_of(problem: Problem, engine: EventByEvent) -> tuple[Equation, EventByEvent]:
    """The network as an event SDE, and the engine with the parts that suit it."""
    network, clock = problem.network, problem.clock
    y0, key, path = problem.draw()
    begin = clock.start(0, problem.dtype)
    jumps = [one.path(0.0, problem.window.t1, begin) for one in problem.inputs]
    solver, root_finder = engine.solver, engine.root_finder
    if solver is None and not engine.adaptive:
        membrane, zero = network.membrane, jnp.zeros(problem.neurons, problem.dtype)
        if isinstance(membrane, AbstractLinearMembrane) and is_cascade(membrane, zero):
            curved = path is not None and path.arrays()[1] is not None
            solver = ExponentialTrapezoid(NeuronState(*membrane.rates, None), curved)
            if root_finder is None and isinstance(network.firing, StochasticFiring):
                root_finder = QuadraticCrossing(pieces=2 if curved else 1)
    engine = dataclasses.replace(engine, solver=solver, root_finder=root_finder)
    drive = problem.drive
    terms, event = network.terms(drive, path, jumps), network.event()
    jump_ts = drive.jump_times if isinstance(drive, AbstractJumpPath) else None
    window, counts = problem.window, problem.counts
    y0 = check_problem(terms, window, y0, None, event=event, engine=engine, jump_ts=jump_ts)
    known = problem.conditions == "hold"
    equation = Equation(terms, event, y0, None, key, jump_ts, clock, counts, known, problem.outside)
    return equation, engine


def run_event_by_event(problem: Problem, engine: EventByEvent) -> tuple[Simulation, Failure]:
    """The simulation of a problem, one spike after the other."""
    window, wanted = problem.window, engine.saveat is not None
    equation, engine = equation_of(problem, engine)
    if window.edges:
        ts = jnp.asarray(window.edges, problem.dtype)
        excess_at = dfx.SubSaveAt(ts=ts, fn=lambda t, y, args: y.s)
        engine = dataclasses.replace(engine, saveat=dfx.SaveAt(subs=excess_at))
    solution, failure, final = solve(
        equation,
        engine,
        window=window,
        max_events=problem.max_spikes,
        conditions=problem.conditions,
    )
    train = SpikeTrain(
        times=solution.event_times,
        marks=solution.event_marks,
        count=solution.event_count,
        overflow=solution.result != RESULTS.successful,
        t0=0.0,
        t1=window.t1,
        num_neurons=problem.neurons,
    )
    s = solution.y1.s
    if s is not None:
        excess = s[None]
        if window.edges:
            excess = jnp.concatenate([solution.ys, excess])
        train = dataclasses.replace(
            train, boundary=boundary_of(problem, train, excess, equation.key)
        )
    states = solution if wanted else None
    good = solution.result == RESULTS.successful
    told = jnp.zeros_like(final.counts)
    end = problem.end(solution.y1, final.counts, told, engine, good)
    return Simulation(train, states, solution.result, end, problem.conditions), failure
