"""An exponential step for networks of linear neurons and synapses with noise."""

from collections.abc import Callable
from typing import Any, ClassVar

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._misc import at_least
from .._model.layout import Layout
from .._model.state import NetworkState, PopulationState
from .._solve.localise import combined_rate
from .cell_parts import Line, NeuronCell, PortCell, filled
from .fresh_step import AbstractFreshStep
from .group_cell import STRETCH
from .linear import Matrices, assembled, components, matrices_of, state_shapes
from .phis import Entry, Vector, plus, scaled


class LinearGroups(eqx.Module):
    """The groups of a network and their equations."""

    layout: Layout
    matrices: tuple[Matrices, ...]
    # Whether the noise changes within a step.
    bent: bool = eqx.field(static=True)

    @classmethod
    def of(cls, layout: Layout, dtype: Any, *, bent: bool) -> "LinearGroups":
        """Those of a layout."""
        matrices = tuple(matrices_of(group, dtype) for group in layout.groups)
        return cls(layout, matrices, bent)

    def moved(
        self, y: NetworkState, force: NetworkState, change: NetworkState, length: Array
    ) -> NetworkState:
        """The neurons and ports after a time, under a forcing that begins with `force` and changes
        by `change`; the hidden states stay."""
        found = [
            self._moved(n, y.groups[n], force.groups[n], change.groups[n], length)
            for n in range(len(self.matrices))
        ]
        return y.moved(found, length)

    def _moved(
        self,
        n: int,
        y: PopulationState,
        force: PopulationState,
        change: PopulationState,
        length: Array,
    ) -> PopulationState:
        group, m = self.layout.groups[n], self.matrices[n]
        line, ports = Line(None, None), {}
        for name, equations in m.ports.items():
            g = components(y.ports[name])
            none: Vector = [None] * len(g)
            noise = components(force.ports[name])
            bent = components(change.ports[name]) if self.bent else none
            end, current = PortCell.of(equations, length, self.bent)(g, noise, bent)
            line = line.plus(current)
            ports[name] = assembled(state_shapes(group.ports[name], g[0].dtype), filled(end, g))
        x = components(y.neuron)
        # The forcing holds what the drift is at 0.
        cell = NeuronCell.of(m.neuron, length)
        cell = eqx.tree_at(lambda c: c.shift, cell, [None] * len(x))
        _, _, end = cell.moved(x, line, components(force.neuron), components(change.neuron))
        neuron = assembled(state_shapes(group.neuron, x[0].dtype), filled(end, x))
        return PopulationState(neuron, ports, y.s)

    def bends(self, change: NetworkState) -> list[Array | None]:
        """How the slope of the potentials changes by the forcing."""
        found = []
        for m, one in zip(self.matrices, change.groups, strict=True):
            row = [m.neuron.row[..., k] for k in range(len(m.neuron.reads))]
            terms = zip(row, components(one.neuron), m.neuron.reads, strict=True)
            found.append(plus(*(a * b for a, b, reads in terms if reads)))
        return found


class _Dense(dfx.AbstractLocalInterpolation):
    """The solution inside a step; at the step's end it is the step."""

    t0: Any
    t1: Any
    groups: LinearGroups
    y0: NetworkState
    force: NetworkState
    change: NetworkState
    # The hazards at the start, how they rise to the end or, with a kink in the middle, as if there
    # were none, and that kink times the length.
    hazards: tuple[Float[Array, " neurons"] | None, ...]
    rises: tuple[Float[Array, " neurons"] | None, ...]
    kinks: tuple[Float[Array, " neurons"] | None, ...]

    def _at(self, t):
        length, r = self.t1 - self.t0, t - self.t0
        theta = r / jnp.where(length > 0, length, 1)
        change = jax.tree.map(lambda d: d * theta, self.change)
        y = self.groups.moved(self.y0, self.force, change, r)
        groups = []
        for one, hazard, rise, kink in zip(
            y.groups, self.hazards, self.rises, self.kinks, strict=True
        ):
            s = one.s
            if s is not None:
                s = s + r * (hazard + rise * (theta / 2))
                if kink is not None:
                    s = s + length * kink * at_least(theta - 0.5, 0) ** 2 / 2
            groups.append(PopulationState(one.neuron, one.ports, s))
        return y.with_groups(groups)

    def evaluate(self, t0, t1=None, left=True):
        del left
        if t1 is None:
            return self._at(t0)
        return jax.tree.map(jnp.subtract, self._at(t1), self._at(t0))


