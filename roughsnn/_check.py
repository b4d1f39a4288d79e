"""Checks of arguments that are no numbers, and of the times that statistics are taken at."""

import inspect
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._misc import as_float_array, described, is_concrete


def check_kind(name: str, value: Any, kinds: type | tuple[type, ...], wanted: str) -> Any:
    """`value`, or a `TypeError` that says what it must be."""
    if not isinstance(value, kinds):
        raise TypeError(f"`{name}` must be {wanted}, got {described(value)}.")
    return value


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """`ValueError` unless `value` is one of some words."""
    if not isinstance(value, str) or value not in choices:
        *others, last = map(repr, choices)
        raise ValueError(f"`{name}` must be {', '.join(others)} or {last}, got {described(value)}.")


def check_flag(name: str, value: Any) -> bool:
    """`value` as a Python bool."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"`{name}` must be True or False, got {described(value)}.")
    return bool(value)


def as_path(name: str, value: Any) -> Path:
    """`value` as a path; whether there is such a file is another matter."""
    return Path(check_kind(name, value, (str, Path), "a str or a pathlib.Path"))


def check_function(name: str, value: Any, called: str) -> Any:
    """`value`, or a `TypeError` that says how it would be called."""
    if not callable(value) or isinstance(value, type):
        raise TypeError(f"`{name}` must be a function `{called}`, got {described(value)}.")
    try:
        inspect.signature(value).bind(*called.partition("(")[2].split(","))
    except TypeError as e:
        raise TypeError(f"`{name}` must be a function `{called}`, but {e}.") from e
    except ValueError:
        # Some built-in functions do not say what they take.
        pass
    return value


def as_dtype(dtype: Any) -> Any:
    """A floating dtype; `None` is JAX's default one."""
    try:
        found = jnp.result_type(float) if dtype is None else jnp.dtype(dtype)
    except TypeError as e:
        raise TypeError(f"`dtype` must be a floating dtype, got {described(dtype)}.") from e
    if not jnp.issubdtype(found, jnp.floating):
        raise ValueError(f"`dtype` must be a floating dtype, got {found}.")
    return found


def as_tuple(name: str, value: Any, wanted: str) -> tuple[Any, ...]:
    """What is in `value`, or a `TypeError`."""
    if isinstance(value, str | bytes | dict) or not isinstance(value, Iterable):
        raise TypeError(f"`{name}` must be {wanted}, got {described(value)}.")
    try:
        return tuple(value)
    except (TypeError, AssertionError) as e:
        # An array without an axis, or one of keys.
        raise TypeError(f"`{name}` must be {wanted}, got {described(value)}.") from e


def as_integers(name: str, value: Any, wanted: str) -> np.ndarray:
    """Concrete integers with one axis, in NumPy."""
    array = None
    if is_concrete(value):
        try:
            array = np.asarray(value)
        except (TypeError, ValueError):
            array = None
    if array is None or array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(f"`{name}` must be {wanted}, got {described(value)}.")
    return array


def as_times(name: str, value: Any) -> Float[Array, " times"]:
    """Increasing times, at least one, as an array."""
    times = as_float_array(name, value)
    if times.ndim != 1 or times.shape[0] == 0:
        raise ValueError(f"`{name}` must be times of shape (times,), got shape {times.shape}.")
    if is_concrete(times) and np.any(np.diff(np.asarray(times)) <= 0):
        raise ValueError(f"`{name}` must be in increasing order, got {np.asarray(times)}.")
    return times
