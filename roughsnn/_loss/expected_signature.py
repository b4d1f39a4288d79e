"""The distance between expected signatures."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import signax
from jaxtyping import Array, Float

from .._check import check_flag
from .._misc import check_positive_int, described, matmul
from .._train.check import check_batches, check_same_kind, check_trains
from .._train.marcus import marcus_lift
from .._train.spike_train import SpikeTrain
from .._train.taper import check_taper
from .._types import Scalar
from .boundary import correction_of
from .distance import Mean, squared_mean_distance
from .guard import refuse_gradient


def signature_features(
    x: SpikeTrain,
    *,
    depth: int = 3,
    taper: float = 0.1,
    log: bool = False,
    directions: int | None = None,
) -> Float[Array, "samples terms"]:
    r"""Truncated signatures of the Marcus lifts of a batch of trains, by signax.

    **Arguments:**

    - `x`: a batch of trains.
    - `depth`: $D$; there are $\sum_{d\le D}(1 + \text{neurons})^d$ terms.
    - `taper`: see [`roughsnn.marcus_lift`][].
    - `log`: log-signatures in the Lyndon basis: the same information of one path in fewer terms.
        Their mean does not determine a law, as that of signatures does.
    - `directions`: replace the counts of the neurons by so many fixed random mixtures of them,
        which keep inner products up to $1/\sqrt{\text{directions}}$ (Johnson & Lindenstrauss 1984):
        depth 3 of 100 neurons has a million terms, of 10 mixtures 1463.

    **Returns:** shape `(samples, terms)`.

    **Raises:** `ValueError` for trains with spikes missing, and a `depth`, `taper` or number of
    `directions` that is not positive.
    """
    check_trains("x", x, batch=True)
    return _features(x.complete(), Settings(depth, taper, log, directions), False)


class Settings(NamedTuple):
    """How signatures are made."""

    depth: int
    taper: float
    log: bool
    directions: int | None


class SignatureMean(eqx.Module):
    """The expected signature of data, made once, from one batch or from a stream of them.

    **Arguments:**

    - `mean`: count, mean and variance.
    - `settings`: how the signatures are made.
    - `samples`: how many trains there were.
    - `t0`, `t1`, `num_neurons`: of the trains.
    """

    mean: Mean
    settings: Settings = eqx.field(static=True)
    samples: int = eqx.field(static=True)
    t0: float = eqx.field(static=True)
    t1: float = eqx.field(static=True)
    num_neurons: int = eqx.field(static=True)

    @classmethod
    def of(
        cls,
        batches: SpikeTrain | Iterable[SpikeTrain],
        *,
        depth: int = 3,
        taper: float = 0.1,
        log: bool = False,
        directions: int | None = None,
    ) -> "SignatureMean":
        """From one batch of trains, or any number of batches, of which one at a time is in memory.

        The other arguments are those of [`roughsnn.losses.signature_features`][].
        """
        settings, total, first = Settings(depth, taper, log, directions), None, None
        samples = 0
        given = [batches] if isinstance(batches, SpikeTrain) else batches
        if isinstance(given, str | np.ndarray | jax.Array) or not isinstance(given, Iterable):
            raise TypeError(f"`batches` must be batches of trains, got {described(batches)}.")
        for n, batch in enumerate(given):
            check_trains(f"batches[{n}]", batch, batch=True)
            if first is None:
                first = batch
            check_same_kind(first, batch)
            features = signature_features(batch, **settings._asdict())
            mean, samples = Mean.of(features), samples + features.shape[0]
            total = mean if total is None else total.merge(mean)
        if total is None or first is None:
            raise ValueError("`batches` must hold at least one batch of trains.")
        return cls(total, settings, samples, first.t0, first.t1, first.num_neurons)


def expected_signature(
    x: SpikeTrain,
    y: SpikeTrain | SignatureMean,
    *,
    depth: int = 3,
    match_spikes: bool = False,
    taper: float = 0.1,
    log: bool = False,
    directions: int | None = None,
    boundary: bool = False,
    unbiased: bool = True,
    allow_jumps: bool = False,
) -> Scalar:
    r"""Squared distance of the expected truncated signatures of two batches of trains.

    $\|E S^{\le D}(\tilde x) - E S^{\le D}(\tilde y)\|^2$, the maximum mean discrepancy of the
    truncated signature kernel, linear in the numbers of samples. $\tilde x$ is the Marcus
    lift with time (Holberg & Salvi 2024, Section 5 and Appendix C).

    **Arguments:**

    - `x`, `y`: batches of trains with the same window and neurons. `y` may be a
        [`roughsnn.losses.SignatureMean`][], whose settings are taken then.
    - `depth`, `taper`, `log`, `directions`: see [`roughsnn.losses.signature_features`][]; the
        published lift has `taper=0`.
    - `match_spikes`: compare as many spikes as the sample with fewer has, pair by pair, as
        the published code does. It throws the counts away and is no distance between laws;
        it needs as many samples in `x` as in `y`.
    - `boundary`: with `taper=0`, correct the gradient for spikes of `x` that leave the window,
        as [`roughsnn.losses.with_boundary`][] does, by one tensor product for each sample
        (Chen's identity): a spike of neuron k at $t_1$ makes $S \otimes e^{e_k}$ of $S$.
    - `unbiased`: the U-statistic; `False` gives the published V-statistic.
    - `allow_jumps`: differentiate it all the same where its pathwise gradient is not that of the
        mean.

    **Returns:** a scalar.

    **Raises:** `ValueError` for trains of different kinds or with spikes missing, for
    `boundary` with a taper, logarithms, mixtures or `match_spikes`, or with trains `x` that were
    not simulated with random thresholds; and when it is differentiated for several neurons, as the
    lift is discontinuous where their spikes swap order, or without taper and `boundary`.
    """
    flags = dict(match_spikes=match_spikes, log=log, boundary=boundary, unbiased=unbiased)
    for name, flag in (flags | dict(allow_jumps=allow_jumps)).items():
        check_flag(name, flag)
    settings = Settings(depth, check_taper(taper), log, directions)
    if isinstance(y, SignatureMean):
        settings = y.settings
        check_trains("x", x, batch=True)
        check_same_kind(x, y)
    else:
        check_batches(x, y)
        y = y.complete()
    x = x.complete()
    plain = not (settings.taper > 0 or settings.log or settings.directions or match_spikes)
    if boundary and not plain:
        raise ValueError(
            "`boundary=True` needs `taper=0`, no `log`, no `directions` and `match_spikes=False`, "
            f"got taper={settings.taper}, log={settings.log}, directions={settings.directions}, "
            f"match_spikes={match_spikes}. A tapered lift needs no correction."
        )
    if not allow_jumps:
        exits = settings.taper == 0 and not boundary
        jumps = ["swap"] * (x.num_neurons > 1) + ["exit"] * exits
        x = refuse_gradient(x, frozenset(jumps), "the expected signature")
    if match_spikes:
        if isinstance(y, SignatureMean) or x.times.shape[0] != y.times.shape[0]:
            other = "their mean" if isinstance(y, SignatureMean) else y.times.shape[0]
            raise ValueError(
                f"`match_spikes` pairs the samples, got {x.times.shape[0]} and {other}."
            )
        count = jnp.minimum(x.count, y.count)
        x, y = _clamp(x, count), _clamp(y, count)
    if isinstance(y, SignatureMean) and unbiased and y.samples < 2:
        raise ValueError(
            "An unbiased estimate needs at least 2 samples on each side, got a mean of one. Use "
            "unbiased=False."
        )
    a = _features(x, settings, boundary)
    b = y.mean if isinstance(y, SignatureMean) else _features(y, settings, False)
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


def _features(x: SpikeTrain, settings: Settings, boundary: bool) -> Float[Array, "samples terms"]:
    depth = check_positive_int("depth", settings.depth)
    mix = None
    if settings.directions is not None:
        count = check_positive_int("directions", settings.directions)
        signs = np.random.default_rng(0).choice([-1.0, 1.0], (x.num_neurons, count))
        mix = jnp.asarray(signs / np.sqrt(count), x.times.dtype)

    def one(spikes):
        corners = marcus_lift(spikes, taper=settings.taper)
        if mix is not None:
            corners = jnp.concatenate([corners[:, :1], matmul(corners[:, 1:], mix)], 1)
        if settings.log:
            return signax.logsignature(corners, depth, flatten=True)
        levels = signax.signature(corners, depth, flatten=False)
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
