"""The Yin-Yang data set."""

from collections.abc import Sequence

import numpy as np

from .labelled import Labelled, Splits, check_samples, generators

# The radii of the figure and of its two dots.
_LARGE, _SMALL = 0.5, 0.1
YIN, YANG, DOT = 0, 1, 2


def yin_yang(samples: Sequence[int] = (5000, 1000, 1000), *, seed: int = 42) -> Splits:
    """Points of the yin-yang figure, to be told apart: yin, yang, or one of the dots.

    Four numbers in [0, 1] each, $(x, y, 1 - x, 1 - y)$, and as many points of each class in the
    mean. Small, but no classifier is good that is linear, or of which only the last layer is
    trained: it tells whether gradients get through (Kriener, Göltz & Petrovici, *The Yin-Yang
    dataset*, 2021, arXiv 2102.08211).

    **Arguments:**

    - `samples`: of the training, validation and test set; each has random numbers of its own.
    - `seed`: of all of them.

    **Returns:** [`roughsnn.tasks.Splits`][], with inputs of shape `(samples, 4)`.
    """
    sizes = check_samples(samples)
    train, validation, test = (
        _drawn(size, rng) for size, rng in zip(sizes, generators(seed, 3), strict=True)
    )
    return Splits(train, validation, test)


def _drawn(samples: int, rng: np.random.Generator) -> Labelled:
    # Each class occurs.
    labels = np.concatenate([np.arange(3), rng.integers(3, size=max(samples - 3, 0))])
    labels = rng.permutation(labels[:samples])
    points = np.empty((samples, 2))
    for kind in range(3):
        own = np.flatnonzero(labels == kind)
        found = np.empty((0, 2))
        while len(found) < len(own):
            more = rng.uniform(0, 2 * _LARGE, size=(16 * len(own) + 16, 2))
            found = np.concatenate([found, more[_kinds(more) == kind]])
        points[own] = found[: len(own)]
    return Labelled(np.concatenate([points, 1 - points], 1), labels, 3)


def _kinds(points: np.ndarray) -> np.ndarray:
    """The class of each point, -1 outside of the figure."""
    x, y = points.T
    right, left = np.hypot(x - 1.5 * _LARGE, y - _LARGE), np.hypot(x - 0.5 * _LARGE, y - _LARGE)
    half = 0.5 * _LARGE
    upper = (y > _LARGE) & (right > half)
    yang = upper | ((left > _SMALL) & (left <= half)) | (right <= _SMALL)
    kind = np.where(np.minimum(right, left) < _SMALL, DOT, np.where(yang, YANG, YIN))
    return np.where(np.hypot(x - _LARGE, y - _LARGE) <= _LARGE, kind, -1)
