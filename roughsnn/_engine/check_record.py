"""Which states a lockstep simulation may be asked to keep."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._misc import as_numbers, is_concrete

REDUCTIONS = ("mean", "max", "last")


def check_record(record: PyTree) -> PyTree:
    """`Lockstep.record` with its times as arrays."""
    if record is None:
        return None
    if not isinstance(record, Mapping) or not all(isinstance(name, str) for name in record):
        raise TypeError(
            "`record` must be a dictionary from names of parts of the state to what to keep, e.g. "
            f'{{"v": "cells"}}, got {record!r}.'
        )

    def one(how: Any) -> Any:
        if isinstance(how, Mapping):
            return {name: one(part) for name, part in how.items()}
        if isinstance(how, tuple):
            return tuple(one(part) for part in how)
        if isinstance(how, str):
            if how in ("cells", *REDUCTIONS):
                return how
            raise ValueError(
                f"`record` may ask for 'cells', {', '.join(map(repr, REDUCTIONS))} or an array of "
                f"times, got {how!r}."
            )
        times = as_numbers("record", how)
        if times.ndim != 1 or not jnp.issubdtype(times.dtype, jnp.floating):
            raise ValueError(
                "Times in `record` must be a floating array of shape (times,), got "
                f"{times.dtype} of shape {times.shape}."
            )
        if is_concrete(times) and np.any(np.diff(np.asarray(times)) < 0):
            raise ValueError("Times in `record` must be in increasing order.")
        return times

    return one(record)
