r"""Spikes that are sent on their way when they happen, where each synapse has a delay of its own.

A ring holds, for each cell to come and each target, the moments of what arrives there:
$\sum w (1, r, r^2)$, r the time left in the cell. A spike adds to it at its synapses, so that only
rows of neurons that fired are visited, and a cell reads its own moments. The ring is that of whole
cells; what arrives in a part of one `travel` finds from the spikes themselves.

`advance` and its transpose `recede` are primitives, so that the ring, and its derivative, are
changed in place: in one step of the loop each is first written, and only then read.
"""

import math

import jax
import jax.numpy as jnp
from jax.interpreters import ad
from jaxtyping import Array, Float, Int

from .._model.connectivity import SparseWeights
from .._model.links import Link
from .._solve.adjoint import Scratch
from .cell_state import Launched
from .in_turn import Visited, in_turn, lead_of
from .recent import Recent
from .samples import of_samples, primitive, summed
from .travel import Steps

# Up to so many synapses it is quicker to look at all of them in each cell.
_FEW_SYNAPSES = 512
# How many rows are visited at a time, if only a few fired and if more did.
_FEW, _STEP, _PIECE = 64, 2, 64


def launches(link: Link) -> bool:
    """Whether spikes of a link are sent on their way when they happen."""
    if link.delay is None or link.delay.ndim < 2:
        return False
    return link.delay.size > _FEW_SYNAPSES


def advance(
    on_way: Launched,
    link: Link,
    offsets: Float[Array, " neurons"],
    strong: Float[Array, " rows"] | None,
    slot: Int[Array, ""],
    dt0: float,
) -> Launched:
    """With the spikes of a cell on their way, at the start of the next one; `strong` says how much
    of their weights they bring."""
    assert link.delay is not None and on_way.ring.value is not None
    ring, weights = on_way.ring.value, link.weights
    own = link.of_rows(offsets)
    hit = jnp.isfinite(own)
    if isinstance(weights, SparseWeights):
        values, targets = weights.values, weights.targets.astype(jnp.int32)
    else:
        values = weights
        targets = jnp.broadcast_to(jnp.arange(weights.shape[1], dtype=jnp.int32), weights.shape)
    new = _advance.bind(
        ring,
        jnp.ones_like(own) if strong is None else strong,
        values.astype(ring.dtype),
        link.delay.astype(ring.dtype),
        jnp.where(hit, own, 0),
        targets,
        hit,
        slot,
        order=0,
        dt0=dt0,
    )
    return Launched(*map(Scratch, new))


def launched(link: Link, spikes: Recent, dt0: float) -> Launched:
    """What is on its way at the start of a window, by the spikes of the cells before it: the same,
    to the last bit, as if the window went on."""
    offsets, strong = spikes.offsets, spikes.amplitudes.get(link.name)
    slots, targets = offsets.shape[0], link.weights.shape[1]
    zero = jnp.zeros((slots, targets, 3), offsets.dtype)

    def one(on_way, x):
        offsets, own, slot = x
        return advance(on_way, link, offsets, own, slot, dt0), None

    numbers = jnp.arange(slots, dtype=jnp.int32)
    start = Launched(Scratch(zero), Scratch(zero[0]))
    return jax.lax.scan(one, start, (offsets, strong, numbers))[0]


# 1, r and r^2, and their derivatives in the time of arrival: what is constant, linear, quadratic.
_FACTORS = (
    ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    ((0, -1, 0), (0, 0, -2), (0, 0, 0)),
    ((0, 0, 2), (0, 0, 0), (0, 0, 0)),
)


def factors(order: int, r: Float[Array, "..."]) -> Float[Array, "... 3"]:
    """The derivatives of 1, r and r^2 in the time of arrival: as one polynomial, because XLA is
    slow where it stacks small arrays."""
    if order >= len(_FACTORS):
        return jnp.zeros((*r.shape, 3), r.dtype)
    like = (1,) * r.ndim + (3,)
    constant, linear, quadratic = (jnp.asarray(x, r.dtype).reshape(like) for x in _FACTORS[order])
    r = r[..., None]
    return constant + r * (linear + r * quadratic)


