"""The compiled part of a fit: one step, and programs that make many of them.

These programs are functions of this module and get all they depend on as arguments. JAX keeps a
program for each combination of functions (by identity), structure and shapes, so a second fit with
the same loss, optimiser and shapes compiles nothing.
"""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jax import lax
from jaxtyping import Array, Bool, Int, PyTree

from .._misc import where_tree
from .._types import PRNGKey, Scalar
from .batches import Batches
from .objective import Objective
from .validation import Validation

RUNNING, NOT_FINITE, NO_PATIENCE = 0, 1, 2
# The most steps of one call of a program.
CAPACITY = 1024
# Called while a program is traced, that is just before it is compiled.
on_trace: ContextVar[Callable[[], None]] = ContextVar("on_trace", default=lambda: None)
# Numbers that no step has.
_ORDER, _VALIDATION = 2**32 - 1, 2**32 - 2


class Problem(eqx.Module):
    """What all steps share."""

    objective: Objective
    optim: optax.GradientTransformation
    static: PyTree
    static_opt: PyTree
    data: PyTree
    key: PRNGKey
    batches: Batches | None
    validation: Validation | None

    def order(self, step: Int[Array, ""]) -> Array | None:
        """The permutation of the samples in the epoch of a step."""
        if self.batches is None:
            return None
        return self.batches.order(jr.fold_in(self.key, _ORDER), step)

    def batch(self, step: Int[Array, ""], order: Array | None) -> tuple[PyTree, Array | None]:
        """The data of a step, and the permutation that they were drawn with."""
        if self.batches is None:
            return self.data, None
        new = self.batches.starts_epoch(step)
        order = lax.cond(new, lambda: self.order(step), lambda: order)
        assert order is not None
        return self.batches.batch(self.data, order, step), order


class Best(eqx.Module):
    """The model with the lowest validation loss; `step` is 0 as long as there is none."""

    params: PyTree
    opt_state: PyTree
    step: Int[Array, ""]
    value: Scalar
    misses: Int[Array, ""]


class State(eqx.Module):
    """What changes from step to step; all leaves are arrays."""

    params: PyTree
    opt_state: PyTree
    step: Int[Array, ""]
    status: Int[Array, ""]
    best: Best | None


class Row(eqx.Module):
    """What a step adds to the history."""

    loss: Scalar
    metrics: dict[str, Scalar]
    validation: Scalar | None


@eqx.filter_jit
def advance(
    problem: Problem, state: State, number: Int[Array, ""], order: Array | None
) -> tuple[State, Array | None, Row]:
    """Makes step `number`: an update, unless its loss or gradient is not finite."""
    on_trace.get()()
    data, order = problem.batch(number, order)
    key = jr.fold_in(problem.key, number)
    value, metrics, grads = problem.objective(state.params, problem.static, data, key)
    finite = jnp.stack([jnp.all(jnp.isfinite(g)) for g in jax.tree.leaves(grads)])
    ok = jnp.isfinite(value) & jnp.all(finite)
    # Optax mixes integer counts with floats, also where JAX is set not to.
    with jax.numpy_dtype_promotion("standard"):
        updates, opt_state = optax.with_extra_args_support(problem.optim).update(
            grads,
            eqx.combine(state.opt_state, problem.static_opt),
            state.params,
            value=value,
            grad=grads,
            value_fn=lambda params: problem.objective.value(params, problem.static, data, key),
        )
        params = eqx.apply_updates(state.params, updates)
    opt_state = eqx.filter(opt_state, eqx.is_array)
    state = State(
        _settled(ok, params, state.params),
        _settled(ok, opt_state, state.opt_state),
        state.step + jnp.where(ok, jnp.int32(1), jnp.int32(0)),
        jnp.where(ok, jnp.int32(RUNNING), jnp.int32(NOT_FINITE)),
        state.best,
    )
    state, validation = _validated(problem, state, ok, number + 1, value.dtype)
    return state, order, Row(value, metrics, validation)


