"""Which states of a solve are kept."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from .._misc import as_float_array, at_least, at_most, is_concrete
from .._types import State
from .dense import on_borders
from .step import Emitted, Stepper


def check_saveat(saveat: dfx.SaveAt, t0: float, t1: float) -> dfx.SubSaveAt | None:
    """The one `SubSaveAt` in `saveat`, or a clear error."""
    if saveat.solver_state or saveat.controller_state or saveat.made_jump:
        raise ValueError(
            "`saveat` may ask for t0, t1, ts, steps, dense and fn; `solver_state`, "
            "`controller_state` and `made_jump` are not available."
        )
    sub = saveat.subs
    if sub is None:
        return None
    if not isinstance(sub, dfx.SubSaveAt):
        raise ValueError(
            "`saveat.subs` must be a single SubSaveAt. Return a tuple from `fn` to save "
            "several things."
        )
    if sub.steps > 1:
        raise ValueError(f"`saveat.steps` must be True or False, got {sub.steps}.")
    if sub.ts is not None and is_concrete(sub.ts):
        ts = np.asarray(as_float_array("saveat.ts", sub.ts))
        if ts.ndim != 1 or not ts.size:
            raise ValueError(f"`saveat.ts` must have shape (times,), got {ts.shape}.")
        if not np.all(np.diff(ts) >= 0):
            raise ValueError("`saveat.ts` must be in increasing order.")
        slack = 1e-6 * (t1 - t0)
        if ts[0] < t0 - slack or ts[-1] > t1 + slack:
            raise ValueError(
                f"`saveat.ts` must lie in [t0, t1] = [{t0}, {t1}], got times from "
                f"{ts[0]} to {ts[-1]}."
            )
    return sub


def collect(
    sub: dfx.SubSaveAt | None,
    stepper: Stepper,
    emitted: Emitted,
    y0: State,
    y1: State,
) -> tuple[Array | None, PyTree | None]:
    """`ts` and `ys` of the solution: t0, then ts or steps, then t1; times since t0."""
    if sub is None:
        return None, None
    dtype, args = emitted.time.dtype, stepper.args
    begin = stepper.grid.clock.start(0, dtype)
    ts, ys = [], []

    def add(t, y):
        ts.append(t)
        ys.append(jax.vmap(lambda t, y: sub.fn(begin + t, y, args))(t, y))

    row = lambda y: jax.tree.map(lambda x: jnp.asarray(x)[None], y)
    if sub.t0:
        add(jnp.zeros((1,), dtype), row(y0))
    if sub.ts is not None:
        add(sub.ts.astype(dtype), _at_times(stepper, emitted, sub.ts.astype(dtype)))
    if sub.steps:
        times = jnp.repeat(emitted.time, 2)
        pair = lambda a, b: jnp.stack([a, b], 1).reshape(-1, *a.shape[1:])
        add(times, jax.tree.map(pair, emitted.left, emitted.right))
    if sub.t1:
        add(jnp.full((1,), stepper.grid.t1, dtype), row(y1))
    return jnp.concatenate(ts), jax.tree.map(lambda *x: jnp.concatenate(x), *ys)


def _at_times(stepper: Stepper, emitted: Emitted, ts: Array) -> State:
    """Left limits of the state at `ts`: each step that holds one is made once more."""
    end = jnp.max(jnp.where(jnp.isfinite(emitted.time), emitted.time, 0))
    ts = on_borders(ts, (end,), end)
    index = jnp.searchsorted(emitted.time, ts, side="left")
    reached = index < emitted.time.shape[0]
    index = jnp.minimum(index, emitted.time.shape[0] - 1)
    reached = reached & jnp.isfinite(emitted.time[index])
    origins = jax.tree.map(lambda x: x[index], emitted.origin)

    def at(t, origin, reached):
        step, since = stepper.interval(origin), t - stepper.grid.start(origin.cell, t.dtype)
        y = step.dense.evaluate(at_most(at_least(since, origin.offset), step.stop))
        return jax.tree.map(lambda x: jnp.where(reached, x, jnp.nan), y)

    return jax.vmap(at)(ts, origins, reached)
