"""Random connections: which neurons of one population reach which of another."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int

from .._check import check_flag, check_function
from .._misc import as_float_array, check_positive_int, described, is_concrete, static_float
from .._random import check_unmirrored
from .._types import Numeric, PRNGKey
from .connectivity import SparseWeights

# A function from a key and a shape to weights.
Draw = Callable[[Any, tuple[int, int]], Any]


def fixed_probability(
    pre: int,
    post: int,
    probability: float,
    *,
    key: PRNGKey,
    weights: Numeric | Draw,
    autapses: bool = True,
) -> SparseWeights:
    r"""Each pair of neurons has a synapse with probability p, independently of all others.

    So out-degrees are binomial, $\mathrm{Bin}(n_\text{post}, p)$, and in-degrees
    $\mathrm{Bin}(n_\text{pre}, p)$. Time and memory grow with the number of synapses; the lists of
    all neurons have the length of the longest.

    **Arguments:**

    - `pre`, `post`: how many neurons there are on either side.
    - `probability`: p, a number in [0, 1].
    - `key`: a `jax.random.key`; concrete, as it fixes shapes.
    - `weights`: a number, or a function from a key and a shape to an array, e.g.
        `jax.random.normal`. The shape is that of `values`: a row for each neuron of `pre`, whose
        targets are in increasing order; what it draws where there is no target is left out.
    - `autapses`: whether neuron k may reach neuron k. Say `False` for a population onto itself,
        with `pre == post`; probability and degrees then are those among the other neurons.

    **Returns:** [`roughsnn.SparseWeights`][] from `pre` onto `post`.

    **Raises:** `ValueError` for sizes and probabilities that are none, and for weights of another
    shape; `TypeError` for a key that is none, or traced.
    """
    rng, of_weights = _streams(key)
    pre, others = check_positive_int("pre", pre), _candidates(pre, post, autapses)
    p = static_float("probability", probability)
    if not 0 <= p <= 1:
        raise ValueError(f"`probability` must be in [0, 1], got {p}.")
    targets = _subsets(rng, rng.binomial(others, p, pre), others)
    return _lists(targets, int(post), of_weights, weights, autapses)


def fixed_out_degree(
    pre: int,
    post: int,
    degree: int,
    *,
    key: PRNGKey,
    weights: Numeric | Draw,
    autapses: bool = True,
) -> SparseWeights:
    r"""Each neuron of `pre` has so many targets, all different, each set of them equally likely.

    In-degrees are binomial, $\mathrm{Bin}(n_\text{pre}, k/n_\text{post})$. No place of the lists
    is empty.

    **Arguments:** as for [`roughsnn.connectors.fixed_probability`][], and

    - `degree`: k, the number of targets of each neuron.

    **Returns:** [`roughsnn.SparseWeights`][] of shape `(pre, degree)`.

    **Raises:** as [`roughsnn.connectors.fixed_probability`][], and `ValueError` for more targets
    than there are neurons.
    """
    rng, of_weights = _streams(key)
    pre, others = check_positive_int("pre", pre), _candidates(pre, post, autapses)
    degree = _check_degree(degree, others)
    targets = _subsets(rng, np.full(pre, degree), others)
    return _lists(targets, int(post), of_weights, weights, autapses)


def fixed_in_degree(
    pre: int,
    post: int,
    degree: int,
    *,
    key: PRNGKey,
    weights: Numeric | Draw,
    autapses: bool = True,
) -> SparseWeights:
    r"""Each neuron of `post` has so many sources, all different, each set of them equally likely.

    Out-degrees are binomial, $\mathrm{Bin}(n_\text{post}, k/n_\text{pre})$; the lists of all
    neurons have the length of the longest.

    **Arguments:** as for [`roughsnn.connectors.fixed_probability`][], and

    - `degree`: k, the number of sources of each neuron.

    **Returns:** [`roughsnn.SparseWeights`][] from `pre` onto `post`.

    **Raises:** as [`roughsnn.connectors.fixed_probability`][], and `ValueError` for more sources
    than there are neurons.
    """
    rng, of_weights = _streams(key)
    post, others = check_positive_int("post", post), _candidates(post, pre, autapses, "pre")
    degree = _check_degree(degree, others)
    sources = _subsets(rng, np.full(post, degree), others)
    sources = sources if autapses else _past_oneself(sources)
    # From the sources of each target to the targets of each source; pairs as one number sort fast.
    pairs = (sources.astype(np.int64) * post + np.arange(post)[:, None]).reshape(-1)
    pairs.sort()
    count = np.bincount(sources.reshape(-1), minlength=pre)
    targets = np.full((int(pre), max(1, count.max())), -1, np.int32)
    targets[np.arange(targets.shape[1]) < count[:, None]] = pairs % post
    return _lists(targets, post, of_weights, weights, autapses=True)


def _streams(key: Any) -> tuple[np.random.Generator, PRNGKey]:
    """NumPy's generator for the connections, and the key of the weights."""
    if not is_concrete(check_unmirrored(key)):
        raise TypeError(
            "`key` must be concrete, got a traced one: it fixes how many synapses there are. Make "
            "connections outside of `jit`, `vmap` and `grad`."
        )
    with jax.ensure_compile_time_eval():
        of_connections, of_weights = jr.split(key)
        words = np.asarray(jr.bits(of_connections, (4,), jnp.uint32))
    return np.random.default_rng(words), of_weights