def _validated(
    problem: Problem, state: State, ok: Bool[Array, ""], step: Int[Array, ""], dtype: Any
) -> tuple[State, Scalar | None]:
    """The state after the model was evaluated, if it is due, and the value, else NaN."""
    validation, best = problem.validation, state.best
    if validation is None or best is None:
        return state, None
    nothing = jnp.full((), jnp.nan, dtype)
    due = step % validation.every == 0

    def evaluate():
        key = jr.fold_in(problem.key, _VALIDATION)
        value = problem.objective.value(state.params, problem.static, validation.data, key)
        return value.astype(dtype)

    # `due` is the same for all fits of a batch, so this stays a branch under `vmap`.
    value = jnp.where(ok, lax.cond(due, evaluate, lambda: nothing), nothing)
    better = value < best.value.astype(dtype)
    new = Best(state.params, state.opt_state, step, value.astype(best.value.dtype), best.misses)
    best = where_tree(better, new, best)
    misses = jnp.where(better, 0, best.misses + jnp.where(due & ok, jnp.int32(1), jnp.int32(0)))
    best = eqx.tree_at(lambda b: b.misses, best, misses.astype(jnp.int32))
    status = state.status
    if validation.patience is not None:
        ended = ok & (misses >= validation.patience)
        status = jnp.where(ended, jnp.int32(NO_PATIENCE), status)
    return State(state.params, state.opt_state, state.step, status, best), value


def _settled(ok: Bool[Array, ""], new: PyTree, old: PyTree) -> PyTree:
    """`new` where ok else `old`, with the dtypes of `old`."""

    def settle(new, old):
        if not jnp.issubdtype(old.dtype, jax.dtypes.prng_key):
            new = jnp.asarray(new).astype(old.dtype)
        return jnp.where(ok, new, old)

    return jax.tree.map(settle, new, old)


def row_of_step(problem: Problem, state: State) -> Row:
    """Shapes and dtypes of what a step adds to the history."""
    order = eqx.filter_eval_shape(problem.order, state.step)
    return eqx.filter_eval_shape(advance, problem, state, state.step, order)[2]


@eqx.filter_jit
def run_block(
    problem: Problem, state: State, count: Int[Array, ""]
) -> tuple[State, Row, Int[Array, ""]]:
    """Makes at most `count` steps (up to `CAPACITY`), and no more once the fit has stopped.

    **Returns:** the state, the rows, and how many of these are filled.
    """
    on_trace.get()()
    first = state.step
    # The step is traced once, as it is a compiled function itself.
    row = row_of_step(problem, state)
    rows = jax.tree.map(lambda x: jnp.zeros((CAPACITY, *x.shape), x.dtype), row)

    def go_on(carry):
        state, _, _, made = carry
        return (made < count) & (state.status == RUNNING)

    def body(carry):
        state, order, rows, made = carry
        state, order, row = advance(problem, state, first + made, order)
        rows = jax.tree.map(lambda all, one: all.at[made].set(one), rows, row)
        return state, order, rows, made + 1

    start = (state, problem.order(first), rows, jnp.int32(0))
    state, _, rows, made = lax.while_loop(go_on, body, start)
    return state, rows, made


@eqx.filter_jit
def run_all(problem: Problem, state: State, steps: int) -> tuple[State, Row]:
    """Makes all steps, whatever transformation it is in; stopped fits go along unchanged.

    **Returns:** the state, and the rows: NaN (integers: 0) after a fit has stopped.
    """

    def body(carry, number):
        state, order = carry
        running = state.status == RUNNING
        new, order, row = advance(problem, state, number, order)
        empty = lambda x: jnp.nan if jnp.issubdtype(x.dtype, jnp.inexact) else 0
        row = jax.tree.map(lambda x: jnp.where(running, x, jnp.full_like(x, empty(x))), row)
        return (where_tree(running, new, state), order), row

    numbers = jnp.arange(steps, dtype=jnp.int32)
    (state, _), rows = lax.scan(body, (state, problem.order(numbers[0])), numbers)
    return state, rows
