"""Rows of tables by name, by number or by what the columns hold."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._check import check_kind
from .._misc import described
from .tables import Table


def rows(
    chosen: Any,
    where: Mapping[str, Any] | None,
    table: Table,
    what: str,
    names: Sequence[str] | int,
) -> np.ndarray:
    """Numbers of the chosen rows; `names` are those of all of them, or how many there are."""
    argument = "keep" if isinstance(names, int) else what
    if (chosen is None) == (where is None):
        raise ValueError(f"Give either `{argument}` or `where`, one of the two.")
    number = names if isinstance(names, int) else len(names)
    if where is not None:
        check_kind("where", where, Mapping, "a mapping {column: accepted}")
        return np.flatnonzero(_matching(where, table, what, number))
    wanted = _as_array(chosen)
    if wanted.dtype == bool:
        if wanted.shape != (number,):
            raise ValueError(
                f"`{argument}` must hold a boolean for each of the {number} {what}, got shape "
                f"{wanted.shape}."
            )
        return np.flatnonzero(wanted)
    if wanted.ndim == 1 and not wanted.size:
        return np.zeros(0, int)
    if wanted.ndim == 1 and wanted.dtype.kind in "U" and not isinstance(names, int):
        unknown = [n for n in wanted.tolist() if n not in names]
        if unknown:
            raise ValueError(f"There are no {what} {unknown}; there are {list(names)}.")
        return np.array([names.index(n) for n in wanted.tolist()])
    if wanted.dtype.kind not in "iu" or wanted.ndim != 1:
        kinds = "numbers or of booleans" if argument == "keep" else "names, numbers or booleans"
        raise ValueError(f"`{argument}` must be a list of {kinds}, got {described(chosen)}.")
    if np.any((wanted < 0) | (wanted >= number)):
        raise ValueError(f"`{argument}` must be in 0 ... {number - 1}, got {wanted.tolist()}.")
    return wanted


def _as_array(chosen: Any) -> np.ndarray:
    """What NumPy makes of it; an object without an axis if that is nothing."""
    try:
        return np.asarray(chosen)
    except (TypeError, ValueError):
        return np.asarray(None)


def _matching(where: Mapping[str, Any], table: Table, what: str, number: int) -> np.ndarray:
    found = np.ones(number, bool)
    for name, accepted in where.items():
        if name not in table:
            raise ValueError(f"There is no column {name!r} of {what}; there are {sorted(table)}.")
        found &= _accepted(name, table[name], accepted)
    return found


def _accepted(name: str, column: np.ndarray, accepted: Any) -> np.ndarray:
    if callable(accepted):
        answer = np.asarray(accepted(column))
        if answer.dtype != bool or answer.shape != (len(column),):
            raise ValueError(
                f"The function for column {name!r} must return {len(column)} booleans, got "
                f"{answer.dtype} of shape {answer.shape}."
            )
        return answer
    values = column.tolist()
    if any(isinstance(v, (list, np.ndarray)) for v in values):
        raise ValueError(
            f"Column {name!r} has several values for each row: give a function of it that returns "
            "booleans."
        )
    # As Python values, since NumPy would find the number 1 in the text "1".
    if isinstance(accepted, (list, tuple, set, frozenset, range, np.ndarray)):
        several = accepted.tolist() if isinstance(accepted, np.ndarray) else list(accepted)
    else:
        several = [accepted]
    return np.array([value in several for value in values], bool)
