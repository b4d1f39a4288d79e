"""Drivers that jump: when a solve stops for them, and what they do to the state."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from .._conditions.affine import is_constant
from .._misc import any_in_batch, as_float_array, is_concrete, is_term, term_product
from .._path.base import AbstractJumpPath
from .._path.jumps import JumpPath
from .._types import Args, Numeric, RealScalar, Scalar, State

# Steps of the solver along the flow of a jump.
_STEPS = 8


def jump_terms(terms: PyTree[dfx.AbstractTerm]) -> list[tuple[dfx.ControlTerm, JumpPath]]:
    """The terms whose driver jumps, with it, in the order of the tree."""
    leaves = jax.tree.leaves(terms, is_leaf=is_term)
    controls = [term for term in leaves if isinstance(term, dfx.ControlTerm)]
    for term in controls:
        if isinstance(term.control, AbstractJumpPath) and not isinstance(term.control, JumpPath):
            raise ValueError(
                f"A {type(term.control).__name__} cannot be the control of a term: what it does at "
                "its jumps is not declared. Use a roughsnn.JumpPath."
            )
    return [(term, term.control) for term in controls if isinstance(term.control, JumpPath)]


def merged_jumps(terms, jump_ts, y: State, args: Args) -> tuple[Array | None, tuple[Array, ...]]:
    """All times at which a solve stops, with inf behind them, and what each driver jumps by.

    Jumps at one time have one entry, as they act together; where all only add to the state each has
    its own, since each time has a derivative of its own.
    """
    dtype = jnp.result_type(*jax.tree.leaves(y))
    drivers = [driver for _, driver in jump_terms(terms)]
    given = [] if jump_ts is None else [jnp.asarray(jump_ts, dtype)]
    if not drivers and not given:
        return None, ()
    if not drivers:
        return jnp.append(given[0], jnp.inf), ()
    times = jnp.concatenate([*given, *(d.jump_times.astype(dtype) for d in drivers)])
    order = jnp.argsort(jax.lax.stop_gradient(times))
    times = times[order]
    first = tuple(driver.sizes[0] for driver in drivers)
    later = times[1:] != times[:-1]
    if is_constant(lambda y: _moved(terms, times[0], y, args, first), y):
        later = jnp.ones_like(later)
    new = jnp.concatenate([jnp.zeros(1, bool), later])
    entry, room = jnp.cumsum(new, dtype=jnp.int32), times.shape[0] + 1
    merged = jnp.full(room, jnp.inf, dtype).at[entry].set(times)
    sizes, start = [], sum(len(g) for g in given)
    for driver in drivers:
        here = jnp.zeros((times.shape[0], *driver.sizes.shape[1:]), dtype)
        here = here.at[start : start + driver.sizes.shape[0]].set(driver.sizes.astype(dtype))
        sizes.append(jnp.zeros((room, *here.shape[1:]), dtype).at[entry].add(here[order]))
        start += driver.sizes.shape[0]
    return merged, tuple(sizes)


def check_jump_ts(jump_ts: Numeric | None) -> None:
    """`ValueError` unless times are increasing, as far as they are known."""
    if jump_ts is None:
        return
    jump_ts = as_float_array("jump_ts", jump_ts)
    if jump_ts.ndim != 1:
        raise ValueError(f"`jump_ts` must have shape (jumps,), got {jump_ts.shape}.")
    if is_concrete(jump_ts) and np.any(np.diff(np.asarray(jump_ts)) <= 0):
        raise ValueError("`jump_ts` must be increasing.")


def _moved(terms, t: RealScalar | Scalar, y: State, args: Args, sizes: tuple[Array, ...]) -> State:
    """What jumps of the drivers do to the state, to first order."""
    total = jax.tree.map(jnp.zeros_like, y)
    for (term, _), size in zip(jump_terms(terms), sizes, strict=True):
        moved = term_product(term, term.vf(t, y, args), size)
        total = jax.tree.map(jnp.add, total, moved)
    return total


def after_jump(
    terms: PyTree[dfx.AbstractTerm],
    solver: dfx.AbstractSolver,
    t: RealScalar | Scalar,
    y: State,
    args: Args,
    sizes: tuple[Array, ...],
    here: Array,
) -> State:
    r"""The state behind a jump of the drivers, if they jump `here`: the end of
    $dz/dr = \sigma(t, z)\,\Delta X$ (Marcus 1981).

    For additive noise $z + \sigma\Delta X$, otherwise some steps of the solver.
    """
    sizes = tuple(jnp.where(here, size, 0) for size in sizes)
    field = lambda y: _moved(terms, t, y, args, sizes)
    if is_constant(field, y):
        return jax.tree.map(jnp.add, y, field(y))
    solver = solver if isinstance(solver, dfx.AbstractERK) else dfx.Tsit5(scan_kind="bounded")
    term = dfx.ODETerm(lambda r, y, args: field(y))

    def step(y, r):
        end = r + 1 / _STEPS
        state = solver.init(term, r, end, y, None)
        return solver.step(term, r, end, y, None, state, jnp.array(False))[0], None

    starts = jnp.arange(_STEPS, dtype=jnp.result_type(*jax.tree.leaves(y))) / _STEPS
    flow = lambda y: jax.lax.scan(step, y, starts)[0]
    return jax.lax.cond(any_in_batch(here), flow, lambda y: y, y)
