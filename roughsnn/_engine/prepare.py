"""From a network, a drive and a key to an event SDE, the same for every engine."""

from typing import Literal, NamedTuple

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array

from .._conditions.conditions import conditions_of
from .._event.crossing import AbstractCrossing, QuadraticCrossing
from .._event.event import Event
from .._misc import as_array, check_finite, is_concrete
from .._model.firing import StochasticFiring, ThresholdFiring
from .._model.inputs import SpikeInput
from .._model.membrane import LIF, AbstractLinearMembrane
from .._model.multiplicative import MultiplicativeLIF
from .._model.network import SpikingNetwork, evaluate_drive
from .._model.state import NeuronState
from .._path.base import AbstractGridPath, AbstractJumpPath
from .._path.brownian import BrownianPath
from .._path.grid import GridPath
from .._random import RandomKey, seeds, split, uniform
from .._solve.localise import check_grid
from .._types import Drive
from .exponential import ExponentialTrapezoid


class Model(NamedTuple):
    """What is known of a simulation before it is traced; static under `jit`."""

    num_neurons: int
    dtype: jnp.dtype
    # The noise channels that are drawn.
    channels: tuple[int, ...]
    conditions: Literal["hold", "unchecked", "waived"]


class Prepared(NamedTuple):
    """An event SDE with its randomness, and what solves it by default."""

    terms: dfx.AbstractTerm
    event: Event
    y0: NeuronState
    event_key: RandomKey
    path: AbstractGridPath | None
    solver: dfx.AbstractSolver
    root_finder: optx.AbstractRootFinder | AbstractCrossing | None
    jump_ts: Array | None


def check_model(
    network: SpikingNetwork,
    drive: Drive,
    t0: float,
    t1: float,
    dt0: float,
    *,
    initial: NeuronState | None,
    noise: AbstractGridPath | None = None,
    spike_input: SpikeInput | None = None,
    adaptive: bool = False,
) -> Model:
    """Checks what [`roughsnn.simulate`][] takes, values too where they are known."""
    if not isinstance(network, SpikingNetwork):
        raise TypeError(
            f"`network` must be a roughsnn.SpikingNetwork, got {type(network).__name__}."
        )
    neurons, dtype = _check_drive(network, drive, t0)
    _check_initial(initial, neurons)
    channels, shape = network.membrane.channels_drawn(), (neurons, network.membrane.channels)
    if noise is not None:
        _check_noise(noise, shape)
        check_grid(noise, t0, t1, dt0)
    if spike_input is not None:
        spike_input.check(neurons, t0, t1)
    if adaptive and (noise is not None or channels):
        raise ValueError(
            "Adaptive steps are for networks without noise: the noise is known on cells of length "
            "`dt0`. Leave out `stepsize_controller`, or give the membrane sigma=None."
        )
    conditions = _check_conditions(network, drive, t0, neurons, dtype, noise is not None)
    return Model(neurons, dtype, channels, conditions)


def prepare(
    network: SpikingNetwork,
    drive: Drive,
    model: Model,
    t0: float,
    t1: float,
    dt0: float,
    key: RandomKey,
    *,
    initial: NeuronState | None,
    solver: dfx.AbstractSolver | None = None,
    root_finder=None,
    interpolation: Literal["linear", "parabola"] = "linear",
    noise: AbstractGridPath | None = None,
    spike_input: SpikeInput | None = None,
    adaptive: bool = False,
) -> Prepared:
    """Draws noise and first thresholds of what was checked."""
    neurons, dtype = model.num_neurons, model.dtype
    path_key, event_key = split(key)
    y0 = _initial_state(network, initial, neurons, dtype, event_key)
    path = None
    if noise is not None:
        path = jax.tree.map(lambda x: x.astype(dtype), noise)
    elif model.channels:
        path = BrownianPath(
            t0,
            t1,
            dt0,
            shape=(neurons, network.membrane.channels),
            key=path_key,
            interpolation=interpolation,
            dtype=dtype,
            columns=model.channels,
        )
    jumps = None if spike_input is None else spike_input.path(t0, t1)
    curved = path is not None and path.arrays()[1] is not None
    if solver is None and adaptive:
        solver = dfx.Tsit5()
    if solver is None and isinstance(network.membrane, AbstractLinearMembrane):
        solver = ExponentialTrapezoid(NeuronState(*network.membrane.rates, None), curved)
        if root_finder is None and isinstance(network.firing, StochasticFiring):
            root_finder = QuadraticCrossing(pieces=2 if curved else 1)
    return Prepared(
        terms=network.terms(drive, path, jumps),
        event=network.event(),
        y0=y0,
        event_key=event_key,
        path=path,
        solver=(dfx.Tsit5() if curved else dfx.Heun()) if solver is None else solver,
        root_finder=root_finder,
        jump_ts=drive.jump_times if isinstance(drive, AbstractJumpPath) else None,
    )


