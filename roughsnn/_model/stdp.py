"""Weights that learn by the times of spikes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._misc import at_least, at_most
from .._types import Numeric, Scalar
from .domain import Bound, as_bounded
from .plasticity import Fired

_REASON = (
    "A network with roughsnn.synapses.PairSTDP has no pathwise gradient: where two spikes change "
    "places a weight jumps, by the sum of `a_plus` and `a_minus`, and the derivative of single "
    "paths leaves these jumps out, so that its mean is not the derivative of the mean. Take "
    "differences of means on common random numbers."
)


@jax.custom_jvp
def _without_gradient(x: Array) -> Array:
    """The same; to differentiate it is an error."""
    return x


@_without_gradient.defjvp
def _(primals, tangents):
    del primals, tangents
    raise TypeError(_REASON)


class PairSTDP(eqx.Module):
    r"""Weights that grow when a spike is followed by one of the target, and shrink when it follows
    one (Song, Miller & Abbott, *Competitive Hebbian learning through spike-timing-dependent
    synaptic plasticity*, Nature Neuroscience 3 (2000)): each pair of a spike of the source at
    $t_\text{pre}$ and one of the target at $t_\text{post}$ adds

    $$\begin{cases} a_+\,e^{-(t_\text{post} - t_\text{pre})/\tau_+} & t_\text{pre} \le
    t_\text{post} \\ -a_-\,e^{-(t_\text{pre} - t_\text{post})/\tau_-} & t_\text{pre} > t_\text{post}
    \end{cases}$$

    to the weight, at the later of the two, which then is cut to $[0, w_\text{max}]$. A spike brings
    the weight that it finds.

    It is simulated, in both engines, and has no pathwise gradient: to ask for one is an error that
    says why. `sim.final.weights` are the weights at the end.

    **Arguments:**

    - `a_plus`, `a_minus`: $a_+, a_-$, not negative; in the unit of the weights.
    - `tau_plus`, `tau_minus`: $\tau_+, \tau_-$, positive.
    - `w_max`: the largest weight, positive.

    **Raises:** `ValueError` for values outside of these ranges, and for arrays.
    """

    a_plus: Float[Array, ""]
    a_minus: Float[Array, ""]
    tau_plus: Float[Array, ""]
    tau_minus: Float[Array, ""]
    w_max: Float[Array, ""]

    def __init__(
        self,
        a_plus: Numeric,
        a_minus: Numeric,
        tau_plus: Numeric,
        tau_minus: Numeric,
        w_max: Numeric,
    ):
        self.a_plus = as_bounded("a_plus", a_plus, "not negative")
        self.a_minus = as_bounded("a_minus", a_minus, "not negative")
        self.tau_plus = as_bounded("tau_plus", tau_plus, "positive")
        self.tau_minus = as_bounded("tau_minus", tau_minus, "positive")
        self.w_max = as_bounded("w_max", w_max, "positive")
        for bound in self.bounds():
            if bound.value.ndim:
                raise ValueError(f"`{bound.name}` must be a number, got shape {bound.value.shape}.")

    def bounds(self) -> tuple[Bound, ...]:
        """The parameters are in their ranges."""
        return (
            Bound("a_plus", self.a_plus, "not negative"),
            Bound("a_minus", self.a_minus, "not negative"),
            Bound("tau_plus", self.tau_plus, "positive"),
            Bound("tau_minus", self.tau_minus, "positive"),
            Bound("w_max", self.w_max, "positive"),
        )


class Synapses(NamedTuple):
    """The targets of lists, and which synapses exist."""

    targets: Int[Array, "pre synapses"] | None
    exists: Bool[Array, "#pre #synapses"]


class Trace(eqx.Module):
    """What is left of the spikes of each neuron: just after the last one, and the time since
    then."""

    level: Float[Array, " neurons"]
    age: Float[Array, " neurons"]

    def after(self, fired: Fired, tau: Scalar, length: Any) -> "Trace":
        """With spikes, after a length of time."""
        since = self.age + jnp.where(fired.hit, fired.offset, 0)
        level = jnp.where(fired.hit, 1 + self.level * jnp.exp(-since / tau), self.level)
        return Trace(level, jnp.where(fired.hit, length - fired.offset, self.age + length))


class Learned(eqx.Module):
    """The weights of a projection that learns, in the shape that they were given, and the traces
    of its sources and of its targets."""

    weights: Float[Array, "pre synapses"]
    pre: Trace
    post: Trace

    @classmethod
    def start(cls, weights: Array, neurons: tuple[int, int], dtype: Any) -> "Learned":
        """Before the first spikes."""
        zeros = [jnp.zeros(n, dtype) for n in neurons]
        return cls(weights.astype(dtype), *(Trace(zero, zero) for zero in zeros))

    def drift(self) -> "Learned":
        """Its derivative: time goes by."""
        still = jax.tree.map(jnp.zeros_like, self)
        ages = lambda x: (x.pre.age, x.post.age)
        return eqx.tree_at(ages, still, replace_fn=jnp.ones_like)

    def after(self, time: Scalar) -> "Learned":
        """After a time without spikes."""
        ages = lambda x: (x.pre.age, x.post.age)
        return eqx.tree_at(ages, self, replace_fn=lambda age: age + time)

    def fired(
        self,
        rule: PairSTDP,
        synapses: Synapses,
        pre: Fired,
        post: Fired,
        length: Any,
    ) -> tuple[Float[Array, "pre synapses"], "Learned"]:
        """The weights that the spikes of `pre` find, at most one of each neuron, and what there is
        after this length of time."""
        run = lambda: self._paired(rule, synapses, pre, post)
        some = jnp.any(pre.hit) | jnp.any(post.hit)
        sent, weights = jax.lax.cond(some, run, lambda: (self.weights, self.weights))
        pre_trace = self.pre.after(pre, rule.tau_plus, length)
        post_trace = self.post.after(post, rule.tau_minus, length)
        return sent, Learned(_without_gradient(weights), pre_trace, post_trace)

    def _paired(
        self, rule: PairSTDP, synapses: Synapses, pre: Fired, post: Fired
    ) -> tuple[Array, Array]:
        """The weights that the spikes of `pre` find, and those after all spikes."""
        targets, exists = synapses
        of_post: Callable[[Array], Array] = lambda x: x[None] if targets is None else x[targets]
        i, j = Fired(*(x[:, None] for x in pre)), Fired(*map(of_post, post))
        i, j = (Fired(f.hit, jnp.where(f.hit, f.offset, 0)) for f in (i, j))
        left = lambda trace, tau: trace.level * jnp.exp(-trace.age / tau)
        # What a spike of the target finds of those of the source before this time, and conversely.
        found_pre = left(self.pre, rule.tau_plus)[:, None] * jnp.exp(-j.offset / rule.tau_plus)
        found_post = of_post(left(self.post, rule.tau_minus)) * jnp.exp(-i.offset / rule.tau_minus)
        between = j.offset - i.offset
        pre_first = between >= 0
        both = i.hit & j.hit
        near = lambda tau: jnp.where(both, jnp.exp(-jnp.abs(between) / tau), 0)
        w = self.weights
        grown = lambda w, x: jnp.where(j.hit & exists, at_most(w + rule.a_plus * x, rule.w_max), w)
        shrunk = lambda w, x: jnp.where(i.hit & exists, at_least(w - rule.a_minus * x, 0), w)
        first_grown = grown(w, found_pre)
        after = jnp.where(
            pre_first,
            grown(shrunk(w, found_post), found_pre + near(rule.tau_plus)),
            shrunk(first_grown, found_post + near(rule.tau_minus)),
        )
        return jnp.where(both & ~pre_first, first_grown, w), after
