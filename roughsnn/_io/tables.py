"""Tables: dicts of arrays whose first axis is the row."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .._misc import described

Table = dict[str, np.ndarray]


def as_reals(what: str, values: Any) -> np.ndarray:
    """Real numbers, as they are given; of objects what NumPy makes of them (nan of `None`)."""
    try:
        array = np.asarray(values)
        if array.dtype.kind in "iufb":
            return array
        if array.dtype == object:
            return array.astype(float)
    except (TypeError, ValueError):
        pass
    raise TypeError(f"{what} must be numbers, got {described(values)}.")


def ragged(rows: Iterable[Any]) -> np.ndarray:
    """A column of arrays of different lengths."""
    arrays = [np.asarray(row) for row in rows]
    out = np.empty(len(arrays), object)
    for n, array in enumerate(arrays):
        out[n] = array
    return out


def is_ragged(column: np.ndarray) -> bool:
    """Whether the rows of a column are arrays of their own."""
    return column.dtype == object and any(isinstance(row, np.ndarray) for row in column)


def as_column(values: Any) -> np.ndarray:
    """Values of rows as an array: of numbers or text if they are that, else of objects."""
    if not isinstance(values, np.ndarray):
        given = values
        try:
            values = np.asarray(given)
        except ValueError:
            return ragged(given)
        if values.dtype.kind == "U" and values.ndim == 1:
            # NumPy writes numbers among text as text.
            values = np.array(given, object)
    if values.dtype != object or values.ndim != 1 or not len(values):
        return values
    if all(isinstance(v, (list, tuple, np.ndarray)) for v in values):
        return ragged(values)
    kinds = {np.asarray(v).dtype.kind if np.ndim(v) == 0 else "O" for v in values}
    plain = kinds <= {"i", "u", "f"} or kinds in ({"b"}, {"U"})
    return np.array(values.tolist()) if plain else values


def as_table(table: Mapping[str, Any], name: str, rows: int | None = None) -> dict[str, np.ndarray]:
    """A checked table; `rows` is how many it must have, if that is known."""
    try:
        # Of pandas, too.
        items = list(table.items())
    except (AttributeError, TypeError) as e:
        raise TypeError(
            f"The {name} must be a table {{column: values}}, got {described(table)}."
        ) from e
    columns = {}
    for key, values in items:
        try:
            columns[str(key)] = as_column(values)
        except TypeError as e:
            raise TypeError(
                f"Column {key!r} of the {name} must be values of rows, got {described(values)}."
            ) from e
    lengths = {key: len(c) if c.ndim else 0 for key, c in columns.items()}
    if len(set(lengths.values())) > 1 or any(c.ndim == 0 for c in columns.values()):
        raise ValueError(f"The columns of the {name} must have one length, got {lengths}.")
    wrong = [key for key, length in lengths.items() if rows is not None and length != rows]
    if wrong:
        raise ValueError(
            f"Column {wrong[0]!r} of the {name} must have {rows} values, one for each, got "
            f"{lengths[wrong[0]]}."
        )
    return columns


def num_rows(table: Table) -> int:
    """How many rows a table has."""
    return len(next(iter(table.values()), ()))


def take(table: Table, rows: Any) -> dict[str, np.ndarray]:
    """Some rows of a table."""
    return {name: column[rows] for name, column in table.items()}


def without(table: Table, *names: str) -> dict[str, np.ndarray]:
    """A table without some columns."""
    return {name: column for name, column in table.items() if name not in names}


def holds_times(name: str, column: np.ndarray, named: Sequence[str] = ()) -> bool:
    """Whether a column is in the session's unit of time."""
    if name in named:
        return True
    if is_ragged(column):
        return name.endswith("_times") and all(np.asarray(row).dtype.kind == "f" for row in column)
    # Whole numbers of some "times" may be counts.
    endings = {"f": ("_time", "_times"), "i": ("_time",), "u": ("_time",)}
    return name.endswith(endings.get(column.dtype.kind, ("\0",)))


def scaled(table: Table, factor: float, named: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """The table in another unit of time."""

    def change(column: np.ndarray) -> np.ndarray:
        return ragged(row * factor for row in column) if is_ragged(column) else column * factor

    return {
        name: change(column) if holds_times(name, column, named) else column
        for name, column in table.items()
    }


def follows_spikes(name: str, column: np.ndarray, counts: Sequence[int]) -> bool:
    """Whether a column of the units has a value for each of `counts` spikes."""
    return (
        name != "electrodes"
        and is_ragged(column)
        and all(np.shape(row)[:1] == (n,) for row, n in zip(column, counts, strict=True))
    )


def with_spikes(
    units: Table, counts: Sequence[int], kept: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """The units; columns with a value for each of `counts` spikes keep those that stay."""
    return {
        name: ragged(row[index] for row, index in zip(column, kept, strict=True))
        if follows_spikes(name, column, counts)
        else column
        for name, column in units.items()
    }
