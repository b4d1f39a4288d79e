"""Blocks of Neo whose segments are trials, one after the other in time."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .borders import overlap, rounding, snapped
from .reading import Content
from .report import Finding
from .tables import Table


def _one_after_another(parts: Sequence[np.ndarray], slack: float) -> np.ndarray:
    """Which spikes of a unit stay; one on the border of two segments, which both may hold, once."""
    times = np.concatenate(parts)
    again = np.diff(times) <= slack
    # Only where one segment ends: a doubled spike inside of one is a fault.
    ends = np.isin(np.arange(len(again)), np.cumsum([len(p) for p in parts])[:-1] - 1)
    return np.append(~(again & ends), np.ones(min(len(times), 1), bool))


def joined(parts: Sequence[Content]) -> Content:
    """Segments one after the other as the trials of one session."""
    if not parts:
        raise ValueError("The block has no segments.")
    if len({(len(part.times), tuple(part.names or ())) for part in parts}) > 1:
        raise ValueError("The segments of the block must have the same units, in one order.")
    starts, stops = np.array([p.t0 for p in parts]), np.array([p.t1 for p in parts])
    slack = rounding(starts, stops)
    if np.any(np.diff(starts) <= 0) or overlap(starts, stops, slack):
        raise ValueError(
            "The segments of the block overlap in time. If each starts at 0: "
            "SpikeTrain.stack([from_neo(s).train() for s in block.segments])."
        )
    stops = snapped(starts, stops, slack)
    units = list(zip(*(p.times for p in parts), strict=True))
    kept = [_one_after_another(each, slack) for each in units]
    times = [np.concatenate(each)[keep] for each, keep in zip(units, kept, strict=True)]
    made = Content(times, float(starts[0]), float(stops[-1]), parts[0].names)
    made.findings = [finding for part in parts for finding in part.findings]
    made.trials = {"start_time": starts, "stop_time": stops}
    for kind in ("events", "epochs"):
        tables = [getattr(part, kind) for part in parts]
        for name in dict.fromkeys(key for part in tables for key in part):
            rows = [part[name] for part in tables if name in part]
            getattr(made, kind)[name] = _stacked(made, rows, f"{kind} {name!r}")
    if any(part.trials for part in parts):
        what = "trials of segments that are trials themselves"
        made.findings.append(Finding(what, "epoch", ("trials",), len(parts), "not kept"))
    for name in dict.fromkeys(key for part in parts for key in part.units):
        columns = [part.units[name] for part in parts if name in part.units]
        if len(columns) == len(parts) and all(_equal(c, columns[0]) for c in columns):
            made.units[name] = columns[0]
        else:
            made.not_kept("units", name, "that differ between segments")
    return made


def _stacked(content: Content, tables: Sequence[Table], what: str) -> dict[str, Any]:
    out = {}
    for name in dict.fromkeys(key for table in tables for key in table):
        columns = [table[name] for table in tables if name in table]
        if len(columns) < len(tables):
            content.not_kept(what, name, "that not all segments have")
        else:
            out[name] = np.concatenate(columns)
    return out


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    if len(a) != len(b) or a.dtype.kind != b.dtype.kind:
        return False
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
