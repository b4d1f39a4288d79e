"""`eventsolve`, `reference_solve` and `online_gradient` agree, in values and gradients."""

from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optimistix as optx
import pytest

import roughsnn as rs

from ..equations import equation_of
from ..helpers import (
    largest_difference,
    random_direction,
    recurrent_network,
    recurrent_parameters,
)

T1, CELL = 0.3, 0.02
ROOM: Any = dict(max_events=20, key=jr.key(3))


def problem_of(hard: bool, noisy: bool, cell: float = CELL, key=None):
    """Parameters of three coupled neurons -> terms, event, y0, args."""

    def problem(p):
        sigma = p["sigma"].at[0].set(0.0) if hard else p["sigma"]
        network = recurrent_network(dict(p, sigma=sigma), hard)
        path = None
        if noisy:
            path = rs.BrownianPath(
                0.0,
                T1,
                cell,
                shape=(6,),
                key=jr.key(1) if key is None else key,
                interpolation="linear",
            )
        start = {} if hard else {"s": jnp.array([-0.5, -0.3, -0.4])}
        drive = lambda t: p["input"] * (1 + 0.1 * jnp.sin(3 * t))
        return *equation_of(network, drive, path, **start), None

    return problem


def outputs(sol):
    return jnp.where(sol.event_marks >= 0, sol.event_times, 0), sol.y1["v"]


def compare(hard, noisy, solver, dt0, **reference):
    """Largest relative differences of values and of all first derivatives."""
    problem, p = problem_of(hard, noisy), recurrent_parameters()

    def slow(p):
        terms, event, y0, _ = problem(p)
        sol = rs.reference_solve(
            terms, rs.Window(0.0, T1, dt0), y0, solver=solver, event=event, **reference, **ROOM
        )
        return outputs(sol), (outputs(sol), sol.event_marks)

    def fast(p):
        terms, event, y0, _ = problem(p)
        sol = rs.eventsolve(
            terms,
            rs.Window(0.0, T1, min(dt0, CELL / 8)),
            y0,
            event=event,
            **ROOM,
            engine=rs.EventByEvent(solver=solver),
        )
        return outputs(sol), (outputs(sol), sol.event_marks)

    slopes, (values, marks) = jax.jit(jax.jacrev(slow, has_aux=True))(p)
    other_slopes, (other_values, other_marks) = jax.jit(jax.jacrev(fast, has_aux=True))(p)
    np.testing.assert_array_equal(marks, other_marks)
    assert np.sum(np.asarray(marks) >= 0) >= 2
    return largest_difference(values, other_values), largest_difference(slopes, other_slopes)


@pytest.mark.slow
@pytest.mark.parametrize("hard", [False, True])
def test_without_noise_and_with_adaptive_steps(hard):
    controller = dfx.PIDController(1e-10, 1e-12)
    values, gradients = compare(hard, False, dfx.Tsit5(), 0.01, stepsize_controller=controller)
    assert values < 1e-8 and gradients < 1e-7


@pytest.mark.slow
def test_with_noise_as_the_steps_shrink():
    """The reference restarts its steps at events, so it has kinks inside them."""
    errors = np.array([compare(False, True, dfx.Heun(), CELL / n) for n in (8, 64)])
    assert np.all(errors[1] < [1e-5, 1e-4])
    # Second order: 64 times less; 20 leaves room for where the kinks fall.
    assert np.all(errors[0] > 20 * errors[1])


@pytest.mark.slow
def test_reference_reports_failures():
    """Too many spikes, and then too few: none ends the first of the stretches between them."""

    def solver(root_finder=None):
        def solve(scale):
            p = recurrent_parameters()
            terms, event, y0, _ = problem_of(True, False)(dict(p, input=scale * p["input"]))
            return rs.reference_solve(
                terms,
                rs.Window(0.0, T1, 0.01),
                y0,
                solver=dfx.Tsit5(),
                event=event,
                root_finder=root_finder,
                max_steps=20,
                **ROOM,
            )

        return jax.jit(solve)

    solve = solver()
    many = solve(4.0)
    assert bool(many.result == rs.RESULTS.max_events_reached)
    assert int(many.event_count) == ROOM["max_events"]
    assert bool(solve(0.0).result == rs.RESULTS.step_failed)
    usual = solve(1.0)
    assert bool(usual.result == rs.RESULTS.successful)
    bisected = solver(optx.Bisection(1e-12, 1e-12, flip="detect"))(1.0)
    np.testing.assert_allclose(bisected.event_times, usual.event_times, atol=1e-9)