def _check_noise(noise: AbstractGridPath, shape: tuple[int, int]) -> None:
    if not isinstance(noise, AbstractGridPath):
        raise TypeError(
            "`noise` must be a roughsnn.GridPath or a roughsnn.BrownianPath, got a "
            f"{type(noise).__name__}."
        )
    got = jax.eval_shape(noise.arrays)[0].shape[1:]
    if got != shape:
        raise ValueError(
            f"`noise` must have values of shape (neurons, channels) = {shape}, with a channel for "
            f"each column of `sigma`, got {got}."
        )


def _check_drive(network: SpikingNetwork, drive: Drive, t0: float) -> tuple[int, jnp.dtype]:
    if not callable(drive) and not isinstance(drive, dfx.AbstractPath):
        raise TypeError(
            "`drive` must be a callable t -> (neurons,) or a diffrax.AbstractPath, got a "
            f"{type(drive).__name__}. For a constant input c use `lambda t: c`."
        )
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


def _check_conditions(network, drive: Drive, t0: float, neurons: int, dtype, noisy: bool):
    """What is known of C1-C5. The package's own parts meet them by construction."""
    if network.conditions == "waive":
        return "waived"
    firing = type(network.firing) in (StochasticFiring, ThresholdFiring)
    own = firing and type(network.membrane) in (LIF, MultiplicativeLIF)
    if own:
        return "hold"
    level = network.firing.level(jnp.full(neurons, 0.5, dtype))
    path = None
    if noisy or network.membrane.channels_drawn():
        # Where the noise acts, whatever it is.
        still = jnp.zeros((1, neurons, network.membrane.channels), dtype)
        path = GridPath(still, t0=t0, t1=t0 + 1, dt=1.0)
    with jax.ensure_compile_time_eval():
        zero = jnp.zeros(neurons, dtype)
        y = NeuronState(zero, zero, level)
    return conditions_of(network.terms(drive, path), network.event(), t0, y, None)


def _check_initial(initial: NeuronState | None, neurons: int) -> None:
    if initial is None:
        return
    if not isinstance(initial, NeuronState):
        raise TypeError(f"`initial` must be a roughsnn.NeuronState, got {type(initial).__name__}.")
    for name in ("v", "i", "s"):
        value = getattr(initial, name)
        if name == "s" and value is None:
            continue
        value = as_array(value)
        if value.shape != (neurons,) or not jnp.issubdtype(value.dtype, jnp.floating):
            raise ValueError(
                f"`initial.{name}` must be a floating array of shape ({neurons},), got "
                f"{value.dtype} of shape {value.shape}."
            )
        check_finite(f"initial.{name}", value)
    s = initial.s
    if s is not None and is_concrete(s) and bool(np.any(np.asarray(s) >= 0)):
        raise ValueError(f"`initial.s` must be negative, got {s}.")


def _initial_state(network, initial, neurons: int, dtype, key: RandomKey) -> NeuronState:
    zero = jnp.zeros(neurons, dtype)
    v, i, s = (zero, zero, None) if initial is None else (initial.v, initial.i, initial.s)
    if s is None:
        words = seeds(key)
        u = jax.vmap(lambda k: uniform(words, k, 0, dtype))(jnp.arange(neurons))
        level = network.firing.level(u)
        s = None if level is None else jnp.broadcast_to(level, (neurons,))
    s = None if s is None else jnp.asarray(s, dtype)
    return NeuronState(jnp.asarray(v, dtype), jnp.asarray(i, dtype), s)
