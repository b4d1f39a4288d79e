"""An exponential step for networks of linear neurons and synapses with noise."""

from collections.abc import Callable
from typing import Any, ClassVar

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._model.layout import Layout
from .._model.state import NetworkState, PopulationState
from .._path.base import AbstractGridPath
from .._solve.localise import combined_rate
from .cell_hazard import CellHazard, ellipse
from .cell_parts import Line, NeuronCell, PortCell, apart_of, filled
from .fresh_step import AbstractFreshStep
from .linear import Matrices, assembled, components, matrices_of, state_shapes
from .phis import Entry, Vector, plus, times


class LinearGroups(eqx.Module):
    """The groups of a network and their equations."""

    layout: Layout
    matrices: tuple[Matrices, ...]
    # The length of a cell, whether the noise changes within one, and how rough it is.
    dt: float = eqx.field(static=True)
    bent: bool = eqx.field(static=True)
    hurst: float = eqx.field(static=True)

    @classmethod
    def of(cls, layout: Layout, path: AbstractGridPath, dtype: Any) -> "LinearGroups":
        """Those of a layout, under noise of its path."""
        matrices = tuple(matrices_of(group, dtype) for group in layout.groups)
        bent = path.arrays()[1] is not None
        return cls(layout, matrices, path.dt, bent, path.hurst)

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
        _, end = cell.moved(x, line, components(force.neuron), components(change.neuron))
        neuron = assembled(state_shapes(group.neuron, x[0].dtype), filled(end, x))
        return PopulationState(neuron, ports, y.s)

    def apart(self, noise: NetworkState, change: NetworkState) -> list[Entry]:
        """How far apart noise of these slopes lets potentials be in the middle of a cell, see
        `apart_of`."""
        found = []
        for m, *slopes in zip(self.matrices, noise.groups, change.groups, strict=True):
            row = [m.neuron.row[..., k] for k in range(len(m.neuron.reads))]

            def read(one: PopulationState, m=m, row=row) -> Entry:
                values = zip(row, components(one.neuron), m.neuron.reads, strict=True)
                return plus(*(times(a, b) for a, b, reads in values if reads))

            start, bent = map(read, slopes)
            found.append(apart_of(start, bent if self.bent else None, self.dt, self.hurst))
        return found


class _Dense(dfx.AbstractLocalInterpolation):
    """The solution inside a step; at the step's end it is the step."""

    t0: Any
    t1: Any
    groups: LinearGroups
    y0: NetworkState
    force: NetworkState
    change: NetworkState
    hazards: tuple[CellHazard | None, ...]

    def _at(self, t):
        length, r = self.t1 - self.t0, t - self.t0
        theta = r / jnp.where(length > 0, length, 1)
        change = jax.tree.map(lambda d: d * theta, self.change)
        y = self.groups.moved(self.y0, self.force, change, r)
        groups = []
        for one, hazard in zip(y.groups, self.hazards, strict=True):
            s = one.s
            if s is not None and hazard is not None:
                s = s + hazard.until(r)
            groups.append(PopulationState(one.neuron, one.ports, s))
        return y.with_groups(groups)

    def evaluate(self, t0, t1=None, left=True):
        del left
        if t1 is None:
            return self._at(t0)
        return jax.tree.map(jnp.subtract, self._at(t1), self._at(t0))


class ExponentialStep(AbstractFreshStep):
    r"""An exponential rule: ports, then neurons, then hidden states.

    Ports and neurons obey linear equations with a forcing that is taken as linear in time: exact
    for the decay, for a constant or linear input, and for the chord and the parabola of a Brownian
    path, up to the fourth order in which neurons see the current of a port as a straight line (see
    `cell_parts`). For the hazard it is Simpson's rule, see `cell_hazard`, whose nodes see the
    variance of the potential, so that the unresolved noise inside a cell does not bias the mean
    hazard. Order two, weak order two. (See Hochbruck & Ostermann, *Exponential integrators*, Acta
    Numerica 19 (2010).)
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
        half = jax.tree.map(lambda d: d / 2, change)
        middle = self.groups.moved(y0, force, half, length / 2)
        apart = self._apart(terms, zero, args)

        def read(t, y):
            ends = [self._moved(y, apart, by * ellipse(t, self.groups.dt)) for by in (-1, 1)]
            hazards = ([one.s for one in rate(t, there, args).groups] for there in ends)
            mean: Any = lambda a, b: None if a is None else (a + b) / 2
            return [mean(*each) for each in zip(*hazards, strict=True)]

        rates = read(t0, y0), read(t0 + length / 2, middle), read(t1, y1)
        hazards, groups = [], []
        for one, *nodes in zip(y1.groups, *rates, strict=True):
            s, hazard = one.s, None
            if s is not None:
                hazard = CellHazard(jnp.zeros_like(length), length, *nodes)
                s = s + hazard.total
            hazards.append(hazard)
            groups.append(PopulationState(one.neuron, one.ports, s))
        info: dict[str, Any] = dict(groups=self.groups, y0=y0, force=force, change=change)
        info["hazards"] = tuple(hazards)
        return y1.with_groups(groups), None, info, None, dfx.RESULTS.successful

    def _apart(self, terms: Any, zero: NetworkState, args: Any) -> list[Entry]:
        """How far apart the noise, the second of the terms, lets potentials be in the middle of the
        cell."""
        noise, dt = combined_rate(terms.terms[1]), self.groups.dt
        assert noise is not None
        like = jnp.zeros((), jnp.result_type(*jax.tree.leaves(zero)))
        start, end = noise(like, zero, args), noise(like + dt, zero, args)
        return self.groups.apart(start, jax.tree.map(jnp.subtract, end, start))

    def _moved(self, y: NetworkState, apart: list[Entry], by: Array) -> NetworkState:
        """The state with potentials moved by so many times what they are apart."""
        groups = []
        for m, one, more in zip(self.groups.matrices, y.groups, apart, strict=True):
            x = components(one.neuron)
            if more is not None and any(m.neuron.reads):
                # Where the potential is read from one number, that one moves.
                k = m.neuron.reads.index(True)
                x[k] = x[k] + more * by / m.neuron.row[..., k]
            like = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), one.neuron)
            groups.append(PopulationState(assembled(like, x), one.ports, one.s))
        return y.with_groups(groups)
