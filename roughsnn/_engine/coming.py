"""Spikes of sources that are on their way from one window to the next."""

import dataclasses
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Coming(eqx.Module):
    """Spikes of a source on their way by one link: when they arrive, by which of its rows (-1:
    none), and how strong they are.

    There is room for all spikes of the `windows`, the last one first, whose spikes may be on their
    way: their lengths, and how many arrivals each may bring about.
    """

    times: Float[Array, " spikes"]
    marks: Int[Array, " spikes"]
    amplitudes: Float[Array, " spikes"] | None
    windows: tuple[tuple[float, int], ...] = eqx.field(static=True, default=())

    def then(self, others: "Coming") -> "Coming":
        """And others."""
        join = lambda a, b: jnp.concatenate([a.astype(b.dtype), b])
        held = dataclasses.replace(self, windows=others.windows)
        return jax.tree.map(join, held, others)

    def only(self, these: Array) -> "Coming":
        """These, in order of time, with padding behind them in place of the others."""
        these = these & (self.marks >= 0)
        times, marks = jnp.where(these, self.times, jnp.inf), jnp.where(these, self.marks, -1)
        order = jnp.argsort(jax.lax.stop_gradient(times))
        found = dataclasses.replace(self, times=times, marks=marks)
        return jax.tree.map(lambda x: x[order], found)

    def after(self, t1: float, windows: tuple[tuple[float, int], ...]) -> "Coming":
        """Those that arrive after a window that ends then, counted from its end."""
        room = sum(number for _, number in windows)
        later = self.only(self.times > t1)

        def fit(x: Array, fill: Any) -> Array:
            return jnp.pad(x[:room], (0, max(0, room - x.shape[0])), constant_values=fill)

        amplitudes = None if later.amplitudes is None else fit(later.amplitudes, 0)
        return Coming(fit(later.times - t1, jnp.inf), fit(later.marks, -1), amplitudes, windows)


def windows_until(
    held: Coming | None, length: float, number: int, max_delay: float
) -> tuple[tuple[float, int], ...]:
    """The windows whose spikes may be on their way at the end of one of this length, with so many
    arrivals at most. At the first one, as if those before had been like it: what follows is then
    one program."""
    if held is None:
        return ((length, number),) * math.ceil(max_delay / length * (1 - 1e-6))
    found, since = [(length, number)], length
    for one in held.windows:
        # The end of that window is so long ago.
        if since >= max_delay * (1 - 1e-6):
            break
        found.append(one)
        since += one[0]
    return tuple(found)
