"""Small pictures and curves of digits, from packages that hold or make them: nothing is fetched."""

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from .labelled import Labelled, Splits, check_samples, generators


def digits(*, seed: int = 0) -> Splits:
    """The 1797 handwritten digits of scikit-learn, 8 x 8 pixels in [0, 1].

    A fifth of each class is for tests, the same for every seed, and a fifth for validation
    (Alpaydin & Kaynak, UCI repository, 1998).

    **Arguments:**

    - `seed`: of what is for validation, and of the order.

    **Returns:** [`roughsnn.tasks.Splits`][], with inputs of shape `(samples, 8, 8)`.

    **Raises:** `ImportError` without scikit-learn.
    """
    found = _package("sklearn.datasets", "scikit-learn").load_digits()
    images, labels = found.images / 16, np.asarray(found.target)
    fixed, (own,) = np.random.default_rng(1797), generators(seed, 1)
    parts: list[list[np.ndarray]] = [[], [], []]
    for kind in range(10):
        index = fixed.permutation(np.flatnonzero(labels == kind))
        fifth = len(index) // 5
        test, rest = index[:fifth], own.permutation(index[fifth:])
        for part, chosen in zip(parts, (rest[fifth:], rest[:fifth], test), strict=True):
            part.append(chosen)
    order = [own.permutation(np.concatenate(part)) for part in parts[:2]]
    train, validation, test = (
        Labelled(images[index], labels[index], 10)
        for index in (*order, np.sort(np.concatenate(parts[2])))
    )
    return Splits(train, validation, test)


def mnist1d(samples: Sequence[int] = (3200, 800, 1000), *, seed: int = 42) -> Splits:
    """Curves of 40 values that look like digits seen from the side, made by the package mnist1d.

    Ten templates, stretched, sheared, moved and with noise (Greydanus & Kobak, *Scaling Down Deep
    Learning with MNIST-1D*, 2024). The package is asked to make them, not to fetch them.

    **Arguments:**

    - `samples`: of the training, validation and test set, ten at least; each has random numbers of
        its own.
    - `seed`: of all of them.

    **Returns:** [`roughsnn.tasks.Splits`][], with inputs of shape `(samples, 40)`, of mean 0 and
        standard deviation 1.

    **Raises:** `ImportError` without mnist1d; `ValueError` for fewer samples than classes.
    """
    sizes = check_samples(samples)
    if min(sizes) < 10:
        raise ValueError(f"`samples` must be ten at least, one for each digit, got {samples!r}.")
    data = _package("mnist1d.data", "mnist1d")
    parts = []
    for size, rng in zip(sizes, generators(seed, 3), strict=True):
        arguments = data.get_dataset_args()
        arguments.num_samples, arguments.seed = 10 * -(-size // 10), int(rng.integers(2**31))
        arguments.train_split = 1.0
        # It sets the seeds of all programs.
        state = np.random.get_state()
        try:
            made = data.make_dataset(arguments)
        finally:
            np.random.set_state(state)
        # In classes that are as large as they can be, and shuffled.
        labels = np.asarray(made["y"])
        rank = np.empty(len(labels), int)
        for kind in range(10):
            rank[labels == kind] = np.arange(len(labels) // 10)
        chosen = np.sort(np.argsort(rank, kind="stable")[:size])
        parts.append(Labelled(np.asarray(made["x"])[chosen], labels[chosen], 10))
    return Splits(*parts)


def _package(module: str, name: str) -> Any:
    """A module that is not always there."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"This task needs {name}: `pip install {name}`.") from error
