"""Mistakes that `eventsolve` names."""

from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
import pytest

import roughsnn as rs

KEY = jax.random.key(0)

DROP = rs.Event(lambda t, y, a: y[None] - 2, lambda t, y, a, k, u: y - 1.0)
EARLY = rs.Window(0.0, 1.0, 0.1, stop_after=4)
BAD = [
    (lambda: dict(window=rs.Window(0.0, -1.0, 0.1)), "`t1` must be larger"),
    (lambda: dict(window=rs.Window(0.0, 1.0, 0.0)), "`dt0` must be positive"),
    (lambda: dict(window=rs.Window(0.0, 1.0, "a")), "`dt0` must be a number"),  # pyright: ignore
    (
        lambda: dict(window=rs.Window(0.0, 1.0, 0.1, stop_after=0)),
        "`stop_after` must be a positive",
    ),
    (lambda: dict(window=EARLY), "`stop_after` must not exceed `max_events`, got 4 > 3"),
    (lambda: dict(window=(0.0, 1.0, 0.1)), "`window` must be a roughsnn.Window"),
    (lambda: dict(y0=jnp.array(1)), "must have a floating dtype"),
    (lambda: dict(key=0), "`key` must be one key"),
    (lambda: dict(key=jax.random.split(KEY, 2)), "use jax.vmap over keys"),
    (lambda: dict(engine=dfx.Heun()), "`engine` must be a roughsnn.EventByEvent here, got Heun"),
    (lambda: dict(engine=rs.Lockstep()), "`engine` must be a roughsnn.EventByEvent here"),
    (lambda: dict(engine=rs.EventByEvent(saveat=3)), "`saveat` must be"),  # pyright: ignore
    (lambda: dict(engine=rs.EventByEvent(solver=3)), "`solver` must be"),  # pyright: ignore
    (lambda: dict(engine=rs.EventByEvent(root_finder="x")), "`root_finder` must be"),  # pyright: ignore
    (lambda: dict(engine=rs.EventByEvent(controller="x")), "`controller` must be"),  # pyright: ignore
    (lambda: dict(engine=rs.EventByEvent(adjoint="x")), "`adjoint` must be"),  # pyright: ignore
    (lambda: dict(engine=rs.EventByEvent(max_steps=-3)), "`max_steps` must be a positive"),
    (lambda: dict(engine=rs.EventByEvent(solver=dfx.ShARK())), "Levy area"),
    (lambda: dict(jump_ts=[0.5, 0.2]), "`jump_ts` must be increasing"),
    (
        lambda: dict(event=rs.Event(lambda t, y, a: y, lambda t, y, a, k, u: y)),
        "shape \\(events,\\)",
    ),
    (
        lambda: dict(event=rs.Event(lambda t, y, a: y[None], lambda t, y, a, k, u: y[None])),
        "`event.transition` must return a state",
    ),
    (lambda: dict(event=rs.Event(DROP.fn, DROP.transition, "no")), "`conditions` must be"),  # pyright: ignore
]


@pytest.mark.parametrize(("change", "match"), BAD, ids=[m for _, m in BAD])
def test_bad_input(change, match):
    arguments: dict[str, Any] = {
        "terms": dfx.ODETerm(lambda t, y, args: -y),
        "window": rs.Window(0.0, 1.0, 0.1),
        "y0": jnp.asarray(1.0),
        "event": DROP,
        "max_events": 3,
        "key": KEY,
    }
    with pytest.raises((ValueError, TypeError), match=match):
        rs.eventsolve(**(arguments | change()))


def brownian_problem(path):
    terms = dfx.MultiTerm(
        dfx.ODETerm(lambda t, y, args: -y), dfx.ControlTerm(lambda t, y, args: 1.0, path)
    )
    event = rs.Event(lambda t, y, a: y[None] - 9, lambda t, y, a, k, u: y - 1.0)
    return rs.eventsolve(
        terms,
        rs.Window(0.0, 1.0, 0.1),
        jnp.zeros(()),
        engine=rs.EventByEvent(solver=dfx.Euler()),
        event=event,
        max_events=1,
        key=KEY,
    )


@pytest.mark.parametrize(
    ("path", "match"),
    [
        (dfx.VirtualBrownianTree(0.0, 1.0, 1e-3, (), KEY), "cannot drive"),
        (rs.BrownianPath(0.0, 1.0, 0.05, shape=(), key=KEY), "whole multiples"),
        (rs.BrownianPath(0.0, 0.5, 0.1, shape=(), key=KEY), "must start at t0"),
        (rs.BrownianPath(0.5, 1.0, 0.1, shape=(), key=KEY), "must start at t0"),
    ],
)
def test_paths_that_do_not_fit(path, match):
    with pytest.raises(ValueError, match=match):
        brownian_problem(path)
