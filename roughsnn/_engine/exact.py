r"""Steps on the exact motion of linear neurons and synapses, where there is no noise.

Neurons and ports move by the maps of `joint.py`. For the hidden states the hazard is read on the
exact potential at four nodes of Gauss and Legendre: $s(r) = s(0) + \int_0^r\lambda$ is the integral
of the cubic through them, so s at the end of a step is of order eight in its length, and inside of
it, where it crosses 0, of order five.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._model.layout import Layout
from .._model.state import NetworkState, PopulationState
from .._solve.localise import combined_rate
from .._types import RealScalar
from .fresh_step import AbstractFreshStep
from .joint import Joint
from .linear import assembled, components, state_shapes
from .phis import Vector

_NODES = (np.polynomial.legendre.leggauss(4)[0] + 1) / 2


class Motion(dfx.AbstractLocalInterpolation):
    """The solution inside a step."""

    t0: Any
    t1: Any
    layout: Layout
    joints: tuple[Joint, ...]
    y0: NetworkState
    # The components of each group, the forcing at the start and its slope.
    z: tuple[list[Array], ...]
    force: tuple[Vector, ...]
    turn: tuple[Vector | None, ...]
    # The mean hazards up to a fraction of the step, as polynomials of that.
    hidden: tuple[list[Array] | None, ...]

    @property
    def length(self) -> Array:
        """The length of the step."""
        return self.t1 - self.t0

    def at(self, r: RealScalar) -> NetworkState:
        """The state after a time r."""
        groups = []
        theta: Any = r / jnp.where(self.length > 0, self.length, 1)
        moved = jax.checkpoint(Joint.moved)
        for n, (group, y) in enumerate(zip(self.layout.groups, self.y0.groups, strict=True)):
            z = moved(self.joints[n], self.z[n], self.force[n], self.turn[n], r)
            like = lambda part, z=z: state_shapes(part, z[0].dtype)
            own, ports = len(components(y.neuron)), {}
            neuron, rest = assembled(like(group.neuron), z[:own]), z[own:]
            for name, port in group.ports.items():
                number = len(components(y.ports[name]))
                ports[name], rest = assembled(like(port), rest[:number]), rest[number:]
            hidden = self.hidden[n]
            s = y.s if hidden is None or y.s is None else y.s + r * _summed(hidden, theta)
            groups.append(PopulationState(neuron, ports, s))
        return self.y0.moved(groups, jnp.asarray(r))

    def evaluate(self, t0, t1=None, left=True):
        del left
        since = lambda t: self.at(t - self.t0)
        return since(t0) if t1 is None else jax.tree.map(jnp.subtract, since(t1), since(t0))


def _summed(terms: list[Array], theta: Array) -> Array:
    """The value of a polynomial."""
    value = terms[-1]
    for c in reversed(terms[:-1]):
        value = value * theta + c
    return value


class ExactStep(AbstractFreshStep):
    """Exact for linear neurons and synapses without noise, see the top of this file; a drive that
    is no straight line in a step is read at its ends, which is of order two."""

    layout: Layout
    joints: tuple[Joint, ...]
    # Whether the drive may change within a step.
    bent: bool = eqx.field(static=True)

    interpolation_cls: ClassVar[Callable[..., Motion]] = Motion

    @classmethod
    def of(cls, layout: Layout, dtype: Any, *, bent: bool) -> "ExactStep":
        """That of a layout of linear groups."""
        return cls(layout, tuple(Joint.of(group, dtype) for group in layout.groups), bent)

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        """One step, see the class."""
        del solver_state, made_jump
        rate = combined_rate(terms)
        assert rate is not None
        still, length = jax.tree.map(jnp.zeros_like, y0), t1 - t0
        starts = rate(t0, still, args).groups
        ends = rate(t1, still, args).groups if self.bent else starts
        every, forces, turns = [], [], []
        for y, start, end in zip(y0.groups, starts, ends, strict=True):
            ports = [x for g in y.ports.values() for x in components(g)]
            none: Vector = [None] * len(ports)
            force, turn = components(start.neuron), None
            if self.bent:
                by = jnp.where(length > 0, length, 1)
                both = zip(force, components(end.neuron), strict=True)
                turn = [*((b - a) / by for a, b in both), *none]
            every.append([*components(y.neuron), *ports])
            forces.append([*force, *none])
            turns.append(turn)
        info: dict[str, Any] = dict(layout=self.layout, joints=self.joints, y0=y0)
        info |= dict(z=tuple(every), force=tuple(forces), turn=tuple(turns))
        info["hidden"] = (None,) * len(every)
        if any(y.s is not None for y in y0.groups):
            info["hidden"] = _hidden(Motion(t0=t0, t1=t1, **info), rate, args)
        y1 = Motion(t0=t0, t1=t1, **info).at(length)
        return y1, None, info, None, dfx.RESULTS.successful


def _hidden(motion: Motion, rate: Callable, args: Any) -> tuple[list[Array] | None, ...]:
    """The terms of the mean hazards."""
    length = motion.length
    integrals = np.linalg.inv(np.vander(_NODES, increasing=True)) / np.arange(1, 5)[:, None]

    @jax.checkpoint
    def read(x):
        return [y.s for y in rate(motion.t0 + x * length, motion.at(x * length), args).groups]

    found = []
    hazards = jax.vmap(read)(jnp.asarray(_NODES, length.dtype))
    for y, hazard in zip(motion.y0.groups, hazards, strict=True):
        if y.s is None:
            found.append(None)
            continue
        found.append([sum(float(a) * hazard[j] for j, a in enumerate(row)) for row in integrals])
    return tuple(found)
