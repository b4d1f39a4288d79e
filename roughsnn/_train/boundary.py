"""What the gradient of a functional needs that jumps where a spike leaves the window."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


class Boundary(eqx.Module):
    r"""The state of the thresholds at the times at which a window may end.

    A neuron fires when its integrated hazard less its random threshold, $s$, reaches 0. Given
    the hazard, the density of a spike at $t$ is $\partial s_t$ where a spike was possible at
    all, i.e. outside of the refractory part; see [`roughsnn.losses.with_boundary`][].

    **Arguments:**

    - `excess`: $s$ at each time, shape `(times, neurons)`; differentiable.
    - `at_risk`: whether a spike was possible there, shape `(times, neurons)`.
    - `ts`: the times, increasing; concrete numbers.
    """

    excess: Float[Array, "*samples times neurons"]
    at_risk: Bool[Array, "*samples times neurons"]
    ts: tuple[float, ...] = eqx.field(static=True)

    def at(self, ts: tuple[float, ...]) -> "Boundary | None":
        """The part that belongs to these times, if all of them are there."""
        if not set(ts) <= set(self.ts):
            return None
        index = np.array([self.ts.index(t) for t in ts], np.int32)
        return Boundary(self.excess[..., index, :], self.at_risk[..., index, :], ts)

    def where(self, known: Bool[Array, "..."]) -> "Boundary":
        """The same where `known`, no spike possible elsewhere."""
        there = self.at_risk & known
        return Boundary(jnp.where(there, self.excess, 0), there, self.ts)

    def until(self, t: float) -> "Boundary | None":
        """The part that belongs to times up to `t`."""
        size = sum(s <= t for s in self.ts)
        if size == 0:
            return None
        return Boundary(self.excess[..., :size, :], self.at_risk[..., :size, :], self.ts[:size])

    def merged(self, groups: np.ndarray, number: int) -> "Boundary":
        """That of groups of neurons: one more spike of a group is one of any of its neurons, so
        those that could fire add up."""
        excess = jnp.where(self.at_risk, self.excess, 0)
        shape = (*excess.shape[:-1], number)
        total = jnp.zeros(shape, excess.dtype).at[..., groups].add(excess)
        there = jnp.zeros(shape, bool).at[..., groups].max(self.at_risk)
        return Boundary(total, there, self.ts)

    def only(self, neurons: Int[Array, " n"]) -> "Boundary":
        """The part that belongs to some neurons."""
        return Boundary(self.excess[..., neurons], self.at_risk[..., neurons], self.ts)
