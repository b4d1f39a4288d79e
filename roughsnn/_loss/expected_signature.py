"""The distance between expected signatures."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import signax
from jaxtyping import Array, Float

from .._misc import check_positive_int
from .._path.marcus import marcus_lift
from .._path.spike_train import SpikeTrain
from .._types import Scalar
from .boundary import correction_of
from .distance import squared_mean_distance
from .spike_times import check_batches


def expected_signature(
    x: SpikeTrain,
    y: SpikeTrain,
    *,
    depth: int = 3,
    match_spikes: bool = False,
    taper: float = 0.1,
    boundary: bool = False,
    unbiased: bool = True,
) -> Scalar:
    r"""Squared distance of the expected truncated signatures of two batches of trains.

    $\|E S^{\le D}(\tilde x) - E S^{\le D}(\tilde y)\|^2$, the maximum mean discrepancy of the
    truncated signature kernel, linear in the numbers of samples. $\tilde x$ is the Marcus
    lift with time (Holberg & Salvi 2024, Section 5 and Appendix C).

    **Arguments:**

    - `x`, `y`: batches of trains with the same window and neurons.
    - `depth`: $D$; there are $\sum_{d\le D}(1 + \text{neurons})^d$ terms.
    - `match_spikes`: compare as many spikes as the sample with fewer has, pair by pair, as
        the published code does. It throws the counts away and is no distance between laws;
        it needs as many samples in `x` as in `y`.
    - `taper`: see [`roughsnn.marcus_lift`][]; `0` is the published lift.
    - `boundary`: with `taper=0`, correct the gradient for spikes of `x` that leave the window,
        as [`roughsnn.losses.with_boundary`][] does, by one tensor product for each sample
        (Chen's identity): a spike of neuron k at $t_1$ makes $S \otimes e^{e_k}$ of $S$.
    - `unbiased`: the U-statistic; `False` gives the published V-statistic.

    **Returns:** a scalar.

    **Raises:** `ValueError` for trains of different kinds or with spikes missing, for
    `boundary` with a taper or with `match_spikes`, or with trains `x` that were not simulated
    with random thresholds.

    !!! warning

        For several neurons the lift is discontinuous where their spikes swap order, and
        the pathwise gradient does not see that; `taper > 0` or `boundary=True` mends the end of
        the window.
    """
    check_batches(x, y)
    check_positive_int("depth", depth)
    x, y = x.complete(), y.complete()
    if boundary and (taper > 0 or match_spikes):
        raise ValueError(
            "`boundary=True` needs `taper=0` and `match_spikes=False`, got "
            f"taper={taper}, match_spikes={match_spikes}. A tapered lift needs no correction."
        )
    if match_spikes:
        if x.times.shape[0] != y.times.shape[0]:
            raise ValueError(
                f"`match_spikes` pairs the samples, got {x.times.shape[0]} and {y.times.shape[0]}."
            )
        count = jnp.minimum(x.count, y.count)
        x, y = _clamp(x, count), _clamp(y, count)
    a, b = _signatures(x, depth, taper, boundary), _signatures(y, depth, taper, False)
    return squared_mean_distance(a, b, unbiased=unbiased)


def _clamp(x: SpikeTrain, count) -> SpikeTrain:
    keep = jnp.arange(x.times.shape[1], dtype=count.dtype)[None] < count[:, None]
    return SpikeTrain(
        times=jnp.where(keep, x.times, jnp.inf),
        marks=jnp.where(keep, x.marks, -1),
        count=count,
        overflow=x.overflow,
        t0=x.t0,
        t1=x.t1,
        num_neurons=x.num_neurons,
    )


def _signatures(
    x: SpikeTrain, depth: int, taper: float, boundary: bool
) -> Float[Array, "samples terms"]:
    def one(spikes):
        levels = signax.signature(marcus_lift(spikes, taper=taper), depth, flatten=False)
        if boundary:
            levels = signax.signature_combine(levels, _exits(spikes, depth))
        return jnp.concatenate([level.reshape(-1) for level in levels])

    return jax.vmap(one)(x)


def _exits(spikes: SpikeTrain, depth: int) -> list[Array]:
    r"""$\sum_k p_k (e^{e_k} - 1)$, $p_k$ the correction of neuron k: zeros with derivatives."""
    (correction,) = correction_of(spikes, (spikes.t1,))
    neurons = np.arange(1, 1 + spikes.num_neurons)
    return [
        jnp.zeros((1 + spikes.num_neurons,) * n, correction.dtype)
        .at[(neurons,) * n]
        .set(correction / math.factorial(n))
        for n in range(1, depth + 1)
    ]
