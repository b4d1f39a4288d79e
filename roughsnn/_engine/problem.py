"""What is to be simulated: checked once, at the door, for every engine."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict, Unpack

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import paramax
from jaxtyping import Array, Bool, Float, Int

from .._check import check_kind
from .._misc import is_concrete, where_tree
from .._model.connectivity import SparseWeights
from .._model.drive import Constant, Rows, as_drive, evaluate_drive
from .._model.layout import Layout, layout_of
from .._model.links import links_of
from .._model.network import SpikingNetwork
from .._model.plasticity import Plastic
from .._model.state import NetworkState
from .._model.stdp import Learned
from .._path.base import AbstractGridPath
from .._path.brownian import Brownian
from .._path.grid import GridPath, divided, local_path
from .._random import RandomKey, check_key, split
from .._refine import refined_window
from .._solve.engine import EventByEvent
from .._solve.localise import check_grid
from .._solve.step import Grid
from .._train.spike_train import SpikeTrain
from .._types import Drive, DriveFunction
from .._window import Clock, Window, as_window, check_capacity
from .base import Lockstep
from .fast import check_cell
from .final import FinalState, Past, kind_of
from .initial import as_initial, bounds_of, initial_state
from .known import check_conditions
from .linear import check_linear
from .noise import check_noise, drawn_path, flat_path
from .sources import Arriving, as_trains, coming_of, left_of


class Problem(eqx.Module):
    """What [`roughsnn.simulate`][] and its kin were told, once it was checked."""

    network: SpikingNetwork
    drive: DriveFunction
    key: RandomKey
    initial: dict[str, dict[str, Float[Array, "neurons ..."]]] | FinalState
    noise: AbstractGridPath | None
    inputs: dict[str, SpikeTrain]
    # The window, and with it noise, inputs and all that comes out, is counted from its start;
    # only the drive reads the clock.
    window: Window
    clock: Clock
    # The capacity for spikes.
    max_spikes: int = eqx.field(static=True)
    interpolation: Literal["linear", "parabola"] = eqx.field(static=True)
    dtype: jnp.dtype = eqx.field(static=True)
    # The noise channels of each population that are drawn.
    channels: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    conditions: Literal["hold", "unchecked", "waived"] = eqx.field(static=True)
    # The groups of the network, once they are made.
    groups: Layout | None = None

    @property
    def noisy(self) -> bool:
        """Whether there is noise."""
        return self.noise is not None or any(self.channels)

    @property
    def neurons(self) -> int:
        """The number of neurons."""
        return self.network.num_neurons

    @property
    def layout(self) -> Layout:
        """The groups of the network."""
        return layout_of(self.network, self.channels) if self.groups is None else self.groups

    def grouped(self) -> "Problem":
        """The same with its groups made, so that a program makes them once."""
        return dataclasses.replace(self, groups=self.layout)

    @property
    def counts(self) -> Int[Array, " neurons"]:
        """How many spikes each neuron, group after group, has had in earlier windows."""
        if isinstance(self.initial, FinalState):
            return self.initial.counts
        return jnp.zeros(self.neurons, jnp.int32)

    @property
    def told(self) -> Int[Array, " neurons"]:
        """How many spikes of each neuron come again although an earlier window holds them."""
        if isinstance(self.initial, FinalState):
            return self.initial.told
        return jnp.zeros(self.neurons, jnp.int32)

    @property
    def grid(self) -> Grid:
        """The cells."""
        return Grid.of(self.window, self.clock)

    @property
    def given(self) -> Bool[Array, " neurons"]:
        """Whether the first threshold of each neuron, group after group, was given."""
        if isinstance(self.initial, FinalState):
            return self.initial.given
        layout, initial = self.layout, self.initial
        starts = np.cumsum([0, *(group.size for group in layout.groups)])
        given = np.zeros(self.neurons, bool)
        for m in layout.members:
            at = starts[m.group]
            given[at + m.start : at + m.stop] = "s" in initial.get(m.name, {})
        return jnp.asarray(given)

    @property
    def outside(self) -> Bool[Array, ""]:
        """Whether a parameter is outside of its domain."""
        holds = [bound.holds() for bound in bounds_of(self.network, self.initial)]
        return ~jnp.all(jnp.stack(holds)) if holds else jnp.array(False)

    def end(
        self,
        state: NetworkState,
        counts,
        told,
        engine: Any,
        good,
        past: Past | None,
        arriving: Sequence[Arriving],
    ) -> FinalState | None:
        """Where the next window starts, if one can; nan if the simulation was not `good`. `past` is
        what the engine needs to know besides, `arriving` the spikes of sources."""
        if self.window.stop_after is not None or not self.window.whole:
            return None
        state = dataclasses.replace(state, plastic=state.plastic | left_of(arriving))
        nowhere = jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), state)
        cells = self.clock.cells + self.window.cells
        return FinalState(
            state=where_tree(good, state, nowhere),
            counts=counts,
            told=told,
            given=self.given,
            past=where_tree(good, past, jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), past)),
            clock=dataclasses.replace(self.clock, cells=cells),
            kind=kind_of(self.network, engine),
            coming=coming_of(arriving),
        )

    def start(self) -> tuple[NetworkState, RandomKey]:
        """The state at the start, and the key of the thresholds."""
        _, event_key = split(self.key)
        y0 = initial_state(self.layout, self.initial, self.dtype, event_key)
        if isinstance(self.initial, FinalState) or not self.network.plastic:
            return y0, event_key
        plastic: dict[str, Plastic | Learned] = {}
        for which in ("known", "within", "delayed"):
            for link in links_of(self.network, self.layout, which):
                shape, weights = link.weights.shape, link.weights
                if link.plasticity is not None:
                    plastic[link.name] = Plastic.rest(link.plasticity, shape[0], self.dtype)
                if link.learning is not None:
                    values = weights.values if isinstance(weights, SparseWeights) else weights
                    neurons = shape[0], shape[1]
                    plastic[link.name] = Learned.start(values, neurons, self.dtype)
        return dataclasses.replace(y0, plastic=plastic), event_key

    def arriving(self, y0: NetworkState) -> tuple[Arriving, ...]:
        """The spikes of the sources, by the links that they have."""
        found: list[Arriving] = []
        coming = self.initial.coming if isinstance(self.initial, FinalState) else {}
        for link in links_of(self.network, self.layout, "known"):
            if link.source is not None:
                train, start = self.inputs[link.source], y0.plastic.get(link.name)
                start = start if isinstance(start, Plastic) else None
                found.append(Arriving.of(link, train, start, coming.get(link.name)))
        return tuple(found)

    def given_noise(self) -> GridPath | None:
        """The noise that was given, in the order of what is drawn, in a row."""
        if self.noise is None:
            return None
        path = jax.tree.map(lambda x: x.astype(self.dtype), self.noise)
        return flat_path(self.layout, path)

    def drawn(self, first: int | Int[Array, ""], cells: int) -> GridPath:
        """The noise of all neurons and channels that are drawn, in a row, in so many cells from
        `first` on: the same numbers in whatever pieces."""
        path_key, _ = split(self.key)
        window = Window(0.0, cells * self.window.dt0, self.window.dt0)
        first = self.clock.cells + first
        return drawn_path(self.layout, path_key, window, self.interpolation, self.dtype, first)

    def draw(self) -> tuple[NetworkState, RandomKey, GridPath | None]:
        """The state at the start, the key of the thresholds, and all of the noise."""
        y0, event_key = self.start()
        if self.noise is not None or not self.noisy:
            return y0, event_key, self.given_noise()
        path_key, _ = split(self.key)
        path = drawn_path(
            self.layout, path_key, self.window, self.interpolation, self.dtype, self.clock.cells
        )
        return y0, event_key, path


class Given(TypedDict, total=False):
    """What a simulation may be given besides; see [`roughsnn.simulate`][]."""

    initial: Mapping[str, Any] | FinalState | None
    noise: AbstractGridPath | Brownian | None
    inputs: Mapping[str, SpikeTrain]


def as_network(network: Any) -> SpikingNetwork:
    """The network, its parameters unwrapped."""
    network = paramax.unwrap(network)
    return check_kind("network", network, SpikingNetwork, "a roughsnn.SpikingNetwork")


def pose(
    network: SpikingNetwork,
    drive: Drive,
    window: Window,
    *,
    key: RandomKey,
    max_spikes: int,
    engine: Any,
    **given: Unpack[Given],
) -> Problem:
    """Checks what [`roughsnn.simulate`][] takes, values too where they are known."""
    network = as_network(network)
    asked = as_window(window)
    window = refined_window(asked)
    max_spikes = check_capacity("max_spikes", max_spikes, window)
    initial, noise, interpolation = given.get("initial"), given.get("noise"), "linear"
    clock = initial.clock if isinstance(initial, FinalState) else Clock.of(window)
    drive = as_drive(drive, asked, clock, network)
    if isinstance(drive, Rows) and window != asked:
        drive = drive.repeated(window.cells)
    dtype = check_drive(network, drive, window.t0)
    if isinstance(initial, FinalState):
        initial.check(kind_of(network, engine), window.dt0)
        # The lockstep engine takes rows by their number.
        if not isinstance(drive, Constant) and not (
            isinstance(drive, Rows) and isinstance(engine, Lockstep)
        ):
            _check_clock(clock, window, dtype)
    else:
        initial = as_initial(initial, network, check_key(key))
    for bound in bounds_of(network, initial):
        bound.check()
    for name, population in network.simulated.items():
        check_linear(name, population, dtype)
    channels = tuple(p.channels_drawn() for p in network.simulated.values())
    if noise is None or isinstance(noise, Brownian):
        interpolation = "linear" if noise is None else noise.interpolation
        noise = None
    else:
        check_noise(noise, network)
        check_grid(noise, window.t0, window.t1, asked.dt0)
        noise = divided(local_path(noise), round(asked.dt0 / window.dt0))
        channels = tuple(tuple(range(p.channels)) for p in network.simulated.values())
    if not (isinstance(engine, EventByEvent) and engine.adaptive):
        check_cell(network, window.dt0, engine, noise is not None or any(channels))
    return Problem(
        network=network,
        drive=drive,
        key=check_key(key),
        initial=initial,
        noise=noise,
        inputs=as_trains(given.get("inputs", {}), network, window),
        window=window.local(),
        clock=clock,
        max_spikes=max_spikes,
        interpolation=interpolation,
        dtype=dtype,
        channels=channels,
        conditions=check_conditions(network, drive, channels, window.t0, dtype),
    )


def check_drive(network: SpikingNetwork, drive: DriveFunction, t0: float) -> Any:
    """The dtype of the simulation; `ValueError` for a drive that does not fit."""
    leaves = [x for x in jax.tree.leaves(network) if eqx.is_inexact_array(x)]
    dtype = jnp.result_type(*leaves) if leaves else jnp.result_type(float)
    out = eqx.filter_eval_shape(lambda t: evaluate_drive(drive, t), jnp.asarray(t0, dtype))
    if not isinstance(out, jax.ShapeDtypeStruct) or len(out.shape) != 1:
        got = getattr(out, "shape", type(out).__name__)
        raise ValueError(f"`drive` must return an array of shape (neurons,), got {got}.")
    if not jnp.issubdtype(out.dtype, jnp.floating):
        raise ValueError(f"`drive` must return a floating dtype, got {out.dtype}.")
    if out.shape[0] != network.num_neurons:
        raise ValueError(
            f"`drive` must return one input for each of the {network.num_neurons} neurons, "
            f"got shape {out.shape}."
        )
    return jnp.result_type(out.dtype, dtype)


def _check_clock(clock: Clock, window: Window, dtype) -> None:
    """Refuses a clock that hardly tells the cells apart."""
    if not is_concrete(clock):
        return
    now = abs(float(clock.start(window.cells, float)))
    rounding = float(jnp.finfo(dtype).eps) * now
    if rounding > window.dt0 / 100:
        raise ValueError(
            f"The drive reads the time since the first window, {now:.6g}, of which {dtype} knows "
            f"multiples of {rounding:.2g}: too coarse for dt0={window.dt0}. Use an array of shape "
            "(neurons,) for each window, x64, or start anew from `final.state`."
        )
