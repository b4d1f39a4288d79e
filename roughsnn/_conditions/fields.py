"""The drift, the noise, the event function and the jumps as functions of one flat vector."""

import math
from collections.abc import Callable, Iterator

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from .._event.event import Event
from .._misc import is_concrete, is_term, term_product
from .._path.base import AbstractCellPath, AbstractJumpPath
from .._types import Args, RealScalar, Scalar, State
from .part import Part


def smooth_drift(terms: PyTree, t: RealScalar, y: State, args: Args) -> State:
    """The sum of the vector fields of all terms that are not noise."""
    total = jax.tree.map(jnp.zeros_like, y)
    for term in jax.tree.leaves(terms, is_leaf=is_term):
        if _is_noise(term):
            continue
        ode = term.to_ode() if isinstance(term, dfx.ControlTerm) else term
        total = jax.tree.map(jnp.add, total, ode.vf(t, y, args))
    return total


class Fields:
    """An event SDE at a fixed time, with its state, or a part of it, as a vector of size n."""

    def __init__(
        self,
        terms: PyTree,
        event: Event,
        t: RealScalar,
        y: State,
        args: Args,
        part: Part | None = None,
    ):
        if not isinstance(terms, dfx.AbstractTerm):
            raise TypeError(
                "`terms` must be one diffrax term or a diffrax.MultiTerm, got a "
                f"{type(terms).__name__}."
            )
        if not isinstance(event, Event):
            raise TypeError(f"`event` must be a roughsnn.Event, got {type(event).__name__}.")
        self._terms = terms
        self._noisy = [t for t in jax.tree.leaves(terms, is_leaf=is_term) if _is_noise(t)]
        self._whole, self._unraveled = ravel_pytree(y)
        self._event, self._args, self._state, self._part = event, args, y, part
        self._t = jnp.asarray(t, self._whole.dtype)
        self.y = self._ravel(y)
        self.num_coordinates = eqx.filter_eval_shape(self.event, self.y).shape[0]

    def made_from(self) -> tuple[PyTree, Event, RealScalar, State, Args, Part | None]:
        """What it was made from."""
        return self._terms, self._event, self._t, self._state, self._args, self._part

    @property
    def complete(self) -> bool:
        """Whether this is all of it."""
        return self._part is None

    def _ravel(self, y: State) -> Float[Array, " n"]:
        whole = ravel_pytree(y)[0]
        return whole if self._part is None else whole[self._part.components]

    def _unravel(self, x: Float[Array, " n"]) -> State:
        if self._part is None:
            return self._unraveled(x)
        return self._unraveled(self._whole.at[self._part.components].set(x))

    def coordinate(self, k):
        """The index of coordinate k among all."""
        return k if self._part is None else self._part.coordinates[k]

    def known(self) -> bool:
        """Whether all values that the functions read are known."""

        def everything(y, k, u):
            # Not `noise`, which is large where there are many channels.
            noises = [act(zero) for act, zero in self._noises(y)]
            return self.event(y), self.drift(y), noises, self.jump(y, k, u)

        k, u = jnp.zeros((), jnp.int32), jnp.full((), 0.5, self.y.dtype)
        return is_concrete(self.y, jax.make_jaxpr(everything)(self.y, k, u).consts)

    def event(self, x: Float[Array, " n"]) -> Float[Array, " events"]:
        """E(t, x)."""
        values = self._event.fn(self._t, self._unravel(x), self._args)
        return values if self._part is None else values[self._part.coordinates]

    def drift(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        """mu(t, x)."""
        return self._ravel(smooth_drift(self._terms, self._t, self._unravel(x), self._args))

    def slope(self, x: Float[Array, " n"], k) -> tuple[Scalar, Float[Array, " n"]]:
        """The derivatives of E_k in time and state."""

        def value(t, x):
            return self._event.fn(t, self._unravel(x), self._args)[self.coordinate(k)]

        return jax.grad(value, (0, 1))(self._t, x)

    def jump(self, x: Float[Array, " n"], k, u) -> Float[Array, " n"]:
        """T_k(t, x, u)."""
        y, k = self._unravel(x), self.coordinate(k)
        return self._ravel(self._event.transition(self._t, y, self._args, k, u))

    def noise(self, x: Float[Array, " n"]) -> Float[Array, "n channels"]:
        """sigma(t, x), a column for each channel."""
        columns = [jnp.zeros((x.shape[0], 0), x.dtype)]
        columns += [jax.jacfwd(act)(zero) for act, zero in self._noises(x)]
        return jnp.concatenate(columns, axis=1)

    def _noises(self, x: Float[Array, " n"]) -> Iterator[tuple[Callable[[Array], Array], Array]]:
        """What the channels of each driver add to the state, and 0 for each channel."""
        for term in self._noisy:
            field = term.vf(self._t, self._unravel(x), self._args)
            zero, unravel = ravel_pytree(self._control(term))
            zero = zero.astype(x.dtype)
            own = jnp.arange(zero.size) if self._part is None else self._part.channels

            def act(control, term=term, field=field, unravel=unravel, zero=zero, own=own):
                every = unravel(zero.at[own].set(control))
                return self._ravel(term_product(term, field, every))

            yield act, zero[own]

    def _control(self, term: dfx.ControlTerm):
        shapes = eqx.filter_eval_shape(term.contr, self._t, self._t)
        return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    def channel_name(self, c: int) -> str:
        """The index of channel `c` in the driver that it belongs to."""
        c = c if self._part is None else int(self._part.channels[c])
        for number, term in enumerate(self._noisy):
            for leaf in jax.tree.leaves(self._control(term)):
                size = math.prod(leaf.shape)
                if c < size:
                    index = tuple(int(i) for i in np.unravel_index(c, leaf.shape))
                    which = f" of driver {number}" if len(self._noisy) > 1 else ""
                    return f"{index}{which}"
                c -= size
        raise IndexError(c)

    def component_name(self, i: int) -> str:
        """Where entry `i` of the vector is in the state, e.g. `.v[3]`."""
        i = i if self._part is None else int(self._part.components[i])
        for path, leaf in jax.tree_util.tree_leaves_with_path(self._state):
            size = int(jnp.size(leaf))
            if i < size:
                index = [int(j) for j in np.unravel_index(i, jnp.shape(leaf))]
                return f"y{jax.tree_util.keystr(path)}{index if index else ''}"
            i -= size
        raise IndexError(i)


def _is_noise(term: dfx.AbstractTerm) -> bool:
    rough = (AbstractCellPath, AbstractJumpPath, dfx.AbstractBrownianPath)
    return isinstance(term, dfx.ControlTerm) and isinstance(term.control, rough)
