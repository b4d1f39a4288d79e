"""An exponential step for membranes with linear decay."""

import functools as ft
import math
from collections.abc import Callable
from typing import Any, ClassVar

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._check import check_kind
from .._conditions.affine import is_constant
from .._misc import at_least
from .._model.membrane import AbstractLinearMembrane
from .._model.state import NeuronState
from .._solve.localise import combined_rate

# Below this x a series of so many terms is exact to the rounding of float64 (the next one is
# below 0.5^14/15! = 5e-17), above it the recursion loses one digit for two orders.
_SERIES, _TERMS = 0.5, 14


@ft.partial(jax.custom_jvp, nondiff_argnums=(0,))
@ft.partial(jax.jit, static_argnums=0)
def _phis(order: int, x: Array) -> tuple[Array, ...]:
    r"""$\varphi_1(-x), \dots, \varphi_{order}(-x)$ for $x \ge 0$, where $\varphi_0(z) = e^z$ and
    $\varphi_k(z) = (\varphi_{k-1}(z) - 1/(k-1)!)/z$.

    Where x is small the last one is a series, and the recursion goes down from there.
    """
    series = jnp.zeros_like(x)
    for j in reversed(range(_TERMS)):
        series = 1 / math.factorial(j + order) - x * series
    small = [series]
    for k in reversed(range(1, order)):
        small.append(1 / math.factorial(k) - x * small[-1])
    large = jnp.maximum(x, _SERIES)
    value, found = jnp.exp(-large), []
    for k in range(order):
        value = (1 / math.factorial(k) - value) / large
        found.append(jnp.where(x < _SERIES, small[order - 1 - k], value))
    return tuple(found)


@_phis.defjvp
def _phis_jvp(order, primals, tangents):
    r"""$\varphi_k' = \varphi_k - k\varphi_{k+1}$; nothing divides by x."""
    (x,), (dx,) = primals, tangents
    found = _phis(order + 1, x)
    slopes = (k * found[k] - found[k - 1] for k in range(1, order + 1))
    return found[:order], tuple(slope * dx for slope in slopes)


def _advance(y0, f0, df, rate, r, theta, bend=None):
    """y after a time r of y' = F, F = f0 at 0 for the start value y0, with decay `rate`,
    and a forcing that has changed by `df * theta + 6 bend theta (1 - theta)` at r."""
    if rate is None:
        return y0 + r * (f0 + df * (theta / 2))
    if bend is None:
        first, second = _phis(2, rate * r)
        return y0 + r * (first * f0 + second * (df * theta))
    first, second, third = _phis(3, rate * r)
    curved = 12 * theta**2 * third * bend
    return y0 + r * (first * f0 + second * ((df + 6 * bend) * theta) - curved)


class CurrentResponse(eqx.Module):
    """What a unit jump of the current does to v and i, as the exponential step has it."""

    rate_v: Float[Array, "*neurons"]
    rate_i: Float[Array, "*neurons"]
    # How v moves with the current.
    gain: Float[Array, "*neurons"]

    def __call__(self, r: Array) -> tuple[Array, Array]:
        """(v, i) at a time r after the jump."""
        i = jnp.exp(-self.rate_i * r)
        return _advance(0.0, self.gain, self.gain * (i - 1), self.rate_v, r, 1), i

    def decay(self, r: Array) -> Array:
        """What is left of a jump of v after a time r."""
        return jnp.exp(-self.rate_v * r)


def current_response(membrane: AbstractLinearMembrane) -> CurrentResponse:
    """The response of a membrane to a jump of the current; scalar rates give scalars."""
    rate_v, rate_i = membrane.rates
    zero = jnp.zeros_like(rate_v)
    gain = membrane.drift(zero, zero + 1, zero)[0] - membrane.drift(zero, zero, zero)[0]
    return CurrentResponse(rate_v, rate_i, gain)


def is_cascade(membrane: AbstractLinearMembrane, zero: Float[Array, " neurons"]) -> bool:
    """Whether the current does not feel the potential, so that one may be advanced before the
    other, as the exponential step does."""
    return is_constant(lambda v: membrane.drift(v, zero, zero)[1], zero)


def drive_response(
    membrane: AbstractLinearMembrane, r: Array, change: Float[Array, " neurons"]
) -> tuple[Array, Array]:
    """What a step of the drive does to (v, i) within a time r."""
    response, zero = current_response(membrane), jnp.zeros_like(change)
    moved, still = (membrane.drift(zero, zero, x) for x in (change, zero))
    dv, di = (a - b for a, b in zip(moved, still, strict=True))
    i = _advance(0.0, di, 0.0, response.rate_i, r, 1)
    return _advance(0.0, dv, response.gain * i, response.rate_v, r, 1), i


def exponential_step(
    start: Callable[[NeuronState], NeuronState],
    end: Callable[[NeuronState], NeuronState],
    y0: NeuronState,
    length: Any,
    rates: NeuronState,
    *,
    parabola: bool = False,
) -> tuple[NeuronState, NeuronState, NeuronState, Array | None]:
    """The state after a step, the field at its start, by how much its forcing changes, and how
    far the forcing of v bends away from its chord.

    `start` and `end` are the vector field at the two ends of the step. With `parabola` the noise
    on i bends it, and v, which integrates i, is driven by what the bend adds up to: without it v
    would not see the space-time Levy area of that noise.
    """
    f0 = start(y0)
    df = jax.tree.map(jnp.zeros_like, y0)

    def advance(y, get, bend=None):
        nonlocal df
        change = get(end(y)) - get(f0)
        df = eqx.tree_at(get, df, change)
        new = _advance(get(y0), get(f0), change, get(rates), length, 1, bend)
        return eqx.tree_at(get, y, new)

    y = advance(y0, lambda y: y.i)
    bend = None
    if parabola:
        bent = eqx.tree_at(lambda y: y.i, y, y.i - length * df.i / 12)
        bend = end(bent).v - end(y).v
    y = advance(y, lambda y: y.v, bend)
    if y0.s is not None:
        y = advance(y, lambda y: y.s)
    return y, f0, df, bend


