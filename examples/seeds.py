"""Means over seeds and their standard errors, and how tables show them."""

import numpy as np


def over_seeds(runs: list[dict], names: tuple[str, ...]) -> dict:
    """For each score its mean, and its standard error if there are several runs.

    Runs in which a score does not exist (`None` or NaN) are left out.
    """
    found = {}
    for name in names:
        values = np.array([r[name] for r in runs], float)
        values = values[np.isfinite(values)]
        error = float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else None
        found[name] = (float(values.mean()) if len(values) else None, error)
    return found


def show(value: tuple[float | None, float | None], digits: int) -> str:
    """A mean with its error."""
    mean, error = value
    if mean is None:
        return "–"
    return f"{mean:.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")