def _hazards(rates: NetworkState) -> list[Entry]:
    return [one.s for one in rates.groups]


def _differences(a: Vector, b: Vector) -> list[Entry]:
    return [None if x is None or y is None else x - y for x, y in zip(a, b, strict=True)]


def _risen(s: Entry, length: Array, hazard: Entry, rise: Entry, kink: Entry) -> Entry:
    """The hidden state at the end of a step."""
    if s is None or hazard is None or rise is None:
        return s
    s = s + length * (hazard + rise / 2)
    return s if kink is None else s + length * kink / 8


class ExponentialTrapezoid(AbstractFreshStep):
    r"""An exponential trapezoidal rule: ports, then neurons, then hidden states.

    Ports and neurons obey linear equations with a forcing that is taken as linear in time: exact
    for the decay, for a constant or linear input, and for the chord and the parabola of a Brownian
    path, up to the fourth order in which neurons see the current of a port as a straight line (see
    `cell_parts`). For the hazard it is the trapezoidal rule, whose nodes have the right
    distribution, so that the unresolved noise inside a cell does not bias the mean hazard. Order
    two, weak order two, one evaluation of the intensity per step end. (See Hochbruck & Ostermann,
    *Exponential integrators*, Acta Numerica 19 (2010).)

    Where the noise is bent the hazard is linear on each half of a step, with a third node on the
    parabola of the Brownian motion, stretched so that it, too, has the right distribution: single
    paths are closer to their limit, at the same weak order.
    """

    groups: LinearGroups

    interpolation_cls: ClassVar[Callable[..., _Dense]] = _Dense

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        """One step, see the class."""
        del solver_state, made_jump
        rate = combined_rate(terms)
        assert rate is not None
        zero, length = jax.tree.map(jnp.zeros_like, y0), jnp.asarray(t1 - t0)
        force = rate(t0, zero, args)
        change = jax.tree.map(jnp.subtract, rate(t1, zero, args), force)
        y1 = self.groups.moved(y0, force, change, length)
        hazards = _hazards(rate(t0, y0, args))
        rises = _differences(_hazards(rate(t1, y1, args)), hazards)
        kinks: Vector = [None] * len(rises)
        if self.groups.bent:
            middle = self._middle(y0, force, change, length)
            there = _hazards(rate(t0 + length / 2, middle, args))
            whole, rises = rises, scaled(_differences(there, hazards), 2.0)
            kinks = scaled(_differences(whole, rises), 2.0)
        info: dict[str, Any] = dict(groups=self.groups, y0=y0, force=force, change=change)
        info |= dict(hazards=tuple(hazards), rises=tuple(rises), kinks=tuple(kinks))
        groups = [
            PopulationState(
                one.neuron, one.ports, _risen(one.s, length, hazards[n], rises[n], kinks[n])
            )
            for n, one in enumerate(y1.groups)
        ]
        return y1.with_groups(groups), None, info, None, dfx.RESULTS.successful

    def _middle(self, y0: NetworkState, force: NetworkState, change: NetworkState, length: Array):
        """The state in the middle, with potentials of the right distribution."""
        half = jax.tree.map(lambda d: d / 2, change)
        y = self.groups.moved(y0, force, half, length / 2)
        groups = []
        for m, one, bend in zip(
            self.groups.matrices, y.groups, self.groups.bends(change), strict=True
        ):
            x = components(one.neuron)
            if bend is not None and any(m.neuron.reads):
                # Where the potential is read from one number, that one moves.
                k = m.neuron.reads.index(True)
                x[k] = x[k] - STRETCH * length * bend / m.neuron.row[..., k]
            like = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), one.neuron)
            groups.append(PopulationState(assembled(like, x), one.ports, one.s))
        return y.with_groups(groups)
