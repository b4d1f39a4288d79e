"""Products with the rows of weights of the few neurons that fired.

`spread` sums rows of weights, `collect` is its transpose. Which rows there are is only known at run
time, so both choose among programs for few rows and for many. They are primitives, so that their
derivatives choose again: those of a `cond` would keep what was read, and copy all weights.
"""

import functools as ft
from typing import TypeGuard

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Bool, Float

from .._misc import einsum, matmul
from .._model.connectivity import SparseWeights
from .._model.links import Weights

# Up to so many neurons a product with all rows is quicker than finding those that fired.
_FEW = 64


def is_small(weights: Weights) -> TypeGuard[Array]:
    """Whether products with all rows are the quickest."""
    return not isinstance(weights, SparseWeights) and weights.shape[0] <= _FEW


def spread(
    weights: Weights, hit: Bool[Array, " sources"], x: Float[Array, "kinds sources"]
) -> Float[Array, "kinds targets"]:
    r"""$\sum_k x_{ck} w_{kt}$ for each kind c and target t, over the neurons k that were hit.

    Lists of targets must be `filled`.
    """
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
    return total.at[:, targets].add(values[None] * x[:, :, None])


def _column_sums(values, targets, hit, x, rows, total):
    """`total` and `collect` for the neurons `rows`; for all if that is `None`."""
    of = (lambda z: z) if rows is None else (lambda z: z[rows])
    values, there = of(values), of(hit)
    if targets.size:
        targets = of(targets)
        # One kind after the other: XLA's gathers of several at once are slow.
        found = jnp.stack([jnp.sum(values * x[k][targets], -1) for k in range(x.shape[0])])
    else:
        found = matmul(x, values.T)
    found = jnp.where(there[None], found, 0)
    return total + found if rows is None else total.at[:, rows].add(found)


def _outer(targets, hit, x, y):
    """The derivative in the values of what is linear in x (of neurons) and y (of targets)."""
    x, y = (z.reshape(-1, z.shape[-1]) for z in (jnp.where(hit[..., None, :], x, 0), y))
    if not targets.size:
        return matmul(x.T, y)
    return einsum("cn,cnk->nk", x, y[:, targets])


def _chosen(sums, width, values, targets, hit, x, *, size):
    """With as few rows as there is need for; leading axes of `hit` and `x` are a batch. `width` is
    how many numbers come out, given that of the neurons and of the targets, `size`."""
    n = hit.shape[-1]
    out = width(n, size)
    sizes = [8**k for k in range(2, n.bit_length()) if 8**k < n]
    hits, xs = hit.reshape(-1, n), x.reshape(-1, *x.shape[-2:])
    number = jnp.max(jnp.sum(hits, -1, dtype=jnp.int32), initial=0)

    def each(one):
        if hits.shape[0] != 1:
            return jax.vmap(one)
        # An axis of length 1 makes XLA's gather slow.
        return lambda hits, xs: one(hits[0], xs[0])[None]

    def some(few):
        step = few // 8

        def one(hit, x):
            _, rows = jax.lax.top_k(hit.astype(jnp.float32), few)

            def more(k, total):
                now = jax.lax.dynamic_slice_in_dim(rows, k * step, step)
                return sums(values, targets, hit, x, now, total)

            return jax.lax.fori_loop(0, -(-number // step), more, zero)

        return each(one)

    zero = jnp.zeros((x.shape[-2], out), x.dtype)
    every = each(lambda hit, x: sums(values, targets, hit, x, None, zero))
    level = sum((number > few).astype(jnp.int32) for few in sizes)
    found = jax.lax.switch(level, [*map(some, sizes), every], hits, xs)
    return found.reshape(*x.shape[:-1], out)


def _primitive(name: str, sums, width) -> Primitive:
    """The operation (values, targets, hit, x), linear in values and in x."""
    p = Primitive(name)
    run = ft.partial(_chosen, sums, width)
    p.def_impl(jax.jit(run, static_argnames="size"))

    def abstract(values, targets, hit, x, *, size):
        return x.update(shape=(*x.shape[:-1], width(hit.shape[-1], size)))

    p.def_abstract_eval(abstract)
    mlir.register_lowering(p, mlir.lower_fun(run, multiple_results=False))

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
        values, targets, hit, x = operands
        samples = next(z.shape[d] for z, d in zip(operands, dims, strict=True) if d is not None)
        if dims[0] is None and dims[1] is None:
            front = lambda z, d: (
                jnp.broadcast_to(z[None], (samples, *z.shape))
                if d is None
                else jnp.moveaxis(z, d, 0)
            )
            hits, xs = front(hit, dims[2]), front(x, dims[3])
            return p.bind(values, targets, hits, xs, size=size), 0
        # Weights of its own for each sample: with all rows.
        neurons = [n for axis, n in enumerate(hit.shape) if axis != dims[2]][-1]
        out = width(neurons, size)

        def plain(v, t, h, x):
            return sums(v, t, h, x, None, jnp.zeros((x.shape[-2], out), x.dtype))

        for _ in range(hit.ndim - 1 - (dims[2] is not None)):
            plain = jax.vmap(plain, (None, None, 0, 0))
        return jax.vmap(plain, dims)(*operands), 0

    ad.primitive_jvps[p] = jvp
    batching.primitive_batchers[p] = batch
    return p


_spread = _primitive("spread", _row_sums, lambda neurons, targets: targets)
_collect = _primitive("collect", _column_sums, lambda neurons, targets: neurons)


def _transposed(other: Primitive, swap: bool):
    def transpose(ct, values, targets, hit, x, *, size):
        if type(ct) is ad.Zero:
            return None, None, None, None
        if isinstance(values, ad.UndefinedPrimal):
            of_neurons, of_targets = (ct, x) if swap else (x, ct)
            return _outer(targets, hit, of_neurons, of_targets), None, None, None
        return None, None, None, other.bind(values, targets, hit, ct, size=size)

    return transpose


ad.primitive_transposes[_spread] = _transposed(_collect, False)
ad.primitive_transposes[_collect] = _transposed(_spread, True)
