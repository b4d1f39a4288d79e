"""Numbers in ever shorter cells, and where they go."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

# What counts as seen, in standard errors.
_SEEN = 3.0


@dataclasses.dataclass(frozen=True)
class Ladder:
    """Values in cells of which each is half as long as the one before.

    **Attributes:**

    - `values`: shape `(levels, outputs)`, means over samples.
    - `limit`: shape `(outputs,)`, by one step of Richardson's extrapolation from the last two.
    - `error`, `standard_error`: of the first value, against the limit.
    """

    values: np.ndarray
    limit: np.ndarray
    error: np.ndarray
    standard_error: np.ndarray

    def exceeds(self, tolerance: np.ndarray) -> np.ndarray:
        """Which outputs are known to be off by more."""
        return (np.abs(self.error) > tolerance) & self.seen

    @property
    def finite(self) -> np.ndarray:
        """Which outputs are finite in all cells that were looked at."""
        return np.isfinite(self.error) & np.isfinite(self.standard_error)

    @property
    def seen(self) -> np.ndarray:
        """Which outputs are known to be off."""
        return np.abs(self.error) > _SEEN * self.standard_error


def climb(
    evaluate: Callable[[int], np.ndarray],
    levels: int,
    tolerance: Callable[[Ladder], np.ndarray],
    order: float = 2.0,
) -> Ladder:
    """Halves the cells until that changes nothing that counts.

    **Arguments:**

    - `evaluate`: from the number of the level to values, shape `(samples, outputs)`, of the same
        noise at each level.
    - `levels`: at most so many.
    - `tolerance`: what the means may be off by, for the values so far.
    - `order`: of the error in the length of a cell.
    """
    found = [evaluate(0), evaluate(1)]
    ladder = _extrapolated(found, order)
    if np.any(ladder.exceeds(tolerance(ladder))):
        while len(found) < levels and _moves(found, tolerance(ladder)):
            found.append(evaluate(len(found)))
            ladder = _extrapolated(found, order)
    return ladder


def _extrapolated(found: Sequence[np.ndarray], order: float) -> Ladder:
    # What is infinite in some cells has no limit.
    with np.errstate(invalid="ignore"):
        limits = found[-1] - (found[-2] - found[-1]) / (2**order - 1)
        gap = found[0] - limits
        values = np.stack([x.mean(0) for x in found])
        return Ladder(values, limits.mean(0), gap.mean(0), _standard_error(gap))


def _moves(found: Sequence[np.ndarray], tolerance: np.ndarray) -> bool:
    """Whether the last halving changed more than a fourth of what is allowed."""
    with np.errstate(invalid="ignore"):
        change = found[-2] - found[-1]
        size = np.abs(change.mean(0))
        return bool(np.any((size > tolerance / 4) & (size > _SEEN * _standard_error(change))))


def _standard_error(x: np.ndarray) -> np.ndarray:
    """That of the mean over samples; 0 for one sample, which is all there is."""
    number = x.shape[0]
    return np.std(x, axis=0, ddof=1) / number**0.5 if number > 1 else np.zeros(x.shape[1:])