def _arrivals(
    delay: Float[Array, "..."], offset: Float[Array, "..."], dt0: float
) -> tuple[Int[Array, "..."], Float[Array, "..."]]:
    """After how many cells spikes arrive, and how much is left of the cell then."""
    later, after = Steps.of(delay, dt0).arrival(offset, dt0)
    return later, dt0 - after


def _over_fired(number: Int[Array, ""], hit: Array, visit, total):
    """`visit(rows, there, total)` of all rows that were hit, in their order, some of them at a
    time; at most `number`.

    Loops that run not at all in place of branches, as loops change what they carry in place. What
    they visit depends on what is left: the rest would be done in each cell, outside of them.
    """
    n, few = hit.shape[0], number <= _FEW

    def some(step):
        def more(_, carry):
            left, total = carry
            _, rows = jax.lax.top_k(left.astype(jnp.float32), step)
            return left.at[rows].set(False), visit(rows, left[rows], total)

        return more

    pieces = jnp.where(few, -(-number // _STEP), 0)
    left, total = jax.lax.fori_loop(0, pieces, some(min(_STEP, n)), (hit, total))
    pieces = jnp.where(few, 0, -(-number // _PIECE))
    return jax.lax.fori_loop(0, pieces, some(min(_PIECE, n)), (left, total))[1]


def _put(ring: Array, row: Array, slot: Array) -> Array:
    return jax.lax.dynamic_update_index_in_dim(ring, row, slot, 0)


def _emptied(ring: Array, slot: Array) -> Array:
    return _put(ring, jnp.zeros_like(ring[0]), slot)


def _row(ring: Array, slot: Array) -> Array:
    return jax.lax.dynamic_index_in_dim(ring, slot % ring.shape[0], keepdims=False)


def _many(hit: Array) -> Int[Array, ""]:
    """How many neurons fired, at most in a batch."""
    return jnp.max(jnp.sum(hit, -1, dtype=jnp.int32))


def _advanced(ring, y, u, delay, offset, targets, hit, slot, *, order: int, dt0: float):
    """The ring without the cell that ends, and with what the rows that were hit add to it; and what
    arrives in the next cell."""
    number = _many(hit)

    def one(ring, y, u, delay, offset, targets, hit, slot):
        slots, size, _ = ring.shape
        ring = _emptied(ring, slot)

        def visit(rows, there, flat):
            later, r = _arrivals(delay[rows], offset[rows][:, None], dt0)
            at = (slot + later) % slots * size + jnp.maximum(targets[rows], 0)
            amount = jnp.where(there, y[rows], 0)[:, None] * u[rows]
            amount = jnp.where(targets[rows] >= 0, amount, 0)
            values = amount[..., None] * factors(order, r)
            return flat.at[at].add(values, mode="promise_in_bounds")

        ring = _over_fired(number, hit, visit, ring.reshape(slots * size, 3)).reshape(ring.shape)
        return ring, _row(ring, slot + 1)

    return of_samples(one, (ring, y, u, delay, offset, targets, hit, slot), (3, *_RANKS))


def _placed(ring, now, slot):
    """The derivative in the ring before, by that in the ring and in what was read of it."""
    ring = _emptied(ring, slot)
    return _put(ring, _row(ring, slot + 1) + now, (slot + 1) % ring.shape[0])


def _read(ring, delay, offset, targets, slot, order: int, dt0: float):
    """The derivative in what each synapse adds."""
    slots, size, _ = ring.shape
    later, r = _arrivals(delay, offset[:, None], dt0)
    at = (slot + later) % slots * size + jnp.maximum(targets, 0)
    flat = ring.reshape(slots * size, 3)
    read = flat.at[at].get(mode="promise_in_bounds")
    read = jnp.where((targets >= 0)[..., None], read, 0)
    return jnp.sum(read * factors(order, r), -1)


def _receded(ring, now, u, delay, offset, targets, hit, slot, *, order: int, dt0: float):
    """The transpose of `_advanced` in the ring and in y."""
    number = _many(hit)

    def one(ring, now, u, delay, offset, targets, hit, slot):
        ring = _placed(ring, now, slot)

        def visit(rows, there, total):
            own = _read(ring, delay[rows], offset[rows], targets[rows], slot, order, dt0)
            own = jnp.where(there, jnp.sum(u[rows] * own, -1), 0)
            return total.at[rows].add(own)

        return ring, _over_fired(number, hit, visit, jnp.zeros_like(offset))

    return of_samples(one, (ring, now, u, delay, offset, targets, hit, slot), (3, 2, *_RANKS[1:]))


def _in_values(ring, now, y, delay, offset, targets, hit, slot, *, order: int, dt0: float):
    """The transpose of `_advanced` in u: of all rows."""

    def one(ring, now, y, delay, offset, targets, hit, slot):
        ring = _placed(ring, now, slot)
        own = _read(ring, delay, offset, targets, slot, order, dt0)
        return (jnp.where(hit, y, 0)[:, None] * own,)

    operands, ranks = (ring, now, y, delay, offset, targets, hit, slot), (3, 2, 1, *_RANKS[2:])
    return of_samples(one, operands, ranks)[0]


# The numbers of axes of one sample: y, u, delay, offset, targets, hit and slot.
_RANKS = (1, 2, 2, 1, 2, 1, 0)


def _landing(neuron: Visited, shape, delay, offset, targets, slot, dt0: float):
    """Where what a neuron sends is added, in the rings of all samples as one list of a shape, how
    much is left of the cell then, and which synapses there are."""
    slots, size, _ = shape
    later, r = _arrivals(neuron.row(delay, 2), neuron.row(offset, 1), dt0)
    cell = (slot.reshape(-1)[neuron.sample(slot, 0)] + later) % slots
    own = neuron.row(targets, 2)
    return (neuron.s * slots + cell) * size + jnp.maximum(own, 0), r, own >= 0


def _advanced_in_turn(ring, y, u, delay, offset, targets, hit, slot, *, order: int, dt0: float):
    """The same for a CPU: in the rings of all samples, one row after the other."""
    lead = lead_of((ring, y, u, delay, offset, targets, hit, slot), (3, *_RANKS))
    shape = ring.shape[-3:]
    ring = jnp.broadcast_to(ring, (*lead, *shape))
    ring = of_samples(_emptied, (ring, slot), (3, 0))

    def visit(neuron, flat):
        at, r, there = _landing(neuron, shape, delay, offset, targets, slot, dt0)
        amount = jnp.where(there, neuron.row(y, 1) * neuron.row(u, 2), 0)
        values = amount[:, None] * factors(order, r)
        return flat.at[at].add(values, mode="promise_in_bounds")

    ring = in_turn(lead, hit, visit, ring.reshape(-1, 3)).reshape(ring.shape)
    return ring, of_samples(lambda ring, slot: _row(ring, slot + 1), (ring, slot), (3, 0))


def _receded_in_turn(ring, now, u, delay, offset, targets, hit, slot, *, order: int, dt0: float):
    """`_receded` in the same way."""
    lead = lead_of((ring, now, u, delay, offset, targets, hit, slot), (3, 2, *_RANKS[1:]))
    shape = ring.shape[-3:]
    ring, now = (
        jnp.broadcast_to(x, (*lead, *like)) for x, like in ((ring, shape), (now, shape[1:]))
    )
    ring = of_samples(_placed, (ring, now, slot), (3, 2, 0))
    flat = ring.reshape(-1, 3)

    def visit(neuron, total):
        at, r, there = _landing(neuron, shape, delay, offset, targets, slot, dt0)
        read = jnp.where(there[:, None], flat.at[at].get(mode="promise_in_bounds"), 0)
        own = jnp.sum(read * factors(order, r), -1)
        return total.at[neuron.number].set(jnp.sum(neuron.row(u, 2) * own))

    n = hit.shape[-1]
    total = in_turn(lead, hit, visit, jnp.zeros(math.prod(lead) * n, u.dtype))
    return ring, total.reshape(*lead, n)


_advance, _recede = (
    primitive(name, run, ("order", "dt0"), on_cpu)
    for name, run, on_cpu in (
        ("advance_ring", _advanced, _advanced_in_turn),
        ("recede_ring", _receded, _receded_in_turn),
    )
)


def _advance_jvp(primals, tangents, *, order, dt0):
    ring, y, u, delay, offset, *rest = primals
    d_ring, dy, du, d_delay, d_offset = tangents[:5]
    there = lambda x: type(x) is not ad.Zero
    terms = []
    if there(d_offset):
        terms.append((y * d_offset, u, order + 1))
    if there(dy):
        terms.append((dy, u, order))
    if there(du):
        terms.append((y, du, order))
    if there(d_delay):
        terms.append((y, u * d_delay, order + 1))
    terms = terms or [(jnp.zeros_like(y), u, order)]
    total, moved = None, ad.instantiate_zeros(d_ring)
    for one, values, n in terms:
        found = _advance.bind(moved, one, values, delay, offset, *rest, order=n, dt0=dt0)
        total = found if total is None else [a + b for a, b in zip(total, found, strict=True)]
        # The others have a ring of their own.
        moved = jnp.zeros_like(ring)
    return _advance.bind(*primals, order=order, dt0=dt0), total


def _recede_jvp(primals, tangents, *, order, dt0):
    ring, now, u, *rest = primals
    d_ring, d_now, du, d_delay, d_offset = tangents[:5]
    there = lambda x: type(x) is not ad.Zero
    moved = [ad.instantiate_zeros(x) for x in (d_ring, d_now)]
    out, total = _recede.bind(*moved, u, *rest, order=order, dt0=dt0)
    own = lambda u, n: _recede.bind(ring, now, u, *rest, order=n, dt0=dt0)[1]
    if there(du):
        total = total + own(du, order)
    if there(d_delay):
        total = total + own(u * d_delay, order + 1)
    if there(d_offset):
        total = total + own(u, order + 1) * d_offset
    return _recede.bind(*primals, order=order, dt0=dt0), [out, total]


def _advance_transpose(cts, ring, y, u, *rest, **static):
    cts = [ad.instantiate_zeros(x) for x in cts]
    nothing = [None] * len(rest)
    if ad.is_undefined_primal(u):
        ct_ring, ct_now = cts
        one = summed(_in_values(ct_ring, ct_now, y, *rest, **static), u)
        through = None
        if ad.is_undefined_primal(ring):
            zero = jnp.zeros(u.aval.shape, u.aval.dtype)
            through = summed(_recede.bind(*cts, zero, *rest, **static)[0], ring)
        return through, None, one, *nothing
    through, own = _recede.bind(*cts, u, *rest, **static)
    through = summed(through, ring) if ad.is_undefined_primal(ring) else None
    return through, summed(own, y) if ad.is_undefined_primal(y) else None, None, *nothing


def _recede_transpose(cts, ring, now, u, *rest, **static):
    out, y = map(ad.instantiate_zeros, cts)
    nothing = [None] * len(rest)
    if ad.is_undefined_primal(u):
        return None, None, summed(_in_values(ring, now, y, *rest, **static), u), *nothing
    through, read = _advance.bind(out, y, u, *rest, **static)
    through = summed(through, ring) if ad.is_undefined_primal(ring) else None
    return through, summed(read, now) if ad.is_undefined_primal(now) else None, None, *nothing


ad.primitive_jvps[_advance] = _advance_jvp
ad.primitive_jvps[_recede] = _recede_jvp
ad.primitive_transposes[_advance] = _advance_transpose
ad.primitive_transposes[_recede] = _recede_transpose
