"""Single arguments: what each must be, and that NumPy scalars and lists do for numbers."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import roughsnn as rs

from .fuzzing import given as c

# pyright: reportArgumentType=false, reportCallIssue=false

# A row for each kind of mistake: the call, and the words of the one clear error.
REFUSED: dict[str, tuple[Any, str]] = {
    "root finder": (lambda: rs.EventByEvent(root_finder="nonsense"), "`root_finder` must be an"),
    "negative steps": (lambda: rs.EventByEvent(max_steps=-3), "`max_steps` must be a positive"),
    "event adjoint": (lambda: rs.EventByEvent(adjoint="x"), "`adjoint` must be a"),
    "lockstep adjoint": (lambda: rs.Lockstep(adjoint="x"), "`adjoint` must be a"),
    "lockstep with a root finder": (
        lambda: rs.Lockstep(root_finder="nonsense"),
        "unexpected keyword argument 'root_finder'",
    ),
    "interpolation": (lambda: rs.Brownian("cubic"), "`interpolation` must be 'linear' or"),
    "noise that is a word": (
        lambda: simulate(noise="cubic"),
        "`noise` must be a roughsnn.Brownian",
    ),
    "stop after nothing": (
        lambda: rs.Window(0.0, 1.0, 0.1, stop_after=0),
        "`stop_after` must be a positive integer, got 0",
    ),
    "stop after more than there is room for": (
        lambda: simulate(window=rs.Window(0.0, 0.4, 0.1, stop_after=50), max_spikes=30),
        "`stop_after` must not exceed `max_spikes`, got 50 > 30",
    ),
    "key that is a number": (lambda: simulate(key=0), "`key` must be one key"),
    "keys of a batch": (lambda: rs.antithetic(jax.random.split(c.KEY)), "Use|use jax.vmap"),
    "inputs that are a train": (lambda: simulate(inputs=c.POISSON), "`inputs` must be a"),
    "inputs that are no trains": (lambda: driven(inputs={"in": 1}), "`inputs"),
    "inputs without a source": (lambda: simulate(inputs={"a": c.POISSON}), "'a'"),
    "a source without inputs": (lambda: driven(), "`inputs`.*'in'"),
    "parameters of another size": (
        lambda: population(rs.neurons.LIF(jnp.ones(3))),
        r"`tau` must have shape \(\) or \(2,\) for 2 neurons, got \(3,\)",
    ),
    "noise of another size": (
        lambda: population(rs.neurons.LIF(sigma=jnp.ones((3, 4)))),
        r"`sigma` must have shape \(4,\) or \(2, 4\) for 2 neurons, got \(3, 4\)",
    ),
    "resets of another size": (
        lambda: population(rs.neurons.LIF(reset=rs.Subtract(np.ones(3)))),
        r"`by` must .*2 neurons.*\(3,\)",
    ),
    "thresholds of another size": (
        lambda: population(firing=rs.HardThreshold(np.ones(3))),
        r"`threshold` must .*2 neurons.*\(3,\)",
    ),
    "alpha of another size": (
        lambda: population(firing=rs.StochasticFiring(c.SOFTPLUS, np.ones(3))),
        r"`alpha` must .*2 neurons.*\(3,\)",
    ),
    "slopes of another size": (
        lambda: population(firing=rs.StochasticFiring(rs.SoftplusIntensity(np.ones(3)))),
        r"`beta` must .*2 neurons.*\(3,\)",
    ),
    "synapses of another size": (
        lambda: population(ports={"syn": rs.synapses.Exponential(np.ones(3))}),
        r"`tau` must .*2 neurons.*\(3,\)",
    ),
    "negative time scale": (
        lambda: rs.losses.filtered(c.TRAIN, c.TS, -0.1),
        "`timescale` must be positive, got -0.1",
    ),
    "unsorted times": (
        lambda: rs.losses.filtered(c.TRAIN, c.TS[::-1], 0.1),
        "`ts` must be in increasing order",
    ),
    "times that are nan": (
        lambda: rs.losses.filtered(c.TRAIN, c.TS.at[1].set(jnp.nan), 0.1),
        "`ts` must be finite",
    ),
    "negative bandwidth": (lambda: rs.PointKernel(bandwidth=-1.0), "`bandwidth` must be positive"),
    "negative scale": (lambda: rs.RBFStatic(-1.0), "`scale` must be positive"),
    "cap that is nan": (lambda: rs.ExponentialIntensity(cap=np.nan), "`cap` must be finite"),
    "spike of no neuron": (lambda: c.TRAIN.with_spike(7), "`neuron` must be in 0 ... 1, got 7"),
    "path outside of its window": (
        lambda: c.NOISE.evaluate(10.0),
        r"A path on \[0.0, 0.4\] has no value at 10.0",
    ),
    "increment outside of the window": (
        lambda: c.NOISE.evaluate(0.1, 10.0),
        r"A path on \[0.0, 0.4\] has no value at 10.0",
    ),
    "empty batch": (
        lambda: rs.losses.mmd(jax.tree.map(lambda x: x[:0], c.BATCH), c.BATCH),
        "`x` must hold at least one train, got an empty batch",
    ),
    "events that take other arguments": (
        lambda: rs.Event(lambda y: y, c.EVENT.transition),
        r"`fn` must be a function `fn\(t, y, args\)`",
    ),
    "text for a number": (
        lambda: rs.neurons.LIF("fast"),
        "`tau` must be a number or an array of numbers",
    ),
    "text that reads as a number": (
        lambda: rs.Window(0.0, "1.0", 0.1),
        "`t1` must be a number, got '1.0'",
    ),
    "Gram matrices that do not fit": (
        lambda: rs.losses.mmd_of(c.GRAM, c.GRAM[:2], c.GRAM),
        "`xx`, `xy` and `yy` must be Gram matrices",
    ),
}


def simulate(**changed: Any):
    return rs.simulate(**(c.RUN | dict(network=c.NETWORK) | changed))


def driven(**changed: Any):
    return simulate(network=c.DRIVEN, **changed)


def population(neuron: Any = c.LIF, firing: Any = c.FIRING, ports: Any = None) -> rs.Population:
    return rs.Population(2, neuron, firing, ports)


@pytest.mark.parametrize("kind", REFUSED)
def test_refused(kind):
    call, words = REFUSED[kind]
    with pytest.raises((ValueError, TypeError), match=words):
        call()


def test_a_traced_time_outside_of_the_window_gives_nan():
    at = lambda t: c.NOISE.evaluate(t)
    shape = jax.eval_shape(at, 0.1).shape
    values = jax.jit(jax.vmap(at))(jnp.array([0.1, 0.4, 10.0]))
    assert values.shape == (3, *shape)
    np.testing.assert_array_equal(np.isnan(values).any((1, 2)), [False, False, True])


TENTH = np.float64(0.1)
SAME: dict[str, tuple[Any, Any]] = {
    "taper": (
        lambda: rs.losses.signature_features(c.BATCH, depth=2, taper=TENTH),
        lambda: rs.losses.signature_features(c.BATCH, depth=2, taper=0.1),
    ),
    "depth": (
        lambda: rs.losses.signature_features(c.BATCH, depth=np.int64(2)),
        lambda: rs.losses.signature_features(c.BATCH, depth=2),
    ),
    "megabytes": (
        lambda: rs.losses.mmd(c.BATCH, c.OTHER, kernel=c.POINT, megabytes=np.float64(64)),
        lambda: rs.losses.mmd(c.BATCH, c.OTHER, kernel=c.POINT),
    ),
    "lists of times": (
        lambda: rs.losses.filtered(c.TRAIN, [0.1, 0.3], TENTH),
        lambda: rs.losses.filtered(c.TRAIN, jnp.array([0.1, 0.3]), 0.1),
    ),
    "NumPy times": (
        lambda: rs.losses.filtered(c.TRAIN, np.array([0.1, 0.3]), jnp.asarray(0.1)),
        lambda: rs.losses.filtered(c.TRAIN, jnp.array([0.1, 0.3]), 0.1),
    ),
    "lists of paths": (
        lambda: rs.PathKernel(order=2)([[0.0, 1.0], [1.0, 2.0]], c.PATH),
        lambda: rs.PathKernel(order=2)(jnp.array([[0.0, 1.0], [1.0, 2.0]]), c.PATH),
    ),
    "lists of features": (
        lambda: rs.losses.matched_distance(c.GRAM.tolist(), c.GRAM, method="none"),
        lambda: rs.losses.matched_distance(c.GRAM, c.GRAM, method="none"),
    ),
    "NumPy window": (
        lambda: (
            rs.Window(np.float32(0), np.int64(1), np.float64(0.25), edges=np.array([0.5])).cells
        ),
        lambda: rs.Window(0.0, 1.0, 0.25, edges=(0.5,)).cells,
    ),
    "NumPy neuron": (
        lambda: c.TRAIN.with_spike(np.int64(1)).marks,
        lambda: c.TRAIN.with_spike(1).marks,
    ),
    "NumPy room": (
        lambda: simulate(max_spikes=np.int64(9)).spikes.times,
        lambda: simulate().spikes.times,
    ),
    "drive of a list": (
        lambda: simulate(drive=[1.0, 1.2]).spikes.times,
        lambda: simulate(drive=np.array([1.0, 1.2])).spikes.times,
    ),
    "cap without a bound": (
        lambda: rs.ExponentialIntensity(cap=np.inf)(jnp.asarray(2.0)),
        lambda: rs.ExponentialIntensity(cap=10.0)(jnp.asarray(2.0)),
    ),
}


@pytest.mark.parametrize("kind", SAME)
def test_numpy_scalars_and_lists_do_for_numbers(kind):
    given, plain = SAME[kind]
    np.testing.assert_array_equal(np.asarray(given()), np.asarray(plain()))
