"""The equations of a network as functions of time and state.

They are modules and not closures: those of a network with other numbers are the same functions, so
nothing is compiled again.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float, PyTree

from .._misc import joined, one_hot
from .._types import DriveFunction
from .drive import evaluate_drive
from .layout import Group, Layout
from .links import Link
from .mapped import mapped
from .plasticity import Fired
from .state import NetworkState, PopulationState
from .waiting import Agenda


class Drift(eqx.Module):
    """What moves the neurons between spikes: membranes, ports and hazards."""

    layout: Layout
    drive: DriveFunction

    def __call__(self, t, y: NetworkState, args) -> NetworkState:
        """dy/dt."""
        drive = evaluate_drive(self.drive, t)
        moved = [
            group_drift(group, t, state, group.of_network(drive))
            for group, state in zip(self.layout.groups, y.groups, strict=True)
        ]
        refractory = any(group.refractory is not None for group in self.layout.groups)
        if refractory and y.waiting is not None:
            held = self.layout.split(y.waiting.held(self.layout.size))
            moved = [
                state
                if state.s is None
                else dataclasses.replace(state, s=jnp.where(own, 0, state.s))
                for state, own in zip(moved, held, strict=True)
            ]
        return y.drift(moved)


def group_drift(
    group: Group, t, state: PopulationState, drive: Float[Array, " neurons"]
) -> PopulationState:
    """dy/dt of one group."""
    current = group.current(state)
    current = drive if current is None else current + drive
    neuron = mapped(lambda n, x, i: n.drift(t, x, i), group.neuron, state.neuron, current)
    ports = {
        name: mapped(lambda p, g: p.drift(g), port, state.ports[name])
        for name, port in group.ports.items()
    }
    s = None if state.s is None else group.rate(t, group.potential(state.neuron))
    return PopulationState(neuron, ports, s)


class Diffusion(eqx.Module):
    """How the noise acts: numbers for each neuron and channel that is drawn, in a row."""

    layout: Layout

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return sum(group.size * len(group.drawn) for group in self.layout.groups)

    def moved(self, y: NetworkState, dx: Float[Array, " noises"]) -> NetworkState:
        """What an increment adds to the state."""
        moved, start = [], 0
        for group, state in zip(self.layout.groups, y.groups, strict=True):
            stop = start + group.size * len(group.drawn)
            moved.append(group_noise(group, state, dx[start:stop]))
            start = stop
        return jax.tree.map(jnp.zeros_like, y).with_groups(moved)

    def __call__(self, t, y: NetworkState, args) -> lx.FunctionLinearOperator:
        """The map from increments to those of the state."""
        dtype = jnp.result_type(*jax.tree.leaves(y))
        act = lambda dx: self.moved(y, dx)
        return lx.FunctionLinearOperator(act, jax.ShapeDtypeStruct((self.size,), dtype))


def channels_of(group: Group, dx: Float[Array, " noises"]) -> Float[Array, "neurons channels"]:
    """The numbers for each neuron and channel, 0 for channels that are not drawn."""
    zero = jnp.zeros(group.size, dx.dtype)
    drawn = dx.reshape(group.size, len(group.drawn))
    of_channel = {c: drawn[:, n] for n, c in enumerate(group.drawn)}
    columns = [of_channel.get(c, zero) for c in range(group.channels)]
    return jnp.stack(columns, -1) if columns else jnp.zeros((group.size, 0), dx.dtype)


def group_noise(
    group: Group, state: PopulationState, dx: Float[Array, " noises"]
) -> PopulationState:
    """What an increment adds to the state of a group."""
    dw = channels_of(group, dx)
    neuron = mapped(lambda n, x, dw: n.noise(x, dw), group.neuron, state.neuron, dw)
    ports = {
        name: mapped(lambda p, g, dw: p.noise(g, dw), port, state.ports[name], dw)
        for name, port in group.ports.items()
    }
    s = None if state.s is None else jnp.zeros_like(state.s)
    return PopulationState(neuron, ports, s)


class Arrivals(eqx.Module):
    """How spikes from outside act: their weights arrive at a port."""

    layout: Layout
    group: int = eqx.field(static=True)
    port: str = eqx.field(static=True)

    def __call__(self, t, y: NetworkState, args) -> lx.FunctionLinearOperator:
        """The map from weights, shape `(neurons of the group,)`, to increments of the state."""
        size, dtype = self.layout.groups[self.group].size, jnp.result_type(*jax.tree.leaves(y))

        def act(dx):
            arrive = lambda amount: received(self.layout, y, self.group, self.port, amount)
            return jax.jvp(arrive, (jnp.zeros_like(dx),), (dx,))[1]

        return lx.FunctionLinearOperator(act, jax.ShapeDtypeStruct((size,), dtype))


def received(
    layout: Layout, y: NetworkState, group: int, port: str, amount: Float[Array, " neurons"]
) -> NetworkState:
    """The state after arrivals at a port of a group."""
    synapse, g = layout.groups[group].ports[port], y.groups[group].ports[port]
    after = mapped(lambda p, g, w: p.receive(g, w), synapse, g, amount)
    return eqx.tree_at(lambda y: y.groups[group].ports[port], y, after)


class Excess(eqx.Module):
    """The event functions: a neuron fires where its own rises through 0; behind them those of what
    waits."""

    layout: Layout
    agenda: Agenda | None = None

    def __call__(self, t, y: NetworkState, args) -> Float[Array, " events"]:
        """E(y), one for each neuron, group after group."""
        each = [
            group.event(group.potential(state.neuron), state.s)
            for group, state in zip(self.layout.groups, y.groups, strict=True)
        ]
        if self.agenda is None:
            return joined(each)
        assert y.waiting is not None
        if self.agenda.releases:
            held = self.layout.split(y.waiting.held(self.layout.size))
            each = [jnp.where(own, -1, e) for own, e in zip(held, each, strict=True)]
        return joined([*each, jnp.where(y.waiting.used > 0, -y.waiting.left, -1)])


class Spike(eqx.Module):
    """What a spike of neuron k does: its state jumps, its next threshold is drawn, and its weights
    arrive at the ports of its targets."""

    layout: Layout
    links: tuple[Link, ...]
    agenda: Agenda | None = None

    def __call__(self, t, y: NetworkState, args, k, u) -> NetworkState:
        """The state just after."""
        hit = one_hot(k, self.layout.size)
        groups = [
            self._own(group, state, own, u)
            for group, state, own in zip(
                self.layout.groups, y.groups, self.layout.split(hit), strict=True
            )
        ]
        y, amplitudes, links = self._fired(y.with_groups(groups), hit)
        for link in links:
            amount = link.row(k, self.layout.size, amplitudes.get(link.name))
            amount = link.onto_group(amount, self.layout.groups[link.group].size)
            y = received(self.layout, y, link.group, link.port, amount)
        if self.agenda is None:
            return y
        assert y.waiting is not None
        waiting, amounts = self.agenda.after_waiting(y.waiting, k)
        for link, amount in zip(self.agenda.links, amounts, strict=True):
            y = received(self.layout, y, link.group, link.port, amount)
        waiting = self.agenda.after_spike(waiting, k, amplitudes)
        return dataclasses.replace(y, waiting=waiting)

    def _fired(
        self, y: NetworkState, hit: Array
    ) -> tuple[NetworkState, dict[str, Array], list[Link]]:
        """What plasticity makes of a spike, how strong that is by the rows of each link, and the
        links without delay, with the weights that it finds."""
        plastic, amplitudes, links = dict(y.plastic), {}, []
        spikes = hit, jnp.zeros(hit.shape, y.groups[0].parts_dtype)
        groups = [Fired(*x) for x in zip(*map(self.layout.split, spikes), strict=True)]
        for link in (*self.links, *(() if self.agenda is None else self.agenda.links)):
            held, own = plastic.get(link.name), Fired(*map(link.of_rows, spikes))
            link, strong, after = link.sent(held, own, groups[link.group], 0.0)
            links.append(link)
            if strong is not None:
                amplitudes[link.name] = strong
            if after is not None:
                plastic[link.name] = after
        return dataclasses.replace(y, plastic=plastic), amplitudes, links[: len(self.links)]

    def _own(self, group: Group, state: PopulationState, hit: Array, u) -> PopulationState:
        neuron = where_neurons(hit, group.spike(state.neuron), state.neuron)
        s = None if state.s is None else jnp.where(hit, group.threshold(u), state.s)
        return PopulationState(neuron, state.ports, s)


def where_neurons(hit: Array, on_hit: PyTree, otherwise: PyTree) -> PyTree:
    """The state of a neuron from one of two pytrees, whether it was hit or not."""

    def one(a, b):
        mask = hit.reshape(hit.shape + (1,) * (a.ndim - 1))
        return jnp.where(mask, a, b)

    return jax.tree.map(one, on_hit, otherwise)
