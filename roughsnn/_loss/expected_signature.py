"""The distance between expected signatures."""

import jax
import jax.numpy as jnp
import signax
from jaxtyping import Array, Float

from .._misc import check_positive_int
from .._path.marcus import marcus_lift
from .._path.spike_train import SpikeTrain
from .._types import Scalar
from .distance import squared_mean_distance
from .spike_times import check_batches


def expected_signature(
    x: SpikeTrain,
    y: SpikeTrain,
    *,
    depth: int = 3,
    match_spikes: bool = False,
    taper: float = 0.1,
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
    - `unbiased`: the U-statistic; `False` gives the published V-statistic.

    **Returns:** a scalar.

    **Raises:** `ValueError` for trains of different kinds or with spikes missing.

    !!! warning

        For several neurons the lift is discontinuous where their spikes swap order, and
        the pathwise gradient does not see that; `taper > 0` mends the end of the window.
    """
    check_batches(x, y)
    check_positive_int("depth", depth)
    x, y = x.complete(), y.complete()
    if match_spikes:
        if x.times.shape[0] != y.times.shape[0]:
            raise ValueError(
                f"`match_spikes` pairs the samples, got {x.times.shape[0]} and {y.times.shape[0]}."
            )
        count = jnp.minimum(x.count, y.count)
        x, y = _clamp(x, count), _clamp(y, count)
    a, b = _signatures(x, depth, taper), _signatures(y, depth, taper)
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


def _signatures(x: SpikeTrain, depth: int, taper: float) -> Float[Array, "samples terms"]:
    def one(spikes):
        return signax.signature(marcus_lift(spikes, taper=taper), depth)

    return jax.vmap(one)(x)
