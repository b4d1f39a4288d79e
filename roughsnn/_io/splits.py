"""Parts of recordings for training and for testing."""

import equinox as eqx
import jax
import numpy as np

from .._misc import check_seed, static_float
from .._train.check import check_trains
from .._train.spike_train import SpikeTrain


def split_trials(batch, test: float = 0.25, *, seed: int = 0):
    """Trials for training and for testing, drawn at random.

    **Arguments:**

    - `batch`: a batch of trains, or any pytree of arrays with a leading axis of trials.
    - `test`: the part that is kept for testing, in (0, 1).
    - `seed`: of the draw.

    **Returns:** `(train, test)`, each in the order of the trials.

    **Raises:** `ValueError` if one of them would be empty, for arrays without one leading axis of
    trials, and for a seed that is negative or no integer.
    """
    arrays, static = eqx.partition(batch, eqx.is_array)
    shapes = [x.shape for x in jax.tree.leaves(arrays)]
    if len({shape[:1] for shape in shapes}) != 1 or () in shapes:
        raise ValueError(f"`batch` must have one leading axis of trials, got shapes {shapes}.")
    number = shapes[0][0]
    held = round(static_float("test", test) * number)
    if not 0 < held < number:
        raise ValueError(f"`test` must leave trials on both sides, got {test} of {number}.")
    shuffled = np.random.default_rng(check_seed(seed)).permutation(number)
    take = lambda index: eqx.combine(jax.tree.map(lambda x: x[np.sort(index)], arrays), static)
    return take(shuffled[held:]), take(shuffled[:held])


def split_time(train: SpikeTrain, at: float) -> tuple[SpikeTrain, SpikeTrain]:
    """One train before and after a time: for training and for testing.

    **Arguments:**

    - `train`: one train.
    - `at`: the time, in its window.

    **Returns:** what is before, and what is after.

    **Raises:** `ValueError` for a train whose spikes are not in order or not in its window, and a
    time that is not in its window; `TypeError` for what is no train.
    """
    check_trains("train", train)
    return train.window(train.t0, at), train.window(at, train.t1)
