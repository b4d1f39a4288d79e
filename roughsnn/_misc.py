"""Small helpers, and the one place where `equinox.internal` is imported."""

import functools
import inspect
import warnings
from collections.abc import Sequence
from typing import Any

import diffrax as dfx
import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Int, PyTree

# Products of full precision, the only ones in the package. JAX's default rounds the factors of
# float32 products on a GPU to ten bits (TF32), which moved gradients by 4e-3 of their size.
matmul = functools.partial(jnp.matmul, precision="highest")
einsum = functools.partial(jnp.einsum, precision="highest")
tensordot = functools.partial(jnp.tensordot, precision="highest")

# Up to so many numbers are made again sooner than a branch is entered.
_FEW = 4


def term_product(term: dfx.AbstractTerm, field: Any, control: Any) -> Any:
    """`term.prod(field, control)` in full precision; diffrax takes the default."""
    with jax.default_matmul_precision("highest"):
        return term.prod(field, control)


def any_in_batch(pred: Bool[Array, ""]) -> Bool[Array, ""]:
    """Whether `pred` holds for any sample of an enclosing `vmap`; not itself batched.

    `lax.cond` on it stays a branch under `vmap` instead of becoming a `select`.
    """
    return eqxi.unvmap_any(pred)


def max_in_batch(number: Int[Array, ""]) -> Int[Array, ""]:
    """The largest `number` of the samples of an enclosing `vmap`; not itself batched."""
    return eqxi.unvmap_max(number)


def made_once(x: PyTree[Array], there: Bool[Array, ""]) -> PyTree[Array]:
    """The same arrays, and their cotangents, made once on a CPU; `there` must be true, in a way
    that XLA does not know.

    XLA may merge what makes an array into each place that reads it, and the merged loops may be ten
    times slower than both, as where rows of stacked arrays are added up and read one by one. It
    does not look into branches.
    """
    if sum(leaf.size for leaf in jax.tree.leaves(x)) <= _FEW:
        return x
    on_cpu = lambda x: jax.lax.cond(there, lambda x: x, lambda x: jax.tree.map(jnp.negative, x), x)
    return jax.lax.platform_dependent(x, cpu=on_cpu, default=lambda x: x)


def warn(message: str, category: type[Warning]) -> None:
    """A warning at the line of the user that called this package."""
    frame, level = inspect.currentframe(), 1
    package = __name__.split(".")[0]
    while frame is not None and frame.f_globals.get("__name__", "").split(".")[0] == package:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def is_concrete(*xs: Any) -> bool:
    """Whether every array leaf holds numbers (is not a tracer)."""
    return not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(xs))


def is_term(x: Any) -> bool:
    """Whether `x` is a diffrax term that is not a sum of terms."""
    return isinstance(x, dfx.AbstractTerm) and not isinstance(x, dfx.MultiTerm)


def where_tree(pred: Bool[Array, ""], on_true: PyTree, on_false: PyTree) -> PyTree:
    """`jnp.where` on every array leaf of two pytrees of one structure."""
    return jax.tree.map(lambda a, b: jnp.where(pred, a, b), on_true, on_false)


def stop_gradients(tree: PyTree) -> PyTree:
    """`tree` with its array leaves held constant.

    On `eqx.filter_closure_convert(fn, ...)` this reaches what `fn` has captured too.
    """
    return jax.tree.map(lambda x: jax.lax.stop_gradient(x) if eqx.is_array(x) else x, tree)


def at_most(x: Array, bound: Any) -> Array:
    """The smaller of `x` and a bound, for differentiation.

    The derivative of `jnp.minimum` asks whether `x` equals the result. Where a compiler computes
    `x` twice, and rounds it in two ways, that is false, and the derivative 0.
    """
    return jnp.where(x > bound, jnp.asarray(bound, x.dtype), x)


def at_least(x: Array, bound: Any) -> Array:
    """The larger of `x` and a bound, for differentiation; see `at_most`."""
    return jnp.where(x < bound, jnp.asarray(bound, x.dtype), x)


def joined(pieces: Sequence[Array]) -> Array:
    """The pieces one behind the other, on their last axis."""
    return pieces[0] if len(pieces) == 1 else jnp.concatenate(list(pieces), -1)


def one_hot(index: Array, size: int) -> Bool[Array, " size"]:
    """A mask that is true at `index`; unlike indexing it stays vectorised under `vmap`."""
    return jnp.arange(size, dtype=index.dtype) == index


def entry(x: Array, index: Array) -> Array:
    """`x[index]` held constant; `index` must be in bounds."""
    x = jax.lax.stop_gradient(x)
    return x.at[index].get(mode="promise_in_bounds", wrap_negative_indices=False)


def described(value: Any) -> str:
    """A value in a message: itself if it is short, else what it is."""
    if isinstance(value, bool | int | float | complex | str | bytes | type(None)):
        return repr(value) if len(repr(value)) < 60 else f"a long {type(value).__name__}"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype} of shape {value.shape}"
    text = repr(value) if isinstance(value, list | tuple | dict) else ""
    return text if 0 < len(text) < 60 else f"a {type(value).__name__}"


def is_of_package(part: Any) -> bool:
    """Whether an object is of a class of this package."""
    return type(part).__module__.split(".")[0] == __name__.split(".")[0]


