"""Columns of tables of NWB as plain arrays."""

from typing import Any

import numpy as np

from .tables import as_column, is_ragged, ragged


def pynwb_module() -> Any:
    """`pynwb`, if it is installed."""
    try:
        import pynwb
    except ModuleNotFoundError as e:
        raise ModuleNotFoundError(
            "NWB files need pynwb: install it with `pip install 'roughsnn[nwb]'`."
        ) from e
    return pynwb


def as_measured(times: Any) -> np.ndarray:
    """Spike times; NWB widens those of float32, whose rounding is the larger one."""
    array = np.asarray(times)
    with np.errstate(over="ignore"):
        narrow = array.astype(np.float32)
    return narrow if len(array) and np.array_equal(narrow, array, equal_nan=True) else array


def plain_column(column: Any) -> np.ndarray | None:
    """The values of a column of an NWB table; of references to rows their numbers."""
    target = getattr(column, "target", None)
    if target is None:
        return _plain(column.data[:] if hasattr(column, "table") else column[:])
    # Ragged; twice so if the target is an index itself.
    values = None if hasattr(target, "target") else _plain(target.data[:])
    if values is None or values.dtype == object:
        return None
    return ragged(np.split(values, np.asarray(column.data[:], int)[:-1]))


def _plain(values: Any) -> np.ndarray | None:
    """Numbers or text as an array; of groups of electrodes their names; `None` of other things."""
    values = list(values) if isinstance(values, tuple) else values
    array = as_column(values)
    group = pynwb_module().ecephys.ElectrodeGroup
    if array.dtype == object and all(isinstance(v, group) for v in array):
        return np.array([v.name for v in array])
    fine = array.dtype.kind in "biufcUS" or is_ragged(array)
    return array if fine else None