# In the middle of a step the parabola in place of a Brownian motion W has the variance 3h/16
# about the chord, W has h/4: what it bends v by there is to grow by the factor sqrt(4/3). A
# parabola that bends v by x changes v' by -8 x/h along the step.
_STRETCH = (math.sqrt(4 / 3) - 1) / 8


def middle_shift(df_v: Array, length: Any) -> Array:
    """What is added to v in the middle of a step, so that it has the right law there."""
    return -_STRETCH * length * df_v


class _Dense(dfx.AbstractLocalInterpolation):
    """The solution inside a step; at the step's end it is the step."""

    # One time for all neurons, or one for each.
    t0: Any
    t1: Any
    y0: NeuronState
    f0: NeuronState
    df: NeuronState
    rates: NeuronState
    # How far the forcing of v bends away from its chord.
    bend: Float[Array, "*neurons"] | None = None
    # By how much the hazard's slope changes in the middle, times the length.
    kink: Float[Array, "*neurons"] | None = None

    def _at(self, r):
        length = self.t1 - self.t0
        theta = (r - self.t0) / jnp.where(length > 0, length, 1)

        def part(get, bend=None):
            y0, f0, df, rate = map(get, (self.y0, self.f0, self.df, self.rates))
            return _advance(y0, f0, df, rate, r - self.t0, theta, bend)

        v, i = part(lambda y: y.v, self.bend), part(lambda y: y.i)
        y = NeuronState(v, i, None if self.y0.s is None else part(lambda y: y.s))
        if self.kink is None:
            return y
        behind = at_least(theta - 0.5, 0)
        return eqx.tree_at(lambda y: y.s, y, y.s + length * self.kink * behind**2 / 2)

    def evaluate(self, t0, t1=None, left=True):
        del left
        if t1 is None:
            return self._at(t0)
        return jax.tree.map(jnp.subtract, self._at(t1), self._at(t0))


class ExponentialTrapezoid(dfx.AbstractSolver):
    r"""An exponential trapezoidal rule, component by component: i, then v, then s.

    Each component obeys $\dot y = -ry + g(t)$ where $g$ depends on time and on components
    already advanced. With $g$ linear between its values at the two ends of the step,
    $y_1 = y_0 + h\varphi_1(-rh)F_0 + h\varphi_2(-rh)(g_1 - g_0)$ is exact for the decay,
    for a constant or linear input, and for the chord and the parabola of a Brownian path;
    for the hazard ($r = 0$) it is the trapezoidal rule, whose nodes have the right law,
    so that the unresolved noise inside a cell does not bias the mean hazard. Order two,
    weak order two, one evaluation of the intensity per step end. (See Hochbruck &
    Ostermann, *Exponential integrators*, Acta Numerica 19 (2010).)

    With `halves` the hazard is linear on each half of a step, with a third node on the
    parabola of the Brownian motion, stretched so that it, too, has the right law: single paths
    are closer to their limit, at the same weak order.

    **Arguments:**

    - `rates`: a [`roughsnn.NeuronState`][] with the decay rates of v and i, `s=None`.
    - `halves`: see above; for paths of parabolas, and with
        `QuadraticCrossing(pieces=2)`.
    """

    rates: NeuronState
    halves: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        check_kind("rates", self.rates, NeuronState, "a roughsnn.NeuronState of decay rates")

    term_structure: ClassVar = dfx.AbstractTerm
    interpolation_cls: ClassVar[Callable[..., _Dense]] = _Dense

    def order(self, terms):
        """Two."""
        del terms
        return 2

    def init(self, terms, t0, t1, y0, args):
        """No state."""
        del terms, t0, t1, y0, args

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        """One step, see the class."""
        del solver_state, made_jump
        rate = combined_rate(terms)
        if rate is None:
            raise ValueError(
                "ExponentialTrapezoid takes ODE terms and control terms over a "
                "roughsnn.BrownianPath only."
            )
        y1, f0, df, bend = exponential_step(
            lambda y: rate(t0, y, args),
            lambda y: rate(t1, y, args),
            y0,
            t1 - t0,
            self.rates,
            parabola=self.halves,
        )
        dense_info: dict[str, Any] = dict(y0=y0, f0=f0, df=df, rates=self.rates, bend=bend)
        if self.halves and y0.s is not None:
            length = t1 - t0
            middle = _Dense(t0, t1, **dense_info).evaluate(t0 + length / 2)
            shifted = middle.v + middle_shift(df.v, length)
            there = rate(t0 + length / 2, eqx.tree_at(lambda y: y.v, middle, shifted), args)
            rise = 2 * (there.s - f0.s)
            kink = 2 * (df.s - rise)
            dense_info |= dict(df=eqx.tree_at(lambda y: y.s, df, rise), kink=kink)
            s1 = y0.s + length * (f0.s + rise / 2 + kink / 8)
            y1 = eqx.tree_at(lambda y: y.s, y1, s1)
        return y1, None, dense_info, None, dfx.RESULTS.successful

    def func(self, terms, t0, y0, args):
        """The vector field."""
        return terms.vf(t0, y0, args)
