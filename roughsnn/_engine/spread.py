"""Products with the rows of weights of the few neurons that fired.

`spread` sums rows of weights, `collect` is its transpose. Which rows there are is only known at run
time, so both choose among programs for few rows and for many. They are primitives, so that their
derivatives choose again: those of a `cond` would keep what was read, and copy all weights.
"""

import functools as ft
import math
from typing import TypeGuard

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching
from jaxtyping import Array, Bool, Float

from .._misc import einsum, matmul
from .._model.connectivity import SparseWeights, at_targets, onto_targets
from .._model.links import Weights
from .in_turn import in_turn, lead_of
from .samples import in_front, lowered, of_samples, summed

# The numbers of axes of one sample: values, targets, hit, x.
_RANKS = (2, 2, 1, 2)
# Up to so many neurons a product with all rows is quicker than finding those that fired.
_FEW = 64
# On a CPU this part of the rows of a matrix takes as long one by one as all of them at once.
_PART = 0.25
# Of lists so many synapses are looked at at once.
_AT_ONCE = 2**16


def is_small(weights: Weights) -> TypeGuard[Array]:
    """Whether products with all rows are the quickest."""
    return not isinstance(weights, SparseWeights) and weights.shape[0] <= _FEW


def spread(
    weights: Weights, hit: Bool[Array, " sources"], x: Float[Array, "kinds sources"]
) -> Float[Array, "kinds targets"]:
    r"""$\sum_k x_{ck} w_{kt}$ for each kind c and target t, over the neurons k that were hit."""
    if isinstance(weights, SparseWeights):
        return _spread.bind(weights.values, weights.targets, hit, x, size=weights.size)
    return _spread.bind(weights, jnp.zeros((0, 0), jnp.int32), hit, x, size=weights.shape[1])


def _row_sums(values, targets, hit, x, rows, total):
    """`total` and `spread` of the neurons `rows`; of all if that is `None`."""
    x = jnp.where(hit[None], x, 0)
    if rows is not None:
        values, x = values[rows], x[:, rows]
    if not targets.size:
        return total + matmul(x, values)
    targets = targets if rows is None else targets[rows]
    return onto_targets(total, (slice(None), targets), values[None] * x[:, :, None])


def _column_sums(values, targets, hit, x, rows, total):
    """`total` and `collect` for the neurons `rows`; for all if that is `None`."""
    of = (lambda z: z) if rows is None else (lambda z: z[rows])
    values, there = of(values), of(hit)
    if targets.size:
        targets = of(targets)
        # One kind after the other: XLA's gathers of several at once are slow.
        found = jnp.stack(
            [jnp.sum(values * at_targets(x[k], targets), -1) for k in range(x.shape[0])]
        )
    else:
        found = matmul(x, values.T)
    found = jnp.where(there[None], found, 0)
    return total + found if rows is None else total.at[:, rows].add(found)


def _outer(shape, targets, hit, x, y):
    """The derivative in values of a shape of what is linear in x (of neurons) and y (of targets):
    summed over samples that share the values, without an array for each of them."""
    x = jnp.where(hit[..., None, :], x, 0)
    lead = jnp.broadcast_shapes(x.shape[:-1], y.shape[:-1])
    x, y = (jnp.broadcast_to(z, (*lead, z.shape[-1])) for z in (x, y))

    def one(shape, targets, x, y):
        if x.ndim > 2 and shape[0] == 1:
            # As many more kinds.
            merged = (jnp.moveaxis(z, 0, -3) for z in (x, y))
            x, y = (z.reshape(*z.shape[:-3], -1, z.shape[-1]) for z in merged)
            return one(shape[1:], targets[0], x, y)[None]
        if x.ndim > 2:
            axes = 0 if targets.shape[0] > 1 else None
            targets = targets if axes == 0 else targets[0]
            inner = lambda t, x, y: one(shape[1:], t, x, y)
            return jax.vmap(inner, (axes, 0, 0))(targets, x, y)
        if not targets.size:
            return matmul(x.T, y)
        return einsum("cn,cnk->nk", x, at_targets(y, (slice(None), targets)))

    return one(shape, targets, x, y)


