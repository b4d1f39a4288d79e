"""A solver whose steps are made in the coordinates of the neurons."""

from collections.abc import Callable
from typing import Any, ClassVar

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .._model.layout import Layout
from .._model.state import NetworkState
from .._solve.localise import combined_rate
from .._solve.setup import differentiable
from .._types import RealScalar
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
    terms: PyTree[dfx.AbstractTerm]

    def __call__(self, t, z, args):
        rate = combined_rate(self.terms)
        assert rate is not None
        return self.coordinates.slope(rate, t, z, args)


class _Dense(dfx.AbstractLocalInterpolation):
    """The solution inside of a step, in the state: that of a step that ends there. One over the
    whole cell may go far behind a threshold, where nothing is known."""

    t0: Any
    t1: Any
    solver: "InCoordinates"
    terms: PyTree[dfx.AbstractTerm]
    args: PyTree
    y0: NetworkState

    def evaluate(self, t0, t1=None, left=True):
        del left
        at = lambda t: self.solver.moved(self.terms, self.t0, t, self.y0, self.args)[0]
        return at(t0) if t1 is None else jax.tree.map(jnp.subtract, at(t1), at(t0))

    def kept(self, stop: RealScalar) -> "_Kept":
        """Up to `stop`, as arrays: the cubic in the coordinates with their slopes at both ends."""
        found, length = dict(t0=self.t0, t1=stop), stop - self.t0
        coordinates, field = self.solver.coordinates, self.solver.field(self.terms)
        for end, t in (("0", self.t0), ("1", stop)):
            z = coordinates.moving(self.evaluate(t))
            slope = field(t, z, self.args)
            found |= {f"y{end}": z, f"k{end}": jax.tree.map(lambda x: x * length, slope)}
        inner = dfx.ThirdOrderHermitePolynomialInterpolation(**found)
        return _Kept(t0=self.t0, t1=stop, coordinates=coordinates, inner=inner)


class _Kept(dfx.AbstractLocalInterpolation):
    """What a solution keeps of a step."""

    t0: Any
    t1: Any
    coordinates: Coordinates
    inner: dfx.AbstractLocalInterpolation

    def evaluate(self, t0, t1=None, left=True):
        at = lambda t: self.coordinates.state(self.inner.evaluate(t, left=left))
        return at(t0) if t1 is None else jax.tree.map(jnp.subtract, at(t1), at(t0))


class InCoordinates(AbstractFreshStep):
    """The steps of another solver, made in the coordinates of the neurons that have one."""

    inner: dfx.AbstractSolver = eqx.field(static=True)
    coordinates: Coordinates

    interpolation_cls: ClassVar[Callable[..., _Dense]] = _Dense

    @classmethod
    def of(cls, solver: dfx.AbstractSolver, coordinates: Coordinates) -> "InCoordinates":
        """With a solver that can be differentiated."""
        return cls(differentiable(solver), coordinates)

    def order(self, terms) -> int | None:
        """That of the other solver."""
        return self.inner.order(terms)

    def field(self, terms) -> "_Field":
        """How fast the coordinates change."""
        return _Field(self.coordinates, terms)

    def moved(self, terms, t0, t1, y0: NetworkState, args: PyTree) -> tuple[NetworkState, Any]:
        """The state at t1, and whether the step was good."""
        z0, term = self.coordinates.moving(y0), dfx.ODETerm(self.field(terms))
        state = self.inner.init(term, t0, t1, z0, args)
        z1, _, _, _, result = self.inner.step(term, t0, t1, z0, args, state, False)
        return self.coordinates.state(z1), result

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        """One step, see the class."""
        del solver_state, made_jump
        y1, result = self.moved(terms, t0, t1, y0, args)
        found = dict(solver=self, terms=terms, args=args, y0=y0)
        return y1, None, found, None, result