def online_errors(hard: bool, cell: float, solver) -> np.ndarray:
    """How far the recursion is from the derivative, of event times and of the end: the middle one
    of eight paths."""
    p = recurrent_parameters()
    direction = random_direction(p, 1, hard=hard)
    window, engine = rs.Window(0.0, T1, cell), rs.EventByEvent(solver=solver)

    def both(key):
        problem = problem_of(hard, True, cell, key)

        def fast(p):
            terms, event, y0, _ = problem(p)
            return outputs(rs.eventsolve(terms, window, y0, event=event, engine=engine, **ROOM))

        values, derivatives = jax.jvp(fast, (p,), (direction,))
        found = rs.online_gradient(problem, p, direction, window, engine=engine, **ROOM)
        own = found.time_derivatives, found.y1_derivative["v"]
        return (values, outputs(found)), (derivatives, own), found.event_count

    keys = jr.split(jr.key(1), 8)
    (values, again), (exact, own), count = jax.jit(lambda keys: jax.lax.map(both, keys))(keys)
    assert largest_difference(values, again) < 1e-12
    assert np.median(count) >= 2
    errors = [
        [largest_difference(a[n], b[n]) for n in range(8)] for a, b in zip(exact, own, strict=True)
    ]
    return np.median(errors, 1)


@pytest.mark.slow
@pytest.mark.parametrize("hard", [False, True])
def test_the_recursion_is_the_derivative_of_the_solve(hard):
    """To the accuracy with which the solver's dense output has the field as its slope."""
    coarse, fine = (online_errors(hard, cell, dfx.Tsit5()) for cell in (0.02, 0.005))
    assert max(fine) < 1e-6 and max(fine) < max(coarse) / 16


@pytest.mark.slow
def test_the_recursion_with_the_default_solver():
    coarse, fine = (online_errors(False, cell, None) for cell in (0.02, 0.0025))
    assert max(fine) < 1e-3 and max(fine) < max(coarse) / 6


@pytest.mark.slow
def test_the_recursion_takes_many_directions_at_once():
    p, problem = recurrent_parameters(), problem_of(True, True)
    directions = [random_direction(p, n, hard=True) for n in range(3)]
    # Linear in the direction.
    mixed = jax.tree.map(lambda a, b: 2 * a - b, directions[0], directions[2])
    directions, some = (
        jax.tree.map(lambda *x: np.stack(x), *those)
        for those in (directions, (directions[1], mixed))
    )

    def run(direction):
        return rs.online_gradient(
            problem,
            p,
            direction,
            rs.Window(0.0, T1, CELL),
            **ROOM,
            engine=rs.EventByEvent(solver=dfx.Heun()),
        ).time_derivatives

    @jax.jit
    def run_all(directions, some):
        return jax.vmap(run)(directions), jax.lax.map(run, some)

    together, (alone, both) = run_all(directions, some)
    np.testing.assert_allclose(together[1], alone, rtol=1e-12)
    np.testing.assert_allclose(both, 2 * together[0] - together[2], rtol=1e-9, atol=1e-12)


def test_the_recursion_checks_its_arguments():
    p = recurrent_parameters()
    with pytest.raises(ValueError, match="structure of `params`"):
        rs.online_gradient(
            problem_of(True, True),
            p,
            {"tau": p["tau"]},
            rs.Window(0.0, T1, CELL),
            **ROOM,
            engine=rs.EventByEvent(solver=dfx.Heun()),
        )
