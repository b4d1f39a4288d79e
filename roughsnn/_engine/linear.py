"""Linear neurons and synapses as matrices."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from .._conditions.affine import dependence, is_affine, is_constant
from .._misc import is_concrete, is_of_package
from .._model.equation import channels_of, group_noise
from .._model.layout import Group, Layout
from .._model.mapped import is_shared, mapped, one_of
from .._model.neuron import AbstractLinearNeuron, AbstractNeuron
from .._model.population import Population
from .._model.state import PopulationState
from .._model.synapse import AbstractConductance, AbstractLinearSynapse, AbstractSynapse
from .cell_state import Slopes


def components(tree: PyTree[Float[Array, "neurons ..."]]) -> list[Float[Array, " neurons"]]:
    """The numbers in the state of a neuron, one array over the neurons for each."""
    found = []
    for leaf in jax.tree.leaves(tree):
        flat = leaf.reshape(leaf.shape[0], -1)
        found += [leaf] if leaf.ndim == 1 else [flat[:, k] for k in range(flat.shape[1])]
    return found


def assembled(like: PyTree, values: list[Array]) -> PyTree:
    """The pytree with these components, arrays over the neurons, or numbers for one neuron; `like`
    has the shapes of one neuron."""
    leaves, structure = jax.tree.flatten(like)
    found, rest = [], list(values)
    for leaf in leaves:
        number = int(np.prod(leaf.shape, dtype=int))
        own, rest = rest[:number], rest[number:]
        if leaf.shape == ():
            found.append(own[0])
        else:
            stacked = jnp.stack(own, -1)
            found.append(stacked.reshape(*stacked.shape[:-1], *leaf.shape))
    return jax.tree.unflatten(structure, found)


def _numbers(tree: PyTree) -> list[Array]:
    """The numbers in the state of one neuron."""
    found = []
    for leaf in jax.tree.leaves(tree):
        flat = jnp.reshape(leaf, -1)
        found += [flat[k] for k in range(flat.shape[0])]
    return found


def state_shapes(part: Any, dtype: Any) -> PyTree:
    """The shapes of the state of one neuron or synapse."""
    shapes = jax.eval_shape(lambda: one_of(lambda part: part.initial(), part))
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, dtype), shapes)


def _of_all(fn: Callable, part: Any, size: int) -> Any:
    """`fn` of the parameters: once if all neurons share them, else for each."""
    if is_shared(part):
        return fn(part)
    return mapped(lambda part, _: fn(part), part, jnp.zeros(size))


class Affine(eqx.Module):
    """d(state)/dt = matrix state + gain input + shift, output = row state + level.

    One for all neurons, or with a leading axis of them. The patterns say which entries may differ
    from 0.
    """

    matrix: Float[Array, "*neurons size size"]
    gain: Float[Array, "*neurons size"]
    shift: Float[Array, "*neurons size"]
    row: Float[Array, "*neurons size"]
    level: Float[Array, "*neurons"]
    pattern: tuple[tuple[bool, ...], ...] = eqx.field(static=True)
    gains: tuple[bool, ...] = eqx.field(static=True)
    reads: tuple[bool, ...] = eqx.field(static=True)


class Matrices(eqx.Module):
    """The equations of a group of linear neurons and synapses."""

    neuron: Affine
    ports: dict[str, Affine]


def matrices_of(group: Group, dtype: Any) -> Matrices:
    """The equations of a group of linear neurons and synapses."""
    neuron = group.neuron
    assert isinstance(neuron, AbstractLinearNeuron)
    return Matrices(neuron_matrices(neuron, group.size, dtype), ports_of(group, dtype))


def ports_of(group: Group, dtype: Any) -> dict[str, Affine]:
    """The equations of its ports; of conductances those of their kernels."""
    ports = {}
    for name, port in group.ports.items():
        kernel = port.kernel if isinstance(port, AbstractConductance) else port
        assert isinstance(kernel, AbstractLinearSynapse)
        ports[name] = synapse_matrices(kernel, group.size, dtype)
    return ports


def equations_of(group: Group, dtype: Any) -> Matrices | dict[str, Affine]:
    """The equations of all, or of the ports where the neurons are not linear."""
    return matrices_of(group, dtype) if is_linear(group) else ports_of(group, dtype)


def is_linear(part: Group | Population) -> bool:
    """Whether neurons and synapses are linear."""
    ports = part.ports.values()
    return isinstance(part.neuron, AbstractLinearNeuron) and all(
        isinstance(port, AbstractLinearSynapse) for port in ports
    )


def neuron_matrices(neuron: AbstractLinearNeuron, size: int, dtype: Any) -> Affine:
    """A neuron: its input is the current, its output the potential."""
    shapes = state_shapes(neuron, dtype)
    number = num_components(neuron, dtype)

    def moved(neuron, values):
        x = assembled(shapes, values[:-1])
        return _numbers(neuron.drift(jnp.zeros((), dtype), x, values[-1]))

    def read(neuron, values):
        return [neuron.potential(assembled(shapes, values))]

    return _affine(neuron, size, dtype, number, moved, read)


def synapse_matrices(synapse: AbstractLinearSynapse, size: int, dtype: Any) -> Affine:
    """A synapse: its input is what arrives, its output the current."""
    shapes = state_shapes(synapse, dtype)
    number = num_components(synapse, dtype)

    def moved(synapse, values):
        g = assembled(shapes, values[:-1])
        still = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        arrived = synapse.receive(still, values[-1])
        return [a + b for a, b in zip(_numbers(synapse.drift(g)), _numbers(arrived), strict=True)]

    def read(synapse, values):
        return [synapse.current(assembled(shapes, values), jnp.zeros((), dtype))]

    return _affine(synapse, size, dtype, number, moved, read)


def _affine(part, size: int, dtype, number: int, moved: Callable, read: Callable) -> Affine:
    zeros = [jnp.zeros((), dtype)] * number
    inputs = [*zeros, jnp.zeros((), dtype)]

    def parts(part):
        drift, slopes = _with_jacobian(lambda *v: moved(part, list(v)), inputs)
        value, row = _with_jacobian(lambda *v: read(part, list(v)), zeros)
        stack = lambda rows: jnp.stack([jnp.stack(row) for row in rows])
        slopes = stack(slopes)
        return slopes[:, :-1], slopes[:, -1], jnp.stack(drift), stack(row)[0], value[0]

    def reading(fn: Callable, values: list[Array]) -> list[list[bool]]:
        one = lambda *v: one_of(lambda part: fn(part, list(v)), part)
        return dependence(one, *values)

    pattern, (reads,) = reading(moved, inputs), reading(read, zeros)
    return Affine(
        *_of_all(parts, part, size),
        pattern=tuple(tuple(row[:-1]) for row in pattern),
        gains=tuple(row[-1] for row in pattern),
        reads=tuple(reads),
    )


def _with_jacobian(fn: Callable, values: list[Array]) -> tuple[list[Array], list[list[Array]]]:
    """The outputs, and for each the derivatives in all inputs."""
    out = [jnp.asarray(x) for x in fn(*values)]
    columns = []
    for k in range(len(values)):
        unit = tuple(
            jnp.ones_like(v) if n == k else jnp.zeros_like(v) for n, v in enumerate(values)
        )
        columns.append(jax.jvp(lambda *v: tuple(fn(*v)), tuple(values), unit)[1])
    return out, [list(row) for row in zip(*columns, strict=True)]


def check_linear(name: str, population: Population, dtype: Any) -> None:
    """`ValueError` for neurons and synapses that are not as linear as their types say; those of the
    package are."""
    neuron, still = population.neuron, None
    if isinstance(neuron, AbstractLinearNeuron) and not is_of_package(neuron):
        still = jax.tree.map(lambda x: x.astype(dtype), population.rest())
        _check_neuron(repr(name), neuron, still.neuron, population, dtype)
    for port, synapse in population.ports.items():
        synapse = synapse.kernel if isinstance(synapse, AbstractConductance) else synapse
        if isinstance(synapse, AbstractLinearSynapse) and not is_of_package(synapse):
            still = population.rest() if still is None else still
            g = jax.tree.map(lambda x: x.astype(dtype), still.ports[port])
            dw = jnp.ones((population.size, population.channels), dtype)
            _check_synapse(f"{port!r} of {name!r}", synapse, g, dw)


def _check_neuron(where: str, neuron: AbstractNeuron, x: PyTree, of: Population, dtype) -> None:
    every, dw = jnp.zeros(of.size, dtype), jnp.ones((of.size, of.channels), dtype)
    drift = lambda x, current, t: mapped(lambda n, x, i, t: n.drift(t, x, i), neuron, x, current, t)
    if not is_affine(drift, x, every, fixed=(every,)):
        _refuse(where, neuron, "drift must be affine in the state and the current")
    if not is_constant(lambda t: drift(x, every, t), every):
        _refuse(where, neuron, "drift must not read the time")
    if not is_affine(lambda x: mapped(lambda n, x: n.potential(x), neuron, x), x):
        _refuse(where, neuron, "potential must be affine in the state")
    if not is_constant(lambda x: mapped(lambda n, x, dw: n.noise(x, dw), neuron, x, dw), x):
        _refuse(where, neuron, "noise must not depend on the state")


def _refuse(where: str, part: Any, must: str) -> None:
    raise ValueError(
        f"The {type(part).__name__} of {where} is not linear: its {must}. Derive it from "
        "roughsnn.AbstractNeuron, roughsnn.AbstractConductance or roughsnn.AbstractSynapse."
    )


def _check_synapse(where: str, synapse: AbstractSynapse, g: PyTree, dw: Array) -> None:
    every = dw[:, 0] if dw.shape[1] else jnp.ones(dw.shape[0], dw.dtype)
    drift = lambda g: mapped(lambda p, g: p.drift(g), synapse, g)
    current = lambda g, v: mapped(lambda p, g, v: p.current(g, v), synapse, g, v)
    still = jax.tree.map(jnp.zeros_like, g)
    at_0 = drift(still), current(still, every)
    moves = is_concrete(at_0) and any(np.any(np.asarray(x) != 0) for x in jax.tree.leaves(at_0))
    if not is_affine(drift, g) or moves:
        _refuse(where, synapse, "drift and current must be linear in the state, 0 where that is 0,")
    if not is_affine(current, g, fixed=(every,)):
        _refuse(where, synapse, "current must be linear in the state")
    if not is_constant(lambda v: current(g, v), every):
        _refuse(where, synapse, "current must not read the potential")
    if not is_constant(lambda g: mapped(lambda p, g, dw: p.noise(g, dw), synapse, g, dw), g):
        _refuse(where, synapse, "noise must not depend on the state")


def slopes_of(layout: Layout, dx: Float[Array, " noises"]) -> tuple[Slopes | None, ...]:
    """What the slopes of the noise add to those of the components of each group; `None` where
    nothing can."""
    found, start = [], 0
    for group in layout.groups:
        stop = start + group.size * len(group.drawn)
        if start == stop:
            found.append(None)
            continue
        zero = jnp.zeros(group.size, dx.dtype)
        own, start = dx[start:stop], stop
        like = lambda part, zero=zero: assembled(
            state_shapes(part, zero.dtype), [zero] * num_components(part, zero.dtype)
        )
        ports = {name: like(port) for name, port in group.ports.items()}
        moved = group_noise(group, PopulationState(like(group.neuron), ports, None), own)
        some = lambda part, x: (
            components(x) if part.channels_drawn() else [None] * len(components(x))
        )
        neuron = some(group.neuron, moved.neuron)
        if not is_linear(group):
            channels = channels_of(group, own)
            neuron = [channels[:, c] for c in range(group.channels)]
            neuron = neuron if group.neuron.channels_drawn() else []
        found.append(
            Slopes(
                neuron,
                {name: some(port, moved.ports[name]) for name, port in group.ports.items()},
            )
        )
    return tuple(found)


def num_components(part: Any, dtype: Any) -> int:
    """How many numbers there are in the state of one neuron or synapse."""
    return sum(int(np.prod(x.shape, dtype=int)) for x in jax.tree.leaves(state_shapes(part, dtype)))
