"""Projections: the synapses from one population onto a port of another."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._check import check_flag, check_kind
from .._misc import as_float_array, as_numbers, check_positive_float, is_concrete
from .._types import Numeric
from .connectivity import SparseWeights
from .dale import DaleWeights
from .domain import Bound, as_bounded
from .plasticity import AbstractPlasticity, check_plasticity
from .stdp import PairSTDP


class Projection(eqx.Module):
    r"""Synapses: at a spike of neuron k of `pre`, neuron j of `post` receives $w_{kj}$ at a port.

    **Arguments:**

    - `pre`, `post`: names of populations.
    - `weights`: `weights[pre, post]`, shape `(pre neurons, post neurons)`; or
        [`roughsnn.SparseWeights`][], for large networks; or [`roughsnn.DaleWeights`][], which keep
        their sign.
    - `port`: which port of `post`; by default its only one.
    - `mask`: boolean, with the shape of `weights`; only weights where it is true exist, and only
        they get a gradient.
    - `delay`: how long after a spike it arrives, in time; by default at once. A number, shape
        `(pre neurons,)`, or one for each synapse, the shape of `weights` (of their `values` if they
        are sparse). It is a parameter with a gradient. With [`roughsnn.Lockstep`][] no shorter than
        its cells.
    - `max_delay`: what no delay may exceed, now or in training. By default the longest now, rounded
        up by at most a fifth: shapes depend on it, and other delays shall not compile anew.
    - `autapses`: whether neurons have synapses onto themselves, if `pre` is `post`. Else the
        diagonal must be zero, and stays so.
    - `plasticity`: how strong a spike is by the earlier ones of its neuron, e.g.
        [`roughsnn.synapses.TsodyksMarkram`][]; or how `weights` learn, a
        [`roughsnn.synapses.PairSTDP`][], without delays. By default all spikes are as strong as
        `weights` say.

    **Raises:** `ValueError` for wrong shapes, weights on the diagonal, values that are not finite,
        delays that are negative or longer than `max_delay`.
    """

    weights: Float[Array, "pre post"] | SparseWeights | DaleWeights
    mask: Bool[Array, "pre post"] | None
    delay: Float[Array, "..."] | None
    plasticity: AbstractPlasticity | PairSTDP | None
    pre: str = eqx.field(static=True)
    post: str = eqx.field(static=True)
    port: str | None = eqx.field(static=True)
    autapses: bool = eqx.field(static=True)
    max_delay: float = eqx.field(static=True)

    def __init__(
        self,
        pre: str,
        post: str,
        weights: Numeric | SparseWeights | DaleWeights,
        port: str | None = None,
        *,
        delay: Numeric | None = None,
        max_delay: float | None = None,
        mask: Numeric | None = None,
        autapses: bool = False,
        plasticity: AbstractPlasticity | PairSTDP | None = None,
    ):
        self.pre = check_kind("pre", pre, str, "the name of a population")
        self.post = check_kind("post", post, str, "the name of a population")
        self.port = port if port is None else check_kind("port", port, str, "the name of a port")
        self.autapses = check_flag("autapses", autapses)
        own = pre == post and not self.autapses
        self.mask = None
        if isinstance(weights, SparseWeights | DaleWeights):
            self.weights = weights
        else:
            self.weights = as_float_array("weights", weights)
        held = self.weights.raw if isinstance(self.weights, DaleWeights) else self.weights
        self.delay, self.max_delay = _check_delay(delay, max_delay, held)
        self.plasticity = plasticity
        if isinstance(plasticity, PairSTDP):
            _check_learning(self.weights, plasticity, self.delay)
        elif plasticity is not None:
            check_plasticity("plasticity", plasticity, held.shape[0])
        if isinstance(held, SparseWeights):
            if mask is not None:
                raise ValueError("`mask` goes with a matrix; SparseWeights hold what exists.")
            if own:
                held.check_no_autapses()
            return
        if held.ndim != 2:
            raise ValueError(f"`weights` must have shape (pre, post), got {held.shape}.")
        # A magnitude is never 0: those on the diagonal are masked.
        values = None if isinstance(self.weights, DaleWeights) else held
        self.mask = _check_mask(mask, held.shape, values, own)

    def bounds(self) -> tuple[Bound, ...]:
        """What the delays must be, and the parameters of the plasticity."""
        own = () if self.delay is None else (Bound("delay", self.delay, "not negative"),)
        return own if self.plasticity is None else (*own, *self.plasticity.bounds())

    def effective(self) -> Float[Array, "pre post"] | SparseWeights:
        """A matrix, zero where the mask is false; lists as they are."""
        weights = self.weights.weights() if isinstance(self.weights, DaleWeights) else self.weights
        if isinstance(weights, SparseWeights):
            return weights
        return weights if self.mask is None else jnp.where(self.mask, weights, 0)


def _check_learning(
    weights: Array | SparseWeights | DaleWeights, rule: PairSTDP, delay: Array | None
) -> None:
    """Refuses weights that cannot learn."""
    if isinstance(weights, DaleWeights):
        raise ValueError(
            "`weights` with a PairSTDP stay in [0, w_max] by themselves: give a matrix or a "
            "roughsnn.SparseWeights, not roughsnn.DaleWeights."
        )
    if delay is not None:
        raise ValueError(
            "`plasticity` may be a PairSTDP only without `delay`: it is not said when a spike on "
            "its way meets one of its target."
        )
    values = weights.filled().values if isinstance(weights, SparseWeights) else weights
    if not is_concrete((values, rule.w_max)):
        return
    held = np.asarray(values)
    if np.any((held < 0) | (held > np.asarray(rule.w_max) * (1 + 1e-6))):
        raise ValueError(
            f"`weights` with a PairSTDP must be in [0, w_max={rule.w_max}], got values from "
            f"{held.min()} to {held.max()}."
        )


def _check_delay(
    delay: Numeric | None, max_delay: float | None, weights: Array | SparseWeights
) -> tuple[Array | None, float]:
    """The delays, `None` if there are none, and what they may not exceed."""
    delay = as_bounded("delay", 0.0 if delay is None else delay, "not negative")
    known = is_concrete(delay)
    if known and not np.any(np.asarray(delay)):
        if max_delay:
            raise ValueError("`max_delay` goes with a `delay` that is not 0.")
        return None, 0.0
    each = weights.values.shape if isinstance(weights, SparseWeights) else weights.shape
    shapes = ((), each[:1], each)
    if delay.shape not in shapes:
        raise ValueError(
            f"`delay` must be a number or have shape {shapes[1]} or {shapes[2]}, got {delay.shape}."
        )
    if max_delay is None:
        if not known:
            raise ValueError(
                "`delay` is no known number: give `max_delay`, which it never exceeds."
            )
        return delay, _rounded_up(float(np.max(np.asarray(delay))))
    bound = check_positive_float("max_delay", max_delay)
    if known and np.any(np.asarray(delay) > bound):
        longest = np.max(np.asarray(delay))
        raise ValueError(f"`delay` must not exceed `max_delay`={bound}, got {longest}.")
    return delay, bound


def _rounded_up(longest: float) -> float:
    """To a quarter of an octave: networks whose delays differ a little are one program."""
    return float(2.0 ** (np.ceil(4 * np.log2(longest) - 1e-6) / 4))


def _check_mask(mask, shape: tuple[int, ...], weights: Array | None, own: bool) -> Array | None:
    if own and shape[0] != shape[1]:
        raise ValueError(
            f"The weights of a population onto itself must have shape (neurons, neurons), got "
            f"{shape}."
        )
    if mask is not None:
        mask = as_numbers("mask", mask)
        if mask.dtype != bool or mask.shape != shape:
            raise ValueError(
                f"`mask` must be boolean with the shape of `weights`, {shape}; got {mask.dtype} of "
                f"shape {mask.shape}."
            )
    if not own:
        return mask
    diagonal, hint = np.eye(shape[0], dtype=bool), "for synapses of a neuron onto itself say "
    if mask is None:
        mask = jnp.asarray(~diagonal)
    elif is_concrete(mask) and np.any(np.asarray(mask) & diagonal):
        raise ValueError(f"`mask` must be false on the diagonal: {hint}`autapses=True`.")
    if weights is not None and is_concrete(weights) and np.any(np.diag(np.asarray(weights)) != 0):
        raise ValueError(f"`weights` must be zero on the diagonal: {hint}`autapses=True`.")
    return mask
