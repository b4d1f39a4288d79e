"""What is to be simulated: checked once, at the door, for every engine."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, TypedDict, Unpack

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import paramax
from jaxtyping import Array, Bool, Int

from .._check import check_kind
from .._conditions.conditions import conditions_of
from .._misc import as_array, as_numbers, check_finite, described, is_concrete, where_tree
from .._model.domain import Bound
from .._model.drive import Constant, Rows, as_drive, evaluate_drive
from .._model.firing import StochasticFiring, ThresholdFiring
from .._model.inputs import SpikeInput
from .._model.membrane import LIF
from .._model.multiplicative import MultiplicativeLIF
from .._model.network import SpikingNetwork
from .._model.state import NeuronState
from .._path.base import AbstractGridPath
from .._path.brownian import Brownian, BrownianPath
from .._path.grid import GridPath, divided, local_path
from .._random import RandomKey, check_key, seeds, split, uniform
from .._refine import refined_window
from .._solve.engine import EventByEvent
from .._solve.localise import check_grid
from .._solve.step import Grid
from .._types import Drive, DriveFunction
from .._window import Clock, Window, as_window, check_capacity
from .base import Lockstep
from .fast import check_cell
from .final import FinalState, kind_of


class Problem(eqx.Module):
    """What [`roughsnn.simulate`][] and its kin were told, once it was checked."""

    network: SpikingNetwork
    drive: DriveFunction
    key: RandomKey
    initial: NeuronState | FinalState | None
    noise: AbstractGridPath | None
    inputs: tuple[SpikeInput, ...]
    # The window, and with it noise, inputs and all that comes out, is counted from its start;
    # only the drive reads the clock.
    window: Window
    clock: Clock
    # The room for spikes.
    max_spikes: int = eqx.field(static=True)
    interpolation: Literal["linear", "parabola"] = eqx.field(static=True)
    neurons: int = eqx.field(static=True)
    dtype: jnp.dtype = eqx.field(static=True)
    # The noise channels that are drawn.
    channels: tuple[int, ...] = eqx.field(static=True)
    conditions: Literal["hold", "unchecked", "waived"] = eqx.field(static=True)

    @property
    def noisy(self) -> bool:
        """Whether there is noise."""
        return self.noise is not None or len(self.channels) > 0

    @property
    def counts(self) -> Int[Array, " neurons"]:
        """How many spikes each neuron has had in earlier windows."""
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
    def given(self) -> Bool[Array, ""]:
        """Whether the first thresholds were given."""
        if isinstance(self.initial, FinalState):
            return self.initial.given
        return jnp.array(self.initial is not None and self.initial.s is not None)

    @property
    def outside(self) -> Bool[Array, ""]:
        """Whether a parameter is outside of its domain."""
        holds = [bound.holds() for bound in _bounds(self.network, self.initial)]
        return ~jnp.all(jnp.stack(holds)) if holds else jnp.array(False)

    def end(self, state: NeuronState, counts, told, engine: Any, good) -> FinalState | None:
        """Where the next window starts, if one can; nan if the simulation was not `good`."""
        if self.window.stop_after is not None or not self.window.whole:
            return None
        nowhere = jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), state)
        cells = self.clock.cells + self.window.cells
        return FinalState(
            state=where_tree(good, state, nowhere),
            counts=counts,
            told=told,
            given=self.given,
            clock=dataclasses.replace(self.clock, cells=cells),
            kind=kind_of(self.network, engine),
        )

    def draw(self) -> tuple[NeuronState, RandomKey, AbstractGridPath | None]:
        """The state at the start, the key of the thresholds, and the noise."""
        path_key, event_key = split(self.key)
        y0 = _initial_state(self.network, self.initial, self.neurons, self.dtype, event_key)
        if self.noise is not None:
            return y0, event_key, jax.tree.map(lambda x: x.astype(self.dtype), self.noise)
        if not self.channels:
            return y0, event_key, None
        path = BrownianPath(
            self.window.t0,
            self.window.t1,
            self.window.dt0,
            shape=(self.neurons, self.network.membrane.channels),
            key=path_key,
            interpolation=self.interpolation,
            dtype=self.dtype,
            columns=self.channels,
            first=self.clock.cells,
        )
        return y0, event_key, path


class Given(TypedDict, total=False):
    """What a simulation may be given besides; see [`roughsnn.simulate`][]."""

    initial: NeuronState | FinalState | None
    noise: AbstractGridPath | Brownian | None
    inputs: SpikeInput | Sequence[SpikeInput]


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
    drive = as_drive(drive, asked, clock)
    if isinstance(drive, Rows) and window != asked:
        drive = drive.repeated(window.cells)
    neurons, dtype = check_drive(network, drive, window.t0)
    check_sizes(network, neurons)
    if isinstance(initial, FinalState):
        initial.check(kind_of(network, engine), neurons, window.dt0)
        initial = _check_final(initial)
        # The lockstep engine takes rows by their number.
        if not isinstance(drive, Constant) and not (
            isinstance(drive, Rows) and isinstance(engine, Lockstep)
        ):
            _check_clock(clock, window, dtype)
    else:
        check_initial(initial, neurons)
    for bound in _bounds(network, initial):
        bound.check()
    if not (isinstance(engine, EventByEvent) and engine.adaptive):
        check_cell(network.membrane, window.dt0)
    if noise is None or isinstance(noise, Brownian):
        interpolation = "linear" if noise is None else noise.interpolation
        noise = None
    else:
        _check_noise(noise, (neurons, network.membrane.channels))
        check_grid(noise, window.t0, window.t1, asked.dt0)
        noise = divided(local_path(noise), round(asked.dt0 / window.dt0))
    inputs = as_inputs(given.get("inputs", ()))
    inputs = tuple(one.checked(neurons, window.t0, window.t1) for one in inputs)
    return Problem(
        network=network,
        drive=drive,
        key=check_key(key),
        initial=initial,
        noise=noise,
        inputs=inputs,
        window=window.local(),
        clock=clock,
        max_spikes=max_spikes,
        interpolation=interpolation,
        neurons=neurons,
        dtype=dtype,
        channels=network.membrane.channels_drawn(),
        conditions=_check_conditions(network, drive, window.t0, neurons, dtype, noise is not None),
    )


def as_inputs(inputs: Any) -> tuple[SpikeInput, ...]:
    """Spike inputs as a tuple."""
    inputs = (inputs,) if isinstance(inputs, SpikeInput) else inputs
    if not isinstance(inputs, tuple | list) or not all(isinstance(x, SpikeInput) for x in inputs):
        raise TypeError(
            f"`inputs` must be a roughsnn.SpikeInput or a tuple of them, got {described(inputs)}."
        )
    return tuple(inputs)


def _check_noise(noise: AbstractGridPath, shape: tuple[int, int]) -> None:
    if not isinstance(noise, AbstractGridPath):
        raise TypeError(
            "`noise` must be a roughsnn.Brownian, or a path like a roughsnn.GridPath, got a "
            f"{type(noise).__name__}."
        )
    got = jax.eval_shape(noise.arrays)[0].shape[1:]
    if got != shape:
        raise ValueError(
            f"`noise` must have values of shape (neurons, channels) = {shape}, with a channel for "
            f"each column of `sigma`, got {got}."
        )


def check_drive(network: SpikingNetwork, drive: DriveFunction, t0: float) -> tuple[int, jnp.dtype]:
    leaves = [x for x in jax.tree.leaves(network) if eqx.is_inexact_array(x)]
    dtype = jnp.result_type(*leaves) if leaves else jnp.result_type(float)
    out = eqx.filter_eval_shape(lambda t: evaluate_drive(drive, t), jnp.asarray(t0, dtype))
    if not isinstance(out, jax.ShapeDtypeStruct) or len(out.shape) != 1:
        got = getattr(out, "shape", type(out).__name__)
        raise ValueError(f"`drive` must return an array of shape (neurons,), got {got}.")
    if not jnp.issubdtype(out.dtype, jnp.floating):
        raise ValueError(f"`drive` must return a floating dtype, got {out.dtype}.")
    if network.num_neurons not in (None, out.shape[0]):
        raise ValueError(
            f"`drive` must return one input for each of the {network.num_neurons} neurons, "
            f"got shape {out.shape}."
        )
    return out.shape[0], jnp.result_type(out.dtype, dtype)


def check_sizes(network: SpikingNetwork, neurons: int) -> None:
    """Refuses parameters for another number of neurons, of fields annotated with `*neurons`."""
    parts = [network.membrane, network.firing]
    if isinstance(network.firing, StochasticFiring):
        parts.append(network.firing.intensity)
    for part in parts:
        for field in dataclasses.fields(part):
            axes = getattr(field.type, "dim_str", "").split()
            if axes[-1:] != ["*neurons"]:
                continue
            shape: tuple[int, ...] = np.shape(getattr(part, field.name))
            if len(shape) >= len(axes) > 0 and shape[-1] not in (1, neurons):
                fixed = ", ".join(axes[:-1])
                wanted = f"({fixed}, {neurons})" if fixed else f"({neurons},)"
                raise ValueError(
                    f"`{field.name}` must have shape ({fixed}) or {wanted} for {neurons} neurons, "
                    f"got {shape}."
                )


def _check_conditions(network, drive: DriveFunction, t0: float, neurons: int, dtype, noisy: bool):
    """What is known of C1-C5. The package's own parts meet them by construction."""
    if network.conditions == "waive":
        return "waived"
    firing = type(network.firing) in (StochasticFiring, ThresholdFiring)
    own = firing and type(network.membrane) in (LIF, MultiplicativeLIF)
    if own:
        return "hold"
    threshold = network.firing.draw_threshold(jnp.full(neurons, 0.5, dtype))
    path = None
    if noisy or network.membrane.channels_drawn():
        # Where the noise acts, whatever it is.
        still = jnp.zeros((1, neurons, network.membrane.channels), dtype)
        path = GridPath(still, t0=0.0, t1=1.0, dt=1.0)
    with jax.ensure_compile_time_eval():
        zero, t = jnp.zeros(neurons, dtype), jnp.asarray(t0, dtype)
        y = NeuronState(zero, zero, threshold)
    return conditions_of(network.terms(drive, path), network.event(), t, y, None)


