"""Steps whose length a diffrax controller chooses."""

from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree

from .._misc import is_term, where_tree
from .._path.base import AbstractCellPath
from .._types import Args, Scalar, State


class Control(eqx.Module):
    """How far the next step wants to go, and what its controller remembers."""

    step: Scalar
    state: PyTree


class Controller(eqx.Module):
    """A diffrax controller between the stops of a solve.

    Step lengths are held constant when the solve is differentiated, so the derivative is that of
    the discrete solution on its own steps.
    """

    inner: dfx.AbstractStepSizeController
    error_order: Any

    def first(self, terms, t0, t1, y0: State, dt0, args: Args, solver, dtype) -> Control:
        """Before the first step, which is to have the length `dt0`."""
        end, state = self.inner.init(
            terms, t0, t1, y0, jnp.asarray(dt0, dtype), args, solver.func, self.error_order
        )
        return Control(jax.lax.stop_gradient(jnp.asarray(end - t0, dtype)), _arrays(state, dtype))

    def next(
        self, control: Control, t: Scalar, length: Scalar, y0: State, y1: State, args, error: State
    ) -> tuple[Bool[Array, ""], Bool[Array, ""], Control]:
        """Whether a step is kept, whether the controller goes on, and what comes next."""
        keep, begin, end, _, state, result = self.inner.adapt_step_size(
            t, t + length, y0, y1, args, error, self.error_order, control.state
        )
        keep = jnp.asarray(keep)
        step = jax.lax.stop_gradient(jnp.asarray(end - begin, control.step.dtype))
        # A step that was cut short by a stop says nothing against the length that was wanted.
        cut = keep & (length < control.step)
        wanted = jnp.where(cut, jnp.maximum(control.step, jnp.where(step > 0, step, 0)), step)
        good = (result == dfx.RESULTS.successful) & (wanted > 0) & jnp.isfinite(wanted)
        # One of no length has no error either, and the controller would learn nothing from it.
        moved = where_tree(length > 0, _arrays(state, step.dtype), control.state)
        return keep, good, Control(wanted, moved)


def controller_of(controller, terms, solver) -> Controller | None:
    """The controller, `None` for constant steps, or a clear error."""
    if controller is None or isinstance(controller, dfx.ConstantStepSize):
        return None
    for term in jax.tree.leaves(terms, is_leaf=is_term):
        if isinstance(term, dfx.ControlTerm) and isinstance(term.control, AbstractCellPath):
            raise ValueError(
                f"A {type(term.control).__name__} is known cell by cell, so its steps are those "
                "cells: leave out `controller`. Adaptive steps are for problems without "
                "noise."
            )
    return Controller(controller.wrap(direction=1), solver.error_order(terms))


def _arrays(state: PyTree, dtype) -> PyTree:
    """The controller's memory with one dtype throughout, so that it can be carried."""

    def one(x):
        x = jax.lax.stop_gradient(jnp.asarray(x))
        return x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree.map(one, state)
