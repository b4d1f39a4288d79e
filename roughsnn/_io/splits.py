"""Parts of recordings for training and for testing."""

import equinox as eqx
import jax
import numpy as np

from .._misc import static_float
from .._train.spike_train import SpikeTrain


def split_trials(batch, test: float = 0.25, *, seed: int = 0):
    """Trials for training and for testing, drawn at random.

    **Arguments:**

    - `batch`: a batch of trains, or any pytree of arrays with a leading axis of trials.
    - `test`: the part that is kept for testing, in (0, 1).
    - `seed`: of the draw.

    **Returns:** `(train, test)`, each in the order of the trials.

    **Raises:** `ValueError` if one of them would be empty.
    """
    arrays, static = eqx.partition(batch, eqx.is_array)
    numbers = {x.shape[0] for x in jax.tree.leaves(arrays) if x.ndim}
    if len(numbers) != 1:
        raise ValueError(f"`batch` must have one leading axis of trials, got {sorted(numbers)}.")
    (number,) = numbers
    held = round(static_float("test", test) * number)
    if not 0 < held < number:
        raise ValueError(f"`test` must leave trials on both sides, got {test} of {number}.")
    shuffled = np.random.default_rng(seed).permutation(number)
    take = lambda index: eqx.combine(jax.tree.map(lambda x: x[np.sort(index)], arrays), static)
    return take(shuffled[held:]), take(shuffled[:held])


def split_time(train: SpikeTrain, at: float) -> tuple[SpikeTrain, SpikeTrain]:
    """One train before and after a time: for training and for testing."""
    return train.window(train.t0, at), train.window(at, train.t1)
