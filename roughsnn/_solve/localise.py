"""Terms as one cell of the grid sees them: smooth, and in the time since its start."""

from collections.abc import Callable

import diffrax as dfx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .._conditions.affine import is_constant
from .._misc import described, is_term, term_product
from .._path.base import AbstractCellPath, AbstractGridPath
from .._path.jumps import JumpPath
from .._types import Args, IntScalar, RealScalar, State


class _Shifted(dfx.AbstractTerm):
    """`term` in a time that is `clock` of local time."""

    term: dfx.AbstractTerm
    clock: Callable[[RealScalar], RealScalar]

    def vf(self, t, y, args):
        return self.term.vf(self.clock(t), y, args)

    def contr(self, t0, t1, **kwargs):
        return self.term.contr(self.clock(t0), self.clock(t1), **kwargs)

    def prod(self, vf, control):
        return term_product(self.term, vf, control)


class _Delayed(dfx.AbstractPath):
    """A path on a cell of which the solver's cell is a part that starts at `delay`."""

    path: dfx.AbstractPath
    delay: RealScalar
    t0: RealScalar = 0.0
    t1: RealScalar = jnp.inf

    def evaluate(self, t0, t1=None, left=True):
        t1 = None if t1 is None else t1 + self.delay
        return self.path.evaluate(t0 + self.delay, t1, left)

    def derivative(self, t, left=True):
        return self.path.derivative(t + self.delay, left)


def takes_single_term(solver: dfx.AbstractSolver) -> bool:
    """Whether `solver` sees its terms as one vector field times one control."""
    return solver.term_structure is dfx.AbstractTerm


def localise(
    terms: PyTree[dfx.AbstractTerm],
    solver: dfx.AbstractSolver,
    clock: Callable[[RealScalar], RealScalar],
    cell: IntScalar,
    dt0: float,
    dtype: jnp.dtype,
) -> PyTree[dfx.AbstractTerm]:
    r"""`terms` on one cell, in the time since the cell's start.

    A control term over an [`roughsnn.AbstractCellPath`][] becomes the ordinary
    differential equation $\sigma(y)\dot x(r)\,dr$ for solvers of order two and more,
    which then have their order inside of the cell; a solver of order one (Euler), or one
    that treats drift and diffusion differently, is given the increments.
    """
    as_ode = takes_single_term(solver) and (solver.order(terms) or 0) >= 2

    def one(term):
        if isinstance(term, dfx.ControlTerm) and isinstance(term.control, AbstractCellPath):
            ratio = round(term.control.dt / dt0)
            piece = term.control.cell(cell // ratio)
            if ratio > 1:
                delay = jnp.asarray(cell % ratio, dtype) * dt0
                piece = _Delayed(piece, delay)
            local = dfx.ControlTerm(lambda r, y, a: term.vf(clock(r), y, a), piece)
            return local.to_ode() if as_ode else local
        if isinstance(term, dfx.ControlTerm) and isinstance(term.control, JumpPath):
            # Between its jumps it is constant.
            return dfx.ODETerm(lambda r, y, a: jax.tree.map(jnp.zeros_like, y))
        if isinstance(term, dfx.ODETerm):
            return dfx.ODETerm(lambda r, y, a: term.vf(clock(r), y, a))
        return _Shifted(term, clock)

    return jax.tree.map(one, terms, is_leaf=is_term)


def check_terms(
    terms: PyTree[dfx.AbstractTerm],
    solver: dfx.AbstractSolver | None,
    t0: float,
    t1: float,
    dt0: float,
) -> None:
    """Refuses drivers that an event solve cannot use, and grids that do not fit."""
    if isinstance(solver, (dfx.AbstractSRK, dfx.AbstractFosterLangevinSRK)):
        raise ValueError(
            f"{type(solver).__name__} asks for the Levy area of a rough path, but on a cell "
            "the driver is smooth. Use an ODE solver: diffrax.Heun() on "
            "BrownianPath(interpolation='linear'), or diffrax.Tsit5() on 'parabola'."
        )
    if not jax.tree.leaves(terms, is_leaf=is_term):
        raise TypeError(f"`terms` must be diffrax terms, at least one, got {described(terms)}.")
    for term in jax.tree.leaves(terms, is_leaf=is_term):
        if not isinstance(term, dfx.AbstractTerm):
            raise TypeError(
                f"`terms` must be a pytree of diffrax terms, got a {type(term).__name__}."
            )
        if not isinstance(term, dfx.ControlTerm):
            continue
        path = term.control
        if isinstance(path, dfx.AbstractBrownianPath):
            raise ValueError(
                f"A {type(path).__name__} cannot drive an event solve: it has no derivative "
                "with respect to time, so the gradient of an event time through it does "
                "not exist. Use roughsnn.BrownianPath(t0, t1, dt0, ...)."
            )
        if isinstance(path, AbstractCellPath):
            check_grid(path, t0, t1, dt0)


def check_stages(
    terms: PyTree[dfx.AbstractTerm], solver: dfx.AbstractSolver, t0: float, y0: State, args: Args
) -> None:
    """Refuses solvers of order two for noise that depends on the state, on parabolas.

    A parabola has slopes of size $H/h$, of which the solution sees $H^2$ by iterated integrals with
    two powers of time: four orders. Heun's method misses a multiple of h in each cell, and has no
    limit; the midpoint method has strong order one half.
    """
    if not isinstance(solver, dfx.AbstractRungeKutta) or (solver.order(terms) or 0) != 2:
        return
    for term in jax.tree.leaves(terms, is_leaf=is_term):
        if not isinstance(term, dfx.ControlTerm) or not isinstance(term.control, AbstractGridPath):
            continue
        if jax.eval_shape(term.control.arrays)[1] is None:
            continue
        dx = jax.tree.map(jnp.ones_like, jax.eval_shape(term.control.evaluate, t0))

        def moved(y, term=term, dx=dx):
            return term_product(term, term.vf(t0, y, args), dx)

        if not is_constant(moved, y0):
            raise ValueError(
                f"{type(solver).__name__}, of order two, does not converge, or slowly, for noise "
                "that depends on the state and a path of parabolas. Use diffrax.Tsit5(), or "
                "interpolation='linear'."
            )


def check_grid(path: AbstractCellPath, t0: float, t1: float, dt0: float) -> None:
    """Refuses a path whose cells do not fit the steps, or that does not cover the window."""
    ratio = path.dt / dt0
    if abs(ratio - round(ratio)) > 1e-6 * ratio or round(ratio) < 1:
        raise ValueError(
            "The cells of the path must be whole multiples of the steps, got path.dt="
            f"{path.dt} and dt0={dt0}. Make both the same, or dt0 a fraction of path.dt."
        )
    slack = 1e-6 * path.dt
    if abs(path.t0 - t0) > slack or path.t1 < t1 - slack:
        raise ValueError(
            f"The path must start at t0 and reach t1: got a path on [{path.t0}, {path.t1}] "
            f"for a solve on [{t0}, {t1}]."
        )


def combined_rate(terms: PyTree[dfx.AbstractTerm]) -> Callable | None:
    """The sum of the vector fields if all terms are ODE terms, else `None`."""
    leaves = jax.tree.leaves(terms, is_leaf=is_term)
    if not all(isinstance(term, dfx.ODETerm) for term in leaves):
        return None

    def rate(r, y, args):
        fields = [term.vf(r, y, args) for term in leaves]
        return jax.tree.map(lambda *xs: sum(xs[1:], xs[0]), *fields)

    return rate
