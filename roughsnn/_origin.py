"""The origin of time: a float64 that passes through float32 programs unharmed."""

from typing import Any

import numpy as np
from jaxtyping import Array, UInt32

from ._misc import is_concrete


def origin_bits(origin: Any) -> UInt32[np.ndarray, "*samples 2"]:
    """A float64 as two words of 32 bits, which JAX keeps in any precision."""
    return np.asarray(origin, np.float64)[..., None].view(np.uint32)


def origin_of(bits: UInt32[Array, "*samples 2"] | np.ndarray) -> np.ndarray:
    """The float64 of [`origin_bits`], by NumPy; `TypeError` where it is traced."""
    if not is_concrete(bits):
        raise TypeError(
            "The origin of time is known outside of `jit`, `vmap` and `grad` only, as a float64."
        )
    words = np.ascontiguousarray(np.asarray(bits, np.uint32))
    return words.view(np.float64)[..., 0]
