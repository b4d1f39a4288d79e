"""The training loop."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, PyTree
from tqdm.auto import tqdm

from .._misc import check_positive_int, where_tree
from .._types import PRNGKey


class Fit(eqx.Module):
    """What [`roughsnn.fit`][] returns.

    **Attributes:**

    - `model`: the model after the last step whose loss and gradient were finite.
    - `history`: for `"loss"` and each metric an array with a value per step, taken before
        the step's update.
    - `steps`: how many updates were made.
    - `seconds`: wall-clock seconds of each step; the first holds the compilation.
    - `stopped`: why it ended early, or `None`.
    """

    model: PyTree
    history: dict[str, np.ndarray]
    steps: int
    seconds: np.ndarray
    stopped: str | None


def fit(
    model: PyTree,
    loss: Callable[..., Any],
    data: PyTree,
    optim: optax.GradientTransformation,
    *,
    steps: int,
    key: PRNGKey,
    trainable: PyTree[bool] | Callable[[Any], bool] = eqx.is_inexact_array,
    callback: Callable[[int, PyTree, Mapping[str, float]], Any] | None = None,
    progress: bool | None = None,
) -> Fit:
    """Minimises `loss(model, data, key)` by stochastic gradient descent.

    A whole step (value, gradient, update) is one compiled function; each step gets a key
    of its own, folded from `key` and the step's number.

    **Arguments:**

    - `model`: any pytree.
    - `loss`: `loss(model, data, key)`, a scalar or `(scalar, {name: scalar})`; the metrics
        go to the history and the progress bar.
    - `data`: passed to the loss.
    - `optim`: an `optax` optimiser.
    - `steps`: how many updates.
    - `key`: a `jax.random.key`.
    - `trainable`: which leaves are trained: a function of the leaf, or a pytree of bools
        with the structure of `model` (a prefix will do). By default all floating arrays.
    - `callback`: `callback(step, model, metrics)` after each step; ends the fit by
        returning `True`.
    - `progress`: show a progress bar; by default if the output is a terminal.

    **Returns:** a [`roughsnn.Fit`][]. If a loss or a gradient is not finite, the update is
    not made, the fit ends, `stopped` says so, and `model` is the last good one.

    **Raises:** `ValueError` if nothing is trainable or the loss is not a scalar; and what
    the loss raises.
    """
    steps = check_positive_int("steps", steps)
    params, static = eqx.partition(model, trainable)
    if not jax.tree.leaves(params):
        raise ValueError(
            "`model` has no trainable leaves. Its parameters must be floating JAX arrays, "
            "e.g. jnp.asarray(0.5), and `trainable` must select some of them."
        )

    def objective(params, static, data, key):
        out = loss(eqx.combine(params, static), data, key)
        value, metrics = out if isinstance(out, tuple) else (out, {})
        if jnp.shape(value) != ():
            raise ValueError(f"`loss` must return a scalar, got shape {jnp.shape(value)}.")
        return value, metrics

    @eqx.filter_jit
    def make_step(params, static, opt_state, data, key, number):
        key = jr.fold_in(key, number)
        value_and_grad = eqx.filter_value_and_grad(objective, has_aux=True)
        (value, metrics), grads = value_and_grad(params, static, data, key)
        finite = jnp.stack([jnp.all(jnp.isfinite(g)) for g in jax.tree.leaves(grads)])
        ok = jnp.isfinite(value) & jnp.all(finite)
        # Optax mixes integer counts with floats, also where JAX is set not to.
        with jax.numpy_dtype_promotion("standard"):
            updates, new_state = optim.update(grads, opt_state, params)
        new_params = eqx.apply_updates(params, updates)
        params = where_tree(ok, new_params, params)
        opt_state = _keep_if(ok, new_state, opt_state)
        return params, opt_state, {"loss": value, **metrics}, ok

    opt_state = optim.init(params)
    rows: list[dict[str, float]] = []
    seconds: list[float] = []
    stopped = None
    with tqdm(total=steps, disable=None if progress is None else not progress, desc="fit") as bar:
        for number in range(steps):
            begin = time.perf_counter()
            params, opt_state, metrics, ok = make_step(
                params, static, opt_state, data, key, jnp.asarray(number)
            )
            row = {name: float(value) for name, value in metrics.items()}
            seconds.append(time.perf_counter() - begin)
            rows.append(row)
            if not bool(ok):
                stopped = (
                    f"The loss or its gradient was not finite at step {number}; the model "
                    "is the one before it."
                )
                break
            bar.update()
            bar.set_postfix({name: f"{value:.4g}" for name, value in row.items()}, refresh=False)
            if callback is not None and callback(number, eqx.combine(params, static), row):
                stopped = f"The callback ended the fit after step {number}."
                break
    history = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    updates = len(rows) - (stopped is not None and stopped.startswith("The loss"))
    return Fit(eqx.combine(params, static), history, updates, np.array(seconds), stopped)


def _keep_if(ok: Array, new: PyTree, old: PyTree) -> PyTree:
    """`new` where ok else `old`, on array leaves; other leaves are those of `new`."""
    arrays, rest = eqx.partition(new, eqx.is_array)
    return eqx.combine(where_tree(ok, arrays, eqx.filter(old, eqx.is_array)), rest)
