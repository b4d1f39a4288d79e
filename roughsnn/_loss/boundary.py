"""Gradients of functionals that jump where a spike leaves the window."""

import itertools
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .._check import as_tuple, check_function
from .._misc import as_positive_scalar, described, static_float, tensordot
from .._train.borders import before
from .._train.check import check_trains
from .._train.marks import sum_by_mark
from .._train.spike_train import SpikeTrain
from .._types import Scalar
from .missing import Missing, accepted, check_ts, or_nan


def correction_of(
    train: SpikeTrain, ts: tuple[float, ...], name: str = "train"
) -> Float[Array, "times neurons"]:
    """Zeros, with the derivative of the probability of one more spike of each neuron."""
    found = None if train.boundary is None else train.boundary.at(ts)
    if found is None:
        has = "nothing" if train.boundary is None else f"only that of {train.boundary.ts}"
        raise ValueError(
            f"`{name}` does not hold what gradients at the boundaries {ts} need; it has "
            f"{has}. It must come from `roughsnn.simulate` of a network that fires "
            "stochastically, with interior times named by `edges` of its window."
        )
    if found.excess.shape[-1] != train.num_neurons:
        raise ValueError(
            f"`{name}` has {train.num_neurons} neurons, but its `boundary` is that of "
            f"{found.excess.shape[-1]}."
        )
    fixed = jax.lax.stop_gradient(found.excess)
    return jnp.where(found.at_risk, found.excess - fixed, 0)


def with_boundary(fn: Callable[[SpikeTrain], PyTree], train: SpikeTrain) -> PyTree:
    r"""`fn(train)` with the gradient that its mean has, also where spikes leave the window.

    Let $F$ be a functional of the path on [0, T], $F^{+k}$ its value with one more spike of
    neuron k at T, $\Lambda_k$ the hazard integrated since k's last spike. Then

    $$\frac{d}{d\theta} E[F] = E\Bigl[\partial F + \sum_k 1\{\Lambda_k(T) > \alpha\}
    (F^{+k} - F)\,\partial s^k_T\Bigr],$$

    and the pathwise part $\partial F$ alone is biased unless $F^{+k} = F$ (for a count it is
    0). The second part is added to the derivative, not to the value. (Smoothed perturbation
    analysis: Gong & Ho, IEEE Trans. Autom. Control 32 (1987), for the thresholds of
    Holberg & Salvi 2024, eq. 1-3.)

    Costs one evaluation of `fn` for each neuron. Forms that cost next to nothing:
    [`roughsnn.losses.counts`][], [`roughsnn.losses.binned_counts`][], and `boundary=True` in
    [`roughsnn.losses.expected_signature`][]. Not needed, and zero, where `fn` is
    continuous as a spike leaves: with a taper, [`roughsnn.losses.filtered`][] trains, or
    spike times that count a missing spike as t1.

    **Arguments:**

    - `fn`: a function of one train that returns a pytree of floating arrays.
    - `train`: one train from [`roughsnn.simulate`][] (`jax.vmap` over a batch, then average:
        a nonlinear function of means over samples gets right gradients too).

    **Returns:** what `fn` returns.

    **Raises:** `ValueError` for a train that was not simulated with random thresholds, or has
    spikes missing.

    !!! warning

        Jumps of `fn` where two neurons' spikes swap order are not seen.
    """
    check_trains("train", train)
    check_function("fn", fn, "fn(train)")
    train = train.complete()
    (correction,) = correction_of(train, (train.t1,))
    value = fn(train.with_room(train.times.shape[-1] + 1))
    neurons = jnp.arange(train.num_neurons, dtype=jnp.int32)
    more = jax.vmap(lambda k: fn(train.with_spike(k)))(neurons)

    for leaf in jax.tree.leaves(value):
        if not eqx.is_inexact_array(leaf):
            raise TypeError(f"`fn` must return floating arrays, got {described(leaf)}.")

    def add(value, more):
        change = jax.lax.stop_gradient(more - value[None])
        return value + tensordot(correction.astype(value.dtype), change, 1)

    return jax.tree.map(add, value, more)