def static_float(name: str, value: Any) -> float:
    """`value` as a Python float; a clear error for tracers and non-numbers."""
    if isinstance(value, Tracer):
        raise TypeError(
            f"`{name}` must be a concrete number, got a traced value. It fixes the "
            "number of cells, hence array shapes: pass it as a Python float, outside "
            "of the arguments of `jit`, `vmap` and `grad`."
        )
    try:
        # Texts and arrays of one number have a float, too.
        odd = isinstance(value, str | bytes) or np.ndim(value) or np.iscomplexobj(value)
        out = None if odd else float(value)
    except (TypeError, ValueError, OverflowError):
        out = None
    if out is None:
        raise TypeError(f"`{name}` must be a number, got {described(value)}.")
    if not np.isfinite(out):
        raise ValueError(f"`{name}` must be finite, got {out}.")
    return out


def check_window(t0: Any, t1: Any, dt: Any, dt_name: str) -> tuple[float, float, float]:
    """Validated `(t0, t1, dt)` with t0 < t1 and dt > 0."""
    t0, t1 = static_float("t0", t0), static_float("t1", t1)
    dt = static_float(dt_name, dt)
    if t1 <= t0:
        raise ValueError(f"`t1` must be larger than `t0`, got t0={t0}, t1={t1}.")
    if dt <= 0:
        raise ValueError(f"`{dt_name}` must be positive, got {dt}.")
    return t0, t1, dt


def num_cells(t0: float, t1: float, dt: float) -> int:
    """How many cells of length `dt` cover [t0, t1]; the last one may reach beyond t1."""
    cells = (t1 - t0) / dt
    nearest = round(cells)
    if abs(cells - nearest) < 1e-6 * max(1.0, cells):
        return max(nearest, 1)
    return int(np.ceil(cells))


def check_shape(shape: Any) -> tuple[int, ...]:
    """`shape` if it is a tuple of sizes."""
    if not isinstance(shape, tuple) or not all(_is_int(s) and s >= 0 for s in shape):
        raise ValueError(
            f"`shape` must be a tuple of sizes such as (neurons, channels), got {described(shape)}."
        )
    return tuple(int(s) for s in shape)


def _is_int(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def check_positive_int(name: str, value: Any) -> int:
    """`value` as a positive Python int."""
    if not _is_int(value) or value < 1:
        raise ValueError(f"`{name}` must be a positive integer, got {described(value)}.")
    return int(value)


def check_seed(value: Any) -> int:
    """A seed of NumPy."""
    if not _is_int(value) or value < 0:
        raise ValueError(f"`seed` must be an integer from 0 on, got {described(value)}.")
    return int(value)


def check_positive_float(name: str, value: Any) -> float:
    """`value` as a positive Python float."""
    out = static_float(name, value)
    if out <= 0:
        raise ValueError(f"`{name}` must be positive, got {out}.")
    return out


def check_not_negative(name: str, value: Any) -> None:
    """`value` as a number that is not negative."""
    if is_concrete(value) and static_float(name, value) < 0:
        raise ValueError(f"`{name}` must not be negative, got {described(value)}.")


def as_array(value: Any, dtype: Any = None) -> Array:
    """`jnp.asarray(value, dtype)`, but known numbers stay known inside of `jit`."""
    if not is_concrete(value):
        return jnp.asarray(value, dtype)
    with jax.ensure_compile_time_eval():
        if dtype is None or isinstance(value, jax.Array):
            return jnp.asarray(value, dtype)
        # The same, without a program.
        return jax.device_put(np.asarray(value, jax.dtypes.canonicalize_dtype(dtype)))


def as_numbers(name: str, value: Any, dtype: Any = None) -> Array:
    """`as_array`, but a `TypeError` that names the argument for what is no array of numbers."""
    try:
        if value is not None and (dtype is None or not np.iscomplexobj(value)):
            return as_array(value, dtype)
    except (TypeError, ValueError, OverflowError) as e:
        raise TypeError(_no_numbers(name, value)) from e
    raise TypeError(_no_numbers(name, value))


def as_plain(name: str, value: Any) -> np.ndarray:
    """Known real numbers as float64, by NumPy, whatever JAX computes in."""
    if not is_concrete(value):
        raise TypeError(f"`{name}` must be concrete numbers, got traced ones.")
    try:
        array = np.asarray(value)
        if array.dtype.kind in "fiub":
            return array.astype(float)
    except (TypeError, ValueError):
        pass
    raise TypeError(_no_numbers(name, value))


def _no_numbers(name: str, value: Any) -> str:
    return f"`{name}` must be a number or an array of numbers, got {described(value)}."


def as_float_array(name: str, value: Any) -> Array:
    """`value` as a floating array, refusing integers arrays, complex and non-finite."""
    array = as_numbers(name, value)
    if jnp.issubdtype(array.dtype, jnp.integer) or array.dtype == bool:
        if isinstance(value, (jax.Array, np.ndarray)):
            raise ValueError(
                f"`{name}` must have a floating dtype, got {array.dtype}; a gradient "
                "with respect to it would not exist."
            )
        array = as_array(array, jnp.result_type(float))
    elif not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(f"`{name}` must have a floating dtype, got {array.dtype}.")
    return check_finite(name, array)


def as_positive_scalar(name: str, value: Any) -> Array:
    """`value` as a floating scalar that is positive, as far as that is known."""
    scalar = as_float_array(name, value)
    if scalar.shape != ():
        raise ValueError(f"`{name}` must be a scalar, got shape {scalar.shape}.")
    if is_concrete(scalar) and float(scalar) <= 0:
        raise ValueError(f"`{name}` must be positive, got {float(scalar)}.")
    return scalar


def check_finite(name: str, array: Array) -> Array:
    """`array`, once its numbers (if it has any yet) are known to be finite."""
    if is_concrete(array) and not bool(np.all(np.isfinite(np.asarray(array)))):
        raise ValueError(f"`{name}` must be finite, got {np.asarray(array)}.")
    return array