def check_initial(initial: NeuronState | None, neurons: int) -> None:
    if initial is None:
        return
    if not isinstance(initial, NeuronState):
        raise TypeError(
            "`initial` must be a roughsnn.NeuronState, or the `final` of a simulation, got "
            f"{type(initial).__name__}."
        )
    for name in ("v", "i", "s"):
        value = getattr(initial, name)
        if name == "s" and value is None:
            continue
        value = as_numbers(f"initial.{name}", value)
        if value.shape != (neurons,) or not jnp.issubdtype(value.dtype, jnp.floating):
            raise ValueError(
                f"`initial.{name}` must be a floating array of shape ({neurons},), got "
                f"{value.dtype} of shape {value.shape}."
            )
        check_finite(f"initial.{name}", value)


def _bounds(network: SpikingNetwork, initial: NeuronState | FinalState | None):
    """What the values must be."""
    s = initial.s if isinstance(initial, NeuronState) else None
    own = () if s is None else (Bound("initial.s", as_array(s), "negative"),)
    return (*network.bounds(), *own)


def _check_final(final: FinalState) -> FinalState:
    if is_concrete(final.state.v) and np.any(np.isnan(np.asarray(final.state.v))):
        raise ValueError("`initial` is the end of a simulation that failed: nothing goes on there.")
    return final


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


def _initial_state(network, initial, neurons: int, dtype, key: RandomKey) -> NeuronState:
    initial = initial.state if isinstance(initial, FinalState) else initial
    zero = jnp.zeros(neurons, dtype)
    v, i, s = (zero, zero, None) if initial is None else (initial.v, initial.i, initial.s)
    if s is None:
        words = seeds(key)
        numbers = jnp.arange(neurons, dtype=jnp.int32)
        u = uniform(words, numbers, jnp.zeros_like(numbers), dtype)
        threshold = network.firing.draw_threshold(u)
        s = None if threshold is None else jnp.broadcast_to(threshold, (neurons,))
    s = None if s is None else jnp.asarray(s, dtype)
    return NeuronState(jnp.asarray(v, dtype), jnp.asarray(i, dtype), s)
