"""The spikes of some cells, one after the other."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._model.links import Link
from .ring import write


class Recent(eqx.Module):
    """When neurons spike after the start of each cell, inf where they do not; and how strong that
    is, by the names of the links that have plasticity."""

    offsets: Float[Array, "*cells neurons"]
    amplitudes: dict[str, Float[Array, "..."]]

    def of(self, link: Link) -> tuple[Array, Array | None]:
        """The offsets of the rows of a link, and how strong the spikes are."""
        return link.of_rows(self.offsets), self.amplitudes.get(link.name)

    def like(self, other: "Recent") -> "Recent":
        """With how strong they are by the links of another one."""
        return Recent(self.offsets, {name: self.amplitudes[name] for name in other.amplitudes})

    def then(self, others: "Recent") -> "Recent":
        """With those of the cells behind them."""
        return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), self, others.like(self))

    def cells(self, first: int | Int[Array, ""], number: int) -> "Recent":
        """Those of so many cells."""
        cut = lambda x: jax.lax.dynamic_slice_in_dim(x, first, number)
        return jax.tree.map(cut, self)

    def turned(self, by: int | Int[Array, ""]) -> "Recent":
        """As rows that come round, from this one on."""
        return jax.tree.map(lambda x: jnp.roll(x, by, axis=0), self)

    def put(self, cell: "Recent", slot: Int[Array, ""]) -> "Recent":
        """With those of a cell in place of those of the first."""
        return jax.tree.map(lambda x, row: write(x, row, slot), self, cell.like(self))
