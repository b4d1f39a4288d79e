"""A solver whose steps are made in the coordinates of the neurons."""

from collections.abc import Callable
from typing import Any, ClassVar

import diffrax as dfx
import equinox as eqx
import jax
from jaxtyping import PyTree

from .._model.layout import Layout
from .._model.state import NetworkState
from .._solve.localise import combined_rate
from .._solve.setup import differentiable
from .coordinate import Coordinate
from .fresh_step import AbstractFreshStep
from .linear import assembled, components, state_shapes


class Coordinates(eqx.Module):
    """Those of all groups; `None` where steps are made in the state itself."""

    layout: Layout
    of_groups: tuple[Coordinate | None, ...]

    @classmethod
    def of(cls, layout: Layout, dtype: Any) -> "Coordinates | None":
        """Those of a layout, if there are any."""
        found = tuple(Coordinate.of(group, dtype) for group in layout.groups)
        return None if all(one is None for one in found) else cls(layout, found)

    def _changed(self, y: NetworkState, change: Callable) -> NetworkState:
        """With `change(coordinate, x)` for the potentials x."""
        groups = []
        for group, one, own in zip(self.layout.groups, y.groups, self.of_groups, strict=True):
            if own is not None:
                x = components(one.neuron)
                x[own.index] = change(own, x[own.index])
                neuron = assembled(state_shapes(group.neuron, x[0].dtype), x)
                one = eqx.tree_at(lambda s: s.neuron, one, neuron)
            groups.append(one)
        return eqx.tree_at(lambda y: y.groups, y, tuple(groups))

    def moving(self, y: NetworkState) -> NetworkState:
        """The state in coordinates."""
        return self._changed(y, lambda own, v: own.of_potential(v))

    def state(self, z: NetworkState) -> NetworkState:
        """The state at coordinates."""
        return self._changed(z, lambda own, z: own.potential(z))

    def held(self, z: NetworkState) -> NetworkState:
        """With nothing behind a threshold."""
        return self._changed(z, lambda own, z: own.held(z))

    def slope(self, rate: Callable, t: Any, z: NetworkState, args: PyTree) -> NetworkState:
        """The derivative of the coordinates, behind a threshold that at it."""
        y = self.state(self.held(z))
        return jax.jvp(self.moving, (y,), (rate(t, y, args),))[1]


class _Field(eqx.Module):
    """The vector field of the coordinates."""

    coordinates: Coordinates
    rate: Callable

    def __call__(self, t, z, args):
        return self.coordinates.slope(self.rate, t, z, args)


class _Dense(dfx.AbstractLocalInterpolation):
    """The solution inside of a step, in the state."""

    t0: Any
    t1: Any
    coordinates: Coordinates
    inner: dfx.AbstractLocalInterpolation

    def evaluate(self, t0, t1=None, left=True):
        at = lambda t: self.coordinates.state(self.inner.evaluate(t, left=left))
        if t1 is None:
            return at(t0)
        return jax.tree.map(lambda a, b: a - b, at(t1), at(t0))


class InCoordinates(AbstractFreshStep):
    """The steps of another solver, made in the coordinates of the neurons that have one."""

    inner: dfx.AbstractSolver
    coordinates: Coordinates

    interpolation_cls: ClassVar[Callable[..., _Dense]] = _Dense

    @classmethod
    def of(cls, solver: dfx.AbstractSolver, coordinates: Coordinates) -> "InCoordinates":
        """With a solver that can be differentiated."""
        return cls(differentiable(solver), coordinates)

    def order(self, terms):
        """That of the other solver."""
        return self.inner.order(terms)

    def error_order(self, terms):
        """That of the other solver."""
        return self.inner.error_order(terms)

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        """One step, see the class."""
        del solver_state, made_jump
        rate = combined_rate(terms)
        assert rate is not None
        z0, term = self.coordinates.moving(y0), dfx.ODETerm(_Field(self.coordinates, rate))
        state = self.inner.init(term, t0, t1, z0, args)
        z1, error, info, _, result = self.inner.step(term, t0, t1, z0, args, state, False)
        inner = self.inner.interpolation_cls(t0=t0, t1=t1, **info)
        found = dict(coordinates=self.coordinates, inner=inner)
        return self.coordinates.state(z1), error, found, None, result
