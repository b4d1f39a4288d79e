"""What is on its way by links with delays, from cell to cell."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from jaxtyping import Array, Float, Int

from .._model.links import Link
from .._solve.adjoint import Scratch
from .cell_state import LockstepCarry, LockstepEmitted
from .launch import advance
from .travel import arrivals_of, moments_of


def travelled(
    carry: LockstepCarry,
    delayed: Sequence[Link],
    slot: Int[Array, ""],
    length: Float[Array, ""],
    dt0: float,
    each: bool,
) -> tuple[LockstepCarry, list[Any]]:
    """What arrives by each link in the cell that begins: `SpikeArrivals` if `each` spike is wanted,
    else moments of shape `(3, targets)`."""
    ring, found = carry.ring.value, []
    for number, link in enumerate(delayed):
        on_way = carry.launched[number] if carry.launched else None
        if on_way is not None:
            assert on_way.now.value is not None
            found.append(on_way.now.value.T)
            continue
        assert ring is not None
        ring, came = arrivals_of(ring, link, slot, length, dt0)
        found.append(came if each else moments_of(came, length))
    return dataclasses.replace(carry, ring=Scratch(ring)), found


def sent_off(
    carry: LockstepCarry,
    out: LockstepEmitted,
    delayed: Sequence[Link],
    slot: Int[Array, ""],
    dt0: float,
) -> LockstepCarry:
    """With the spikes of a cell on their way."""
    if not delayed:
        return carry
    on_way = []
    for number, old in enumerate(carry.launched):
        link = delayed[number]
        strong = out.amplitudes.get(link.name)
        on_way.append(None if old is None else advance(old, link, out.offsets, strong, slot, dt0))
    ring = carry.ring.value
    ring = None if ring is None else ring.put(out.spikes, slot)
    return dataclasses.replace(carry, ring=Scratch(ring), launched=tuple(on_way))