def counts(train: SpikeTrain, *, missing: Missing = "raise") -> Float[Array, " neurons"]:
    r"""The number of spikes of each neuron, with the gradient of its mean.

    The pathwise derivative of a count is 0; that of its mean is the mean of
    $1\{\Lambda_k(T) > \alpha\}\,\partial s^k_T$, which is also the derivative of the
    compensator $\int_0^T \lambda\,1\{\Lambda > \alpha\}\,dt$.

    **Arguments:**

    - `train`: one train from [`roughsnn.simulate`][].
    - `missing`: what to do about a train with spikes missing: `"raise"`, or return `"nan"`.

    **Returns:** counts, shape `(neurons,)`, in floating numbers.

    **Raises:** as [`roughsnn.losses.with_boundary`][].
    """
    check_trains("train", train)
    return counted("train", accepted(train, missing))


def counted(name: str, train: SpikeTrain) -> Float[Array, " neurons"]:
    """The counts of a train that was checked; nan where spikes are missing."""
    (correction,) = correction_of(train, (train.t1,), name)
    return or_nan(train.counts().astype(correction.dtype) + correction, train)


def binned_counts(
    train: SpikeTrain, edges: Sequence[float], *, missing: Missing = "raise"
) -> Float[Array, "bins neurons"]:
    """The number of spikes of each neuron in each bin, with the gradient of its mean.

    Simulate in a [`roughsnn.Window`][] with these `edges` (t0 and t1 left out).

    **Arguments:**

    - `train`: one train from [`roughsnn.simulate`][].
    - `edges`: increasing times in [t0, t1].
    - `missing`: as for [`roughsnn.losses.counts`][].

    **Returns:** counts, shape `(len(edges) - 1, neurons)`.

    **Raises:** as [`roughsnn.losses.with_boundary`][]; `ValueError` for fewer than two edges.
    """
    check_trains("train", train)
    train = accepted(train, missing)
    edges = as_tuple("edges", edges, "a tuple of times")
    edges = [static_float(f"edges[{n}]", t) for n, t in enumerate(edges)]
    if len(edges) < 2 or any(b <= a for a, b in itertools.pairwise(edges)):
        raise ValueError(f"`edges` must be at least two increasing times, got {edges}.")
    if edges[0] < train.t0 or edges[-1] > train.t1:
        raise ValueError(f"`edges` must lie in the window [{train.t0}, {train.t1}], got {edges}.")
    inner = tuple(t for t in edges if t > train.t0)
    correction = correction_of(train, inner)
    ends = jnp.asarray(inner, train.times.dtype)
    inside = before(train.times[:, None], ends[None]) | (ends == train.t1)[None]
    until = sum_by_mark(inside.astype(correction.dtype), train.marks, train.num_neurons).T
    until = until + correction
    if len(inner) < len(edges):
        until = jnp.concatenate([jnp.zeros_like(until[:1]), until])
    return or_nan(jnp.diff(until, axis=0), train)


def filtered(
    train: SpikeTrain,
    ts: Float[Array, " times"],
    timescale: float | Scalar,
    *,
    missing: Missing = "raise",
) -> Float[Array, "times neurons"]:
    r"""The train filtered by $\kappa(t) = (t/\tau)\,e^{1 - t/\tau}$, at the times `ts`.

    As $\kappa(0) = 0$ it is continuous in the spike times everywhere, so its pathwise
    gradient is that of its mean.

    **Arguments:**

    - `train`: one train.
    - `ts`: times in the window, shape `(times,)`, increasing.
    - `timescale`: $\tau$, positive.
    - `missing`: as for [`roughsnn.losses.counts`][].

    **Returns:** shape `(times, neurons)`.

    **Raises:** `ValueError`/`TypeError` for times that are not increasing or outside of the window,
        a time scale that is not positive, and a train with spikes missing.
    """
    check_trains("train", train)
    train, ts = accepted(train, missing), check_ts(ts, train)
    timescale = as_positive_scalar("timescale", timescale)
    there = train.marks >= 0
    age = ts[:, None] - jnp.where(there, train.times, train.t1)[None]
    active = there[None] & (age > 0)
    scaled = jnp.where(active, age, 0) / timescale.astype(age.dtype)
    response = jnp.where(active, scaled * jnp.exp(1 - scaled), 0)
    return or_nan(sum_by_mark(response.T, train.marks, train.num_neurons).T, train)