def _candidates(own: Any, other: Any, autapses: Any, name: str = "post") -> int:
    """How many neurons each of `own` may choose among: those of `other`, called `name`."""
    number = check_positive_int(name, other)
    if check_flag("autapses", autapses):
        return number
    if own != number:
        raise ValueError(
            "`autapses=False` is for a population onto itself, where `pre` and `post` are equal, "
            f"got {described(own)} and {number} neurons."
        )
    if number == 1:
        raise ValueError("`autapses=False` leaves nothing to connect in a population of 1 neuron.")
    return number - 1


def _check_degree(degree: Any, others: int) -> int:
    degree = check_positive_int("degree", degree)
    if degree > others:
        raise ValueError(
            f"`degree` must be in 1 ... {others}, as many different neurons as there are to choose "
            f"from, got {degree}."
        )
    return degree


def _subsets(
    rng: np.random.Generator, degrees: Int[np.ndarray, " rows"], size: int
) -> Int[np.ndarray, "rows width"]:
    """For each row so many different numbers below `size`, in increasing order, padded with -1."""
    rows, width = len(degrees), max(1, int(degrees.max()))
    if 4 * width > size:
        every = np.tile(np.arange(size, dtype=np.int32), (rows, 1))
        found = rng.permuted(every, axis=1)[:, :width]
    else:
        found = rng.integers(0, size, (rows, width), dtype=np.int32)
    # Padding is larger than any number, so that sorting puts it at the end.
    found[np.arange(width) >= degrees[:, None]] = size
    found.sort(axis=1)
    # What is there already is drawn anew: sampling without replacement.
    left = np.arange(rows)
    while len(left):
        some = found[left]
        again = np.zeros(some.shape, bool)
        again[:, 1:] = (some[:, 1:] == some[:, :-1]) & (some[:, 1:] < size)
        twice = again.any(axis=1)
        left, some, again = left[twice], some[twice], again[twice]
        some[again] = rng.integers(0, size, again.sum(), dtype=np.int32)
        some.sort(axis=1)
        found[left] = some
    found[found == size] = -1
    return found


def _past_oneself(found: Int[np.ndarray, "rows width"]) -> Int[np.ndarray, "rows width"]:
    """Numbers of the others as numbers of all."""
    return found + (found >= np.arange(len(found), dtype=np.int32)[:, None])


def _lists(
    targets: Int[np.ndarray, "pre width"],
    post: int,
    key: PRNGKey,
    weights: Numeric | Draw,
    autapses: bool,
) -> SparseWeights:
    """Weights onto these targets."""
    targets = targets if autapses else _past_oneself(targets)
    values = _drawn(key, (len(targets), targets.shape[1]), weights)
    if np.any(targets < 0):
        values = jnp.where(targets >= 0, values, 0)
    return SparseWeights(targets, values, post)


def _drawn(
    key: PRNGKey, shape: tuple[int, int], weights: Numeric | Draw
) -> Float[Array, "pre width"]:
    if not callable(weights):
        value = as_float_array("weights", weights)
        if value.shape != ():
            raise ValueError(
                "`weights` must be a number, or a function of a key and a shape, got an array of "
                f"shape {value.shape}: how long lists are is drawn."
            )
        return jnp.full(shape, value)
    check_function("weights", weights, "weights(key, shape)")
    values = as_float_array("weights(key, shape)", weights(key, shape))
    if values.shape != shape:
        raise ValueError(
            f"`weights` must return an array of the shape that it is given, {shape}, got "
            f"{values.shape}."
        )
    return values