def _chosen(sums, width, values, targets, hit, x, *, size):
    """With as few rows as there is need for. `width` is how many numbers come out, given that of
    the neurons and of the targets, `size`."""
    n = hit.shape[-1]
    zero = jnp.zeros((x.shape[-2], width(n, size)), x.dtype)
    sizes = [8**k for k in range(2, n.bit_length()) if 8**k < n]
    number = jnp.max(jnp.sum(hit, -1, dtype=jnp.int32), initial=0)

    def some(few):
        step = few // 8

        def one(values, targets, hit, x):
            _, rows = jax.lax.top_k(hit.astype(jnp.float32), few)

            def more(k, total):
                now = jax.lax.dynamic_slice_in_dim(rows, k * step, step)
                return sums(values, targets, hit, x, now, total)

            return jax.lax.fori_loop(0, -(-number // step), more, zero)

        return one

    def every(values, targets, hit, x):
        if targets.size <= _AT_ONCE:
            return sums(values, targets, hit, x, None, zero)
        # As rarely as neurons fire at once, room for all their synapses would be most of the
        # memory of a simulation.
        step = max(1, _AT_ONCE // targets.shape[-1])
        rows = jnp.arange(step, dtype=jnp.int32)
        more = lambda k, total: sums(values, targets, hit, x, k * step + rows, total)
        total = jax.lax.fori_loop(0, n // step, more, zero)
        rest = jnp.arange(n - n % step, n, dtype=jnp.int32)
        return sums(values, targets, hit, x, rest, total) if rest.size else total

    level = sum((number > few).astype(jnp.int32) for few in sizes)
    branches = [
        lambda *operands, one=one: of_samples(one, operands, _RANKS)
        for one in (*map(some, sizes), every)
    ]
    return jax.lax.switch(level, branches, values, targets, hit, x)


def _in_order(rows, every, values, targets, hit, x, *, size):
    """One row after the other, `rows` of them, for a CPU; `every` at once of matrices, where many
    were hit."""
    operands = values, targets, hit, x
    lead = lead_of(operands, _RANKS)
    some = lambda: rows(lead, *operands, size)
    if targets.size:
        return some()
    whole = lambda: of_samples(lambda *xs: every(*xs, None, 0), operands, _RANKS)
    return jax.lax.cond(jnp.mean(hit, dtype=jnp.float32) > _PART, whole, some)


def _spread_rows(lead, values, targets, hit, x, size):
    """`spread`; the kinds of a target side by side."""
    kinds = x.shape[-2]

    def visit(neuron, total):
        each = neuron.row(values, 2)[:, None] * neuron.column(x, 2)[None]
        if not targets.size:
            return total.at[neuron.s].add(each)
        return onto_targets(total, (neuron.s, neuron.row(targets, 2)), each)

    total = in_turn(lead, hit, visit, jnp.zeros((math.prod(lead), size, kinds), x.dtype))
    return jnp.swapaxes(total, 1, 2).reshape(*lead, kinds, size)


def _collect_rows(lead, values, targets, hit, x, size):
    """`collect`, for neurons that were hit."""
    x = jnp.swapaxes(x, -1, -2)
    total = jnp.zeros((math.prod(lead) * hit.shape[-1], x.shape[-1]), x.dtype)
    of_samples = x.reshape(-1, size, x.shape[-1])

    def visit(neuron, total):
        s = neuron.sample(x, 2)
        read = (
            at_targets(of_samples, (s, neuron.row(targets, 2))) if targets.size else of_samples[s]
        )
        return total.at[neuron.number].set(jnp.sum(neuron.row(values, 2)[:, None] * read, 0))

    total = in_turn(lead, hit, visit, total).reshape(*lead, hit.shape[-1], x.shape[-1])
    return jnp.swapaxes(total, -1, -2)


def _primitive(name: str, sums, rows, width) -> Primitive:
    """The operation (values, targets, hit, x), linear in values and in x; of a batch as `samples`
    has it."""
    p = Primitive(name)
    p.def_impl(jax.jit(p.bind, static_argnames="size"))

    def abstract(values, targets, hit, x, *, size):
        each = zip((values, targets, hit, x), _RANKS, strict=True)
        lead = jnp.broadcast_shapes(*(z.shape[: z.ndim - rank] for z, rank in each))
        return x.update(shape=(*lead, x.shape[-2], width(hit.shape[-1], size)))

    p.def_abstract_eval(abstract)
    lowered(p, ft.partial(_chosen, sums, width), ft.partial(_in_order, rows, sums))

    def jvp(primals, tangents, *, size):
        values, targets, hit, x = primals
        d_values, _, _, dx = tangents
        out = p.bind(values, targets, hit, x, size=size)
        parts = []
        if type(d_values) is not ad.Zero:
            parts.append(p.bind(d_values, targets, hit, x, size=size))
        if type(dx) is not ad.Zero:
            parts.append(p.bind(values, targets, hit, dx, size=size))
        return out, sum(parts[1:], parts[0])

    def batch(operands, dims, *, size):
        return p.bind(*map(in_front, operands, dims), size=size), 0

    ad.primitive_jvps[p] = jvp
    batching.primitive_batchers[p] = batch
    return p


_spread = _primitive("spread", _row_sums, _spread_rows, lambda neurons, targets: targets)
_collect = _primitive("collect", _column_sums, _collect_rows, lambda neurons, targets: neurons)


def _transposed(other: Primitive, swap: bool):
    def transpose(ct, values, targets, hit, x, *, size):
        if type(ct) is ad.Zero:
            return None, None, None, None
        if ad.is_undefined_primal(values):
            of_neurons, of_targets = (ct, x) if swap else (x, ct)
            own = _outer(values.aval.shape, targets, hit, of_neurons, of_targets)
            return own, None, None, None
        own = other.bind(values, targets, hit, ct, size=size)
        return None, None, None, summed(own, x)

    return transpose


ad.primitive_transposes[_spread] = _transposed(_collect, False)
ad.primitive_transposes[_collect] = _transposed(_spread, True)
