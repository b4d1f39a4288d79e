"""Numbers as spikes, and as input over time."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._misc import as_float_array, check_positive_int, is_concrete, static_float
from .._train.spike_train import SpikeTrain
from .._types import Numeric
from .._window import Window, as_window


def latency(
    values: Numeric,
    window: Window,
    *,
    earliest: float,
    latest: float,
    silent: float | None = None,
    reference: Numeric = (),
) -> SpikeTrain:
    r"""One spike for each number, the sooner the larger it is: at
    $t = \text{latest} - x\,(\text{latest} - \text{earliest})$ for x in [0, 1].

    Times are differentiable in the values; of one sample, `jax.vmap` for more. Input of a
    [`roughsnn.Source`][].

    **Arguments:**

    - `values`: numbers in [0, 1], of any shape; neurons are numbered along its last axis first.
    - `window`: a [`roughsnn.Window`][], of the simulation.
    - `earliest`, `latest`: the times of 1 and of 0, inside of the window.
    - `silent`: values up to this one give no spike; by default all do.
    - `reference`: times at which one more neuron each fires, whatever the values are.

    **Returns:** a [`roughsnn.SpikeTrain`][] of `values.size + len(reference)` neurons.

    **Raises:** `ValueError` for times that leave the window or are not in order, and for values
        that are not in [0, 1] (a runtime error where they are traced).
    """
    window, x = as_window(window), as_float_array("values", values).reshape(-1)
    if x.size == 0:
        raise ValueError("`values` must hold a number at least.")
    first, last = static_float("earliest", earliest), static_float("latest", latest)
    if not window.t0 <= first < last <= window.t1:
        raise ValueError(
            "`earliest` must be before `latest`, and both in the window "
            f"[{window.t0}, {window.t1}], got {first} and {last}."
        )
    others = np.asarray(as_float_array("reference", reference)).reshape(-1)
    if np.any((others < window.t0) | (others > window.t1)):
        raise ValueError(
            f"`reference` must be in the window [{window.t0}, {window.t1}], got {others.tolist()}."
        )
    x = _in_unit(x)
    times = jnp.concatenate([last - x * (last - first), jnp.asarray(others, x.dtype)])
    there = jnp.ones(times.shape, bool)
    if silent is not None:
        there = there.at[: x.size].set(x > static_float("silent", silent))
    times = jnp.where(there, times, jnp.inf)
    order = jnp.argsort(jax.lax.stop_gradient(times)).astype(jnp.int32)
    return SpikeTrain(
        times=times[order],
        marks=jnp.where(there[order], order, -1),
        count=jnp.sum(there, dtype=jnp.int32),
        overflow=jnp.array(False),
        t0=window.t0,
        t1=window.t1,
        num_neurons=times.shape[0],
    )


def row_by_row(image: Numeric, cells: int) -> Float[Array, "cells columns"]:
    """A picture as a drive: each row is shown for as many cells, one after the other.

    **Arguments:**

    - `image`: shape `(rows, columns)`; of one sample, `jax.vmap` for more.
    - `cells`: of the window, a multiple of the number of rows.

    **Returns:** shape `(cells, columns)`, the drive of so many neurons.

    **Raises:** `ValueError` for a picture of another rank, and for cells that are no multiple.
    """
    picture = as_float_array("image", image)
    if picture.ndim != 2 or picture.size == 0:
        raise ValueError(f"`image` must have shape (rows, columns), got {picture.shape}.")
    cells, rows = check_positive_int("cells", cells), picture.shape[0]
    if cells % rows:
        raise ValueError(f"`cells` must be a multiple of the {rows} rows, got {cells}.")
    return jnp.repeat(picture, cells // rows, axis=0)


def _in_unit(x: Float[Array, " values"]) -> Any:
    """Refuses values that are not in [0, 1]."""
    outside = ~((x >= 0) & (x <= 1))
    if not is_concrete(x):
        return eqx.error_if(x, outside, "`values` must be in [0, 1].")
    if np.any(np.asarray(outside)):
        wrong = np.asarray(x)[np.asarray(outside)][0]
        raise ValueError(f"`values` must be in [0, 1], got {wrong}: scale them.")
    return x
