"""Where a simulation starts."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._check import check_function
from .._misc import as_array, as_numbers, check_finite, described
from .._model.domain import Bound
from .._model.layout import Layout
from .._model.mapped import mapped
from .._model.network import SpikingNetwork, find_value
from .._model.state import NetworkState, PopulationState
from .._random import Labels, RandomKey
from .final import FinalState
from .labels import keys_of_part, labels_of


def as_initial(
    initial: Mapping[str, Any] | None, network: SpikingNetwork, key: RandomKey | None
) -> dict[str, dict[str, Array]]:
    """The parts of the states that were given, by population; a clear error for others.

    Functions are drawn from by a key for each neuron, if there is a `key`.
    """
    if initial is None:
        return {}
    if not isinstance(initial, Mapping):
        raise TypeError(
            "`initial` must be a dictionary from parts of the state to arrays or functions of a "
            'key, e.g. {"v": jnp.zeros(2)}, or the `final` of a simulation, got '
            f"{described(initial)}."
        )
    simulated = network.simulated
    by_population = dict(initial)
    if len(simulated) == 1 and not set(initial) <= set(simulated):
        by_population = {next(iter(simulated)): initial}
    found: dict[str, dict[str, Array]] = {}
    for name, parts in by_population.items():
        population = find_value(name, simulated, "population, in `initial`")
        if not isinstance(parts, Mapping):
            raise TypeError(
                f"`initial[{name!r}]` must be a dictionary from parts of the state to arrays or "
                f"functions of a key, got {described(parts)}."
            )
        like = jax.eval_shape(population.rest).parts()
        own = {}
        for part, value in parts.items():
            what = f"initial[{part!r}]"
            shape = find_value(part, like, f"part of the state of {name!r}, in `initial`").shape
            if callable(value):
                value = _drawn(what, value, shape, _keys(what, key, name, part, shape[0]))
            value = as_numbers(what, value)
            if value.shape != shape or not jnp.issubdtype(value.dtype, jnp.floating):
                raise ValueError(
                    f"`{what}` must be a floating array of shape {shape}, got {value.dtype} of "
                    f"shape {value.shape}."
                )
            check_finite(what, value)
            own[part] = value
        found[name] = own
    return found


def draws(initial: Any) -> bool:
    """Whether anything of `initial`, however it is, is drawn."""
    return not isinstance(initial, FinalState) and any(map(callable, jax.tree.leaves(initial)))


def _keys(what: str, key: RandomKey | None, name: str, part: str, size: int) -> Array:
    if key is None:
        raise ValueError(
            f"`{what}` must be an array, got a function: the state at which the neurons started "
            "has to be known here."
        )
    return keys_of_part(key, name, part, size)


def _drawn(what: str, fn: Callable[[Any], Any], shape: tuple[int, ...], keys: Array) -> Array:
    """What a function of a key gives each neuron."""
    check_function(what, fn, f"{what}(key)")
    one = lambda key: as_numbers(f"{what}(key)", fn(key))
    like = jax.eval_shape(one, keys[0])
    if like.shape != shape[1:] or not jnp.issubdtype(like.dtype, jnp.floating):
        raise ValueError(
            f"`{what}` must return the state of one neuron, a floating array of shape {shape[1:]}, "
            f"got {like.dtype} of shape {like.shape}."
        )
    return jax.vmap(one)(keys)


def bounds_of(network: SpikingNetwork, initial: Any) -> tuple[Bound, ...]:
    """What the values must be."""
    own = []
    if not isinstance(initial, FinalState):
        for parts in initial.values():
            if "s" in parts:
                own.append(Bound('initial["s"]', as_array(parts["s"]), "negative"))
    return (*network.bounds(), *own)


def initial_state(layout: Layout, initial: Any, dtype: Any, key: RandomKey) -> NetworkState:
    """The state at the start, with thresholds drawn where they were not given."""
    if isinstance(initial, FinalState):
        return jax.tree.map(lambda x: x.astype(dtype), initial.state)
    groups = []
    for n, (group, labels) in enumerate(zip(layout.groups, labels_of(layout, key), strict=True)):
        y = _at_rest(group, labels, dtype)
        for m in layout.members:
            own = initial.get(m.name, {})
            if m.group == n and own:
                values = {
                    part: y[part].at[m.start : m.stop].set(value.astype(dtype))
                    for part, value in own.items()
                }
                y = y.replaced(values)
        groups.append(y)
    return NetworkState(tuple(groups), layout.members)


def _at_rest(group: Any, labels: Labels, dtype: Any) -> PopulationState:
    every = jnp.zeros(group.size, dtype)

    def rest(part: eqx.Module) -> Any:
        state = mapped(lambda part, _: part.initial(), part, every)
        return jax.tree.map(lambda x: x.astype(dtype), state)

    s = None
    if group.hazard is not None:
        u = labels.of_all(jnp.zeros(group.size, jnp.int32), dtype)
        s = jnp.broadcast_to(group.threshold(u), (group.size,))
    return PopulationState(
        rest(group.neuron), {name: rest(port) for name, port in group.ports.items()}, s
    )
