"""Scaling of signatures to bounded norm, for kernels that tell all laws apart."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# The norm up to which signatures are left alone, and how slowly they grow beyond it.
_LEVEL, _POWER = 4.0, 1.0


def bounded(square: Array) -> Array:
    r"""$\psi$: the square of the norm that a signature with this square of its norm gets.

    The identity up to 4, and bounded by 8.
    """
    large = jnp.maximum(square, _LEVEL)
    tail = _LEVEL ** (1 + _POWER) * (_LEVEL**-_POWER - large**-_POWER) / _POWER
    return jnp.where(square <= _LEVEL, square, _LEVEL + tail)


def robust_factor(square_of, template: Float[Array, " samples"]) -> Float[Array, " samples"]:
    r"""The factors $\lambda \le 1$ of the paths for which $\|\delta_\lambda S\|^2 = \psi(\|S\|^2)$.

    `square_of(factors)` are the squared norms of the enlarged paths, one factor for each.
    (Tensor normalisation: I. Chevyrev, H. Oberhauser, *Signature moments to characterize laws of
    stochastic processes*, JMLR 23 (2022).) Newton's method from 1, on logarithms: that of the norm
    of long trains is nearly linear in the factor.
    """
    target = bounded(square_of(jnp.ones_like(template)))
    goal = jnp.log(target)

    def gap(factors):
        return jnp.log(square_of(factors)) - goal

    # Each sample depends on its own factor only: the Jacobian is diagonal.
    def newton(_, factors):
        value, slope = jax.jvp(gap, (factors,), (jnp.ones_like(factors),))
        step = jnp.where(slope > 0, value, 0) / jnp.where(slope > 0, slope, 1)
        return jnp.clip(factors - step, 1e-6, 1)

    found = jax.lax.stop_gradient(jax.lax.fori_loop(0, 30, newton, jnp.ones_like(template)))
    # One step that is differentiated makes the derivative that of the implicit function.
    value, slope = jax.jvp(gap, (found,), (jnp.ones_like(found),))
    slope = jax.lax.stop_gradient(slope)
    return found - jnp.where(slope > 0, value, 0) / jnp.where(slope > 0, slope, 1)
