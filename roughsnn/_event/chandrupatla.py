"""A bracketing root finder that converges superlinearly."""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Bool, Float, Int, PyTree

from .._misc import check_not_negative


class _State(eqx.Module):
    # a: newest point, b: the other end of the bracket, c: the point before a.
    a: Float[Array, ""]
    b: Float[Array, ""]
    c: Float[Array, ""]
    fa: Float[Array, ""]
    fb: Float[Array, ""]
    fc: Float[Array, ""]
    fraction: Float[Array, ""]
    done: Bool[Array, ""]
    steps: Int[Array, ""]


class Chandrupatla(optx.AbstractRootFinder[Array, Array, Any, _State]):
    r"""Chandrupatla's method: inverse quadratic interpolation inside a bracket.

    Starts with the secant, so that an affine function costs one evaluation; takes an
    inverse quadratic step where Chandrupatla's criterion trusts it and bisects where
    not. The root never leaves the bracket.

    Requires `options=dict(lower=..., upper=...)` with values of opposite sign there.

    **Arguments:**

    - `rtol`, `atol`: the width of the bracket at which to stop, `rtol` relative to the
        initial bracket; by default 4 units of rounding.

    ??? cite "Reference"

        T. R. Chandrupatla, *A new hybrid quadratic/bisection algorithm for finding the
        zero of a nonlinear function without using derivatives*, Adv. Eng. Software 28
        (1997).
    """

    rtol: float | None = None
    atol: float = 0.0

    def __check_init__(self):
        for name in ("rtol", "atol"):
            value = getattr(self, name)
            if value is not None or name == "atol":
                check_not_negative(name, value)

    norm: ClassVar[Callable[[PyTree], Array]] = jnp.abs

    def init(self, fn, y, args, options, f_struct, aux_struct, tags) -> _State:
        """The bracket and its secant."""
        del aux_struct, tags
        lower = jnp.asarray(options["lower"], f_struct.dtype)
        upper = jnp.asarray(options["upper"], f_struct.dtype)
        f_lower, _ = fn(lower, args)
        f_upper, _ = fn(upper, args)
        gap = f_upper - f_lower
        secant = -f_lower / jnp.where(gap == 0, 1, gap)
        fraction = jnp.clip(jnp.where(gap == 0, 0.5, secant), 0.0, 1.0)
        done = (f_lower == 0) | (f_upper == 0) | (lower >= upper)
        # `fraction` runs from a to b, so a is the lower end.
        return _State(
            lower,
            upper,
            upper,
            f_lower,
            f_upper,
            f_upper,
            fraction.astype(f_struct.dtype),
            done,
            jnp.zeros((), jnp.int32),
        )

    def _tolerance(self, state: _State, options: dict[str, Any]) -> Array:
        dtype = state.a.dtype
        rtol = 4 * float(jnp.finfo(dtype).eps) if self.rtol is None else self.rtol
        width = jnp.abs(jnp.asarray(options["upper"] - options["lower"], dtype))
        return rtol * width + self.atol

    def step(self, fn, y, args, options, state, tags):
        """One evaluation of `fn`."""
        del tags
        x = state.a + state.fraction * (state.b - state.a)
        fx, aux = fn(x, args)
        same = jnp.sign(fx) == jnp.sign(state.fa)
        c, fc = jnp.where(same, state.a, state.b), jnp.where(same, state.fa, state.fb)
        b, fb = jnp.where(same, state.b, state.a), jnp.where(same, state.fb, state.fa)
        a, fa = x, fx
        # Inverse quadratic interpolation, where it is monotone (Chandrupatla 1997).
        xi = (a - b) / jnp.where(c == b, 1, c - b)
        phi = (fa - fb) / jnp.where(fc == fb, 1, fc - fb)
        trusted = (phi**2 < xi) & ((1 - phi) ** 2 < 1 - xi) & (fa != fc) & (fb != fc)
        safe = lambda d: jnp.where(d == 0, 1, d)
        iqi = fa / safe(fa - fb) * fc / safe(fc - fb)
        iqi -= (c - a) / safe(b - a) * fa / safe(fc - fa) * fb / safe(fb - fc)
        fraction = jnp.where(trusted, iqi, 0.5)
        width = jnp.abs(b - a)
        tolerance = self._tolerance(state, options)
        margin = jnp.minimum(0.5, 0.5 * tolerance / jnp.where(width == 0, 1, width))
        fraction = jnp.clip(fraction, margin, 1 - margin)
        done = state.done | (fa == 0) | (width <= tolerance)
        new = _State(a, b, c, fa, fb, fc, fraction, done, state.steps + 1)
        keep = lambda old, new: jnp.where(state.done, old, new)
        new = jax.tree.map(keep, state, new)
        best = jnp.where(jnp.abs(new.fa) <= jnp.abs(new.fb), new.a, new.b)
        return best, new, aux

    def terminate(self, fn, y, args, options, state, tags):
        """Whether the bracket is narrow enough."""
        return state.done, optx.RESULTS.successful

    def postprocess(self, fn, y, aux, args, options, state, tags, result):
        """The better end of the bracket."""
        best = jnp.where(jnp.abs(state.fa) <= jnp.abs(state.fb), state.a, state.b)
        return best, aux, {}
