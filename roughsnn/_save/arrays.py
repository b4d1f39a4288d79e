"""Arrays of all dtypes as arrays that a file can hold."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from .._fit.fingerprint import key_data, kind


def is_storable(x: Any) -> bool:
    """Whether `x` is an array, or a number of NumPy, that a file can hold."""
    if isinstance(x, jax.Array):
        return True
    return (type(x) is np.ndarray or isinstance(x, np.generic)) and not x.dtype.hasobject


def pack(x: jax.Array | np.ndarray | np.generic) -> tuple[dict[str, Any], np.ndarray]:
    """What to note about an array, and its numbers."""
    made = "jax" if isinstance(x, jax.Array) else "numpy"
    note: dict[str, Any] = {
        "kind": kind(x),
        "made": "scalar" if isinstance(x, np.generic) else made,
    }
    if isinstance(x, jax.Array):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            note["key"] = str(jr.key_impl(x))
        elif x.weak_type and x.ndim == 0:
            note["weak"] = True
    numbers = np.asarray(jax.device_get(key_data(x)))
    # Dtypes that are not NumPy's own, as bfloat16 is, go as bytes.
    if numbers.dtype.isbuiltin == 2:
        note["bytes"] = [numbers.dtype.name, list(numbers.shape)]
        numbers = np.frombuffer(numbers.tobytes(), np.uint8)
    return note, numbers


def unpack(note: Mapping[str, Any], numbers: np.ndarray, path: str) -> Any:
    """The inverse of `pack`.

    **Raises:** `ValueError` for an array of JAX with a dtype that JAX is set not to have.
    """
    if "bytes" in note:
        name, shape = note["bytes"]
        numbers = np.frombuffer(numbers.tobytes(), jnp.dtype(name)).reshape(shape).copy()
    if note["made"] == "numpy":
        return numbers
    if note["made"] == "scalar":
        return numbers[()]
    allowed = jax.dtypes.canonicalize_dtype(numbers.dtype)
    if allowed != numbers.dtype:
        raise ValueError(
            f"`{path}` was saved as {numbers.dtype}, and JAX is set to make {allowed} of it. Set "
            'jax.config.update("jax_enable_x64", True) before you load it, or load it inside of '
            "`with jax.enable_x64(True):`."
        )
    if "key" in note:
        return jr.wrap_key_data(jnp.asarray(numbers), impl=note["key"])
    if "weak" in note:
        weak = jnp.asarray(numbers.item())
        if weak.dtype == numbers.dtype and np.asarray(weak).tobytes() == numbers.tobytes():
            return weak
    return jnp.asarray(numbers)
