r"""The first crossing on the exact motion.

Where a hard threshold is crossed is sought on the Taylor polynomial of the potential (see
`_event/polynomial.py`), on pieces of the step that are short enough for it: up to $1.5/\rho$ with
$\rho$ the spectral radius, where 18 terms leave 2e-14. So the first crossing is found, also that of
a neuron that is below its threshold again at the end of the step. The root of the map itself is
then within rounding, two steps of Newton's away, and has their derivative. A spike has none where
the peak of the potential is above the threshold by no more than rounding. Hidden states are
polynomials on a step.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._event.crossing import AbstractCrossing, Crossing, fires_at_once
from .._event.polynomial import Search, polished, search
from .._misc import at_least, entry, joined, one_hot
from .._model.firing import HardThreshold
from .cell_parts import filled
from .exact import ExactStep, Motion
from .joint import Joint, dot
from .phis import Vector, added, scaled, times

# The degree of the polynomials of the potential, and how far they reach, in units of 1/rho.
DEGREE, REACH = {8: 18, 4: 12}, 1.5


class ExactCrossing(AbstractCrossing):
    """The first crossing on the exact motion: also of a neuron that is below its threshold again at
    the end of the step."""

    # For each group what its polynomials are made of; `None` without a hard threshold.
    reads: tuple[Array | None, ...]
    # Their unit of time.
    unit: float = eqx.field(static=True)

    @classmethod
    def of(cls, solver: ExactStep, unit: float) -> "ExactCrossing":
        """That of a solver whose steps are no longer than `unit`."""
        reads = []
        for group, joint in zip(solver.layout.groups, solver.joints, strict=True):
            hard = isinstance(group.firing, HardThreshold)
            terms = DEGREE[joint.level.dtype.itemsize]
            reads.append(polynomials(joint, unit, terms) if hard else None)
        return cls(tuple(reads), unit)

    def first(self, along, length, e0, e1):
        """See [`roughsnn.AbstractCrossing`][]."""
        motion = getattr(along, "dense", None)
        assert isinstance(motion, Motion)
        fixed = jax.lax.stop_gradient((motion, e0, e1))
        layout, neurons = motion.layout, motion.layout.size
        split = lambda x: layout.split(x[:neurons])
        free = split(_free(fixed[0]))
        each = [
            self._search(n, fixed[0], *ends)
            for n, ends in enumerate(zip(split(fixed[1]), split(fixed[2]), free, strict=True))
        ]
        found, x = [one.found for one in each], [one.x for one in each]
        above, waiting = fires_at_once(e0), motion.y0.waiting
        if waiting is not None:
            # What waits is due at times that are known.
            left = jax.lax.stop_gradient(waiting.left)
            found.append((waiting.used > 0) & (left <= length) & (length > 0))
            x.append(at_least(left / jnp.where(length > 0, length, 1), 0))
            above = above & (jnp.arange(e0.shape[0]) < neurons)
        found, x = joined(found), joined(x)
        candidates = jnp.where(above, 0, jnp.where(found, x, jnp.inf))
        best = jnp.min(candidates)
        numbers = jnp.arange(e0.shape[0], dtype=jnp.int32)
        index = jnp.min(jnp.where(candidates == best, numbers, e0.shape[0] - 1))
        hit, at_once = best < jnp.inf, entry(above, index)
        best, before = jnp.where(hit, best, 0), 0
        offset, slope = jnp.zeros_like(length), jnp.zeros_like(length)
        for n, group in enumerate(motion.layout.groups):
            here = hit & ~at_once & (index >= before) & (index < before + group.size)
            if group.firing is not None:
                k = jnp.clip(index - before, 0, group.size - 1)
                root, speed = jax.checkpoint(_root, static_argnums=(0, 1))(
                    n, self.unit, motion, k, best
                )
                offset, slope = offset + jnp.where(here, root, 0), jnp.where(here, speed, slope)
            before += group.size
        if waiting is not None:
            here = hit & (index >= neurons)
            root = jnp.sum(
                jnp.where(one_hot(index - neurons, e0.shape[0] - neurons), waiting.left, 0)
            )
            offset, slope = offset + jnp.where(here, root, 0), jnp.where(here, 1, slope)
        slope = jax.lax.stop_gradient(jnp.where(at_once, jnp.inf, slope))
        return Crossing(hit, offset, index, slope)

    def _search(self, n: int, motion: Motion, e0: Array, e1: Array, free: Array) -> Search:
        """The first roots in a group, as fractions of the step, of neurons that are `free`; those
        of other neurons may be left open."""
        reads, hidden, group = self.reads[n], motion.hidden[n], motion.layout.groups[n]
        moves = motion.length > 0
        there = free & moves
        if hidden is not None:
            return search(jnp.stack([e0, *(motion.length * x for x in hidden)]), e1, there)
        if reads is None:
            return search(jnp.full((1, group.size), -1.0, e0.dtype), e1, there)
        joint, force, turn, firing = motion.joints[n], motion.force[n], motion.turn[n], group.firing
        assert isinstance(firing, HardThreshold)
        number = jnp.ceil(joint.radius * self.unit / REACH)
        number = jnp.clip(number, 1, 64)
        r = motion.length / number
        ratio = jnp.where(moves, r / self.unit, 1)
        degrees = jnp.arange(1, reads.shape[0] + 1, dtype=e0.dtype)
        powers = jnp.exp(degrees * jnp.log(ratio))[:, None]

        def piece(carry):
            j, z, begin, _ = carry
            now = force if turn is None else added(force, scaled(turn, j * r))
            slope = jnp.stack(filled(joint.slope(z, now), z))
            terms = jnp.sum(reads * slope[None], 1)
            if turn is not None:
                bend = jnp.stack(filled(turn, z)) * self.unit
                later = reads[:-1] / jnp.arange(2, len(reads) + 1, dtype=e0.dtype)[:, None, None]
                terms = terms.at[1:].add(jnp.sum(later * bend[None], 1))
            z = joint.moved(z, now, turn, r)
            value = filled([joint.read(z)], [e1])[0] + (joint.level - firing.threshold)
            end = jnp.where(j + 1 >= number, e1, value)
            found = search(jnp.concatenate([begin[None], terms * powers]), end, there)
            return j + 1, z, end, found._replace(x=(j + found.x) / number)

        start = Search(e0, jnp.zeros(e0.shape, bool), jnp.zeros(e0.shape, bool), jnp.array(0))
        more = lambda carry: (carry[0] < number) & ~jnp.any(carry[3].found)
        return jax.lax.while_loop(more, piece, (jnp.zeros_like(r), motion.z[n], e0, start))[3]


def _free(motion: Motion) -> Bool[Array, " neurons"]:
    """Which neurons are not refractory."""
    layout, waiting = motion.layout, motion.y0.waiting
    if waiting is None or all(group.refractory is None for group in layout.groups):
        return jnp.ones(layout.size, bool)
    return ~waiting.held(layout.size)


def _root(n: int, unit: float, motion: Motion, k: Array, best: Array) -> tuple[Array, Array]:
    """Where neuron k of a group crosses, near a fraction of the step, and dE/dr there, 0 if the
    crossing has no derivative."""
    group, hidden, length = motion.layout.groups[n], motion.hidden[n], motion.length
    of = lambda tree: jax.tree.map(lambda x: x[k] if x.ndim else x, tree)
    if hidden is not None:
        level = of(motion.y0.groups[n].s)
        x, slope = polished(length > 0, jnp.stack([level, *(length * x for x in of(hidden))]), best)
        return x * length, slope / jnp.where(length > 0, length, 1)
    assert isinstance(group.firing, HardThreshold)
    joint, z, force, turn = of((motion.joints[n], motion.z[n], motion.force[n], motion.turn[n]))
    r = jax.lax.stop_gradient(best * length)
    z = joint.moved(z, force, turn, r)
    moved = joint.slope(z, force if turn is None else added(force, scaled(turn, r)))
    none = [None] * len(z)
    bend = joint.slope(filled(moved, z), none if turn is None else turn)
    near = Root.of(joint, of(group.firing.threshold), z, moved, bend, unit)
    root = r + near.step
    root = root + jax.lax.stop_gradient(jnp.clip(root, 0, length) - root)
    return root, jnp.where(near.crosses, near.slope, 0)


class Root(NamedTuple):
    """The root near a state: the step to it, whether it is a crossing that has a derivative, and
    the slope of the potential."""

    step: Array
    crosses: Bool[Array, "..."]
    slope: Array

    @classmethod
    def of(cls, joint: Joint, threshold, z, slopes: Vector, bends: Vector, unit: float) -> "Root":
        """That of a state with these first and second derivatives, in steps of up to `unit`."""
        (like,) = filled([joint.read(z)], [z[0]])
        e = like + (joint.level - threshold)
        slope, bend = (filled([joint.read(x)], [e])[0] for x in (slopes, bends))
        parts = (times(a, x) for a, x in zip(joint.row, z, strict=False))
        sizes = [jnp.abs(x) for x in parts if x is not None]
        scale = jax.lax.stop_gradient(sum(sizes, jnp.abs(joint.level) + jnp.abs(threshold)))
        eps = float(jnp.finfo(e.dtype).eps)
        # The peak is above the threshold by slope^2/(2 |bend|), not by what rounding makes of it.
        rises = (slope > 0) & (slope**2 > 32 * eps * scale * jnp.abs(bend))
        # Two steps of Newton's on the motion from there on: right in second derivatives, too.
        step = jnp.where(rises, -e, 0) / jnp.where(rises, slope, 1)
        # In short steps rounding alone may move the root by more than that.
        crosses = rises & ((jnp.abs(step) < 1e-3 * unit) | (jnp.abs(e) < 256 * eps * scale))
        value, speed = e + step * (slope + step * bend / 2), slope + step * bend
        crosses = crosses & (speed > 0)
        step = step - jnp.where(crosses, value, 0) / jnp.where(crosses, speed, 1)
        return cls(jnp.where(crosses, step, 0), crosses, slope)


def polynomials(joint: Joint, unit: float, terms: int) -> Float[Array, "..."]:
    """What row A^(k - 1) u^k/k!, k = 1, 2, ..., reads of the components: their coefficients in the
    Taylor polynomial of the potential, in units u of time, when z is the slope."""
    now: Vector = [*joint.row, *[None] * (len(joint.matrix) - len(joint.row))]
    columns, found = list(zip(*joint.matrix, strict=True)), []
    shape = np.broadcast_shapes(
        (1,), *(x.shape for row in joint.matrix for x in row if x is not None)
    )
    for k in range(1, terms + 1):
        now = scaled(now, unit / k)
        found.append(
            [
                jnp.zeros(shape, joint.level.dtype) if x is None else jnp.broadcast_to(x, shape)
                for x in now
            ]
        )
        now = [dot(now, column) for column in columns]
    return jax.lax.stop_gradient(jnp.stack([jnp.stack(row) for row in found]))
