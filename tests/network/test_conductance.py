"""Synapses whose current depends on the potential."""

from typing import Any, cast

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.integrate import solve_ivp

import roughsnn as rs

from ..helpers import smooth
from ..zoo import WEIGHTS

N, S = rs.neurons, rs.synapses
KEY = jr.key(5)


def precise(ts) -> rs.EventByEvent:
    """Tsit5 to 1e-10, with states at these times."""
    return rs.EventByEvent(
        solver=dfx.Tsit5(),
        controller=dfx.PIDController(1e-10, 1e-10),
        saveat=dfx.SaveAt(ts=jnp.asarray(ts)),
    )


def test_a_constant_conductance_is_a_leak():
    """The potential relaxes faster, to a mean of rest, current and reversal."""
    tau, g, reversal, current, ts = 10.0, 0.7, 30.0, 4.0, np.array([2.0, 9.0, 25.0])
    ports = {"syn": S.Conductance(S.Exponential(1e9), reversal)}
    pop = rs.Population(1, N.LIF(tau, rest=-65.0), None, ports)
    sim = rs.simulate(
        rs.SpikingNetwork(pop),
        jnp.array([current]),
        rs.Window(0.0, 25.0, 0.5),
        key=KEY,
        max_spikes=1,
        engine=precise(ts),
        initial={"syn": jnp.array([g])},
    )
    end = (-65.0 + current + g * reversal) / (1 + g)
    exact = end + (-65.0 - end) * np.exp(-(1 + g) * ts / tau)
    np.testing.assert_allclose(sim.states.ys["v"][:, 0], exact, rtol=1e-7)


CONDUCTANCES = {
    "Conductance": (lambda kernel: S.Conductance(kernel, -5.0), lambda v: -5.0 - v),
    "NMDA": (
        lambda kernel: S.NMDA(kernel, magnesium=1.2),
        lambda v: -v / (1 + 1.2 / 3.57 * np.exp(-0.062 * v)),
    ),
}


@pytest.mark.parametrize("name", CONDUCTANCES)
def test_potential_after_an_arrival(name):
    """Through an alpha function, against another solver."""
    make, flow = CONDUCTANCES[name]
    pop = rs.Population(1, N.LIF(10.0, rest=-65.0), None, {"syn": make(S.Alpha(3.0))})
    net = rs.SpikingNetwork({"in": rs.Source(1), "out": pop}, [rs.Projection("in", "out", [[0.8]])])
    ts = np.array([2.0, 6.0, 11.0, 40.0])
    sim = rs.simulate(
        net,
        jnp.zeros(1),
        rs.Window(0.0, 40.0, 0.5),
        key=KEY,
        max_spikes=1,
        engine=precise(ts),
        inputs={"in": rs.SpikeTrain.from_lists([[3.1]], t0=0.0, t1=40.0)},
    )
    g = lambda t: 0.8 * t / 3.0 * np.exp(1 - t / 3.0)
    rate = lambda t, v: (-65.0 - v + g(t) * flow(v)) / 10.0
    options: Any = dict(method="DOP853", rtol=1e-11, atol=1e-11, t_eval=ts[1:] - 3.1)
    exact = np.append(-65.0, solve_ivp(rate, (0.0, 36.9), [-65.0], **options).y[0])
    assert np.max(exact) > -64.0
    np.testing.assert_allclose(sim.states.ys["v"][:, 0], exact, rtol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONDUCTANCES)
def test_derivatives_are_differences_on_the_same_noise(name):
    """In each parameter, with noise on the conductance and random thresholds."""
    make, _ = CONDUCTANCES[name]
    firing = rs.StochasticFiring(rs.ExponentialIntensity(0.5, -50.0), 0.03)
    ports = {"syn": make(S.Exponential(5.0, 0.05))}
    pop = rs.Population(3, N.LIF(10.0, rs.Subtract(15.0), rest=-65.0), firing, ports)
    net = rs.SpikingNetwork(pop, weights=0.4 * WEIGHTS)
    (arrays, drive), rest = eqx.partition(
        (net, jnp.array([25.0, 21.0, 18.0])), eqx.is_inexact_array
    )
    flat, unravel = ravel_pytree((arrays, drive))

    def total(flat):
        arrays, drive = unravel(flat)
        network: Any = eqx.combine(arrays, rest[0])
        options: Any = dict(key=KEY, max_spikes=40, engine=rs.EventByEvent(), throw=False)
        sim = rs.simulate(network, drive, rs.Window(0.0, 40.0, 0.5), **options)
        values, marks = smooth(sim)
        return jnp.mean(values) / 40, marks

    count, size = len(flat), 1e-6 * jnp.clip(jnp.abs(flat), 1.0, 5.0)
    steps = jnp.concatenate([jnp.diag(size), -jnp.diag(size), jnp.zeros((count, count))])
    along = lambda x, d: jax.jvp(total, (x,), (d,))
    at = flat[None] + steps, jnp.tile(jnp.eye(count), (3, 1))
    (values, marks), (slopes, _) = jax.jit(jax.vmap(along))(*at)
    assert np.all(marks == marks[:1]) and np.sum(marks[0] >= 0) > 5
    slopes, (up, down, _) = slopes[2 * count :], jnp.split(values, 3)
    # All but the weights of neurons onto themselves, and the intensity's cap.
    assert np.sum(np.abs(slopes) > 1e-6) >= count - 5
    np.testing.assert_allclose(slopes, (up - down) / (2 * size), rtol=1e-6, atol=1e-8)


BAD = [
    (lambda: S.Conductance(cast(Any, 3.0), 0.0), "`kernel` must be a roughsnn.AbstractLinearSyn"),
    (
        lambda: S.Conductance(cast(Any, S.Conductance(S.Alpha(1.0), 0.0)), 0.0),
        "`kernel` must be a roughsnn.AbstractLinearSyn.*, got",
    ),
    (lambda: S.Conductance(S.Alpha(1.0), np.nan), "`reversal` must be finite"),
    (lambda: S.NMDA(S.Alpha(1.0), magnesium=0.0), "`magnesium` must be positive, got 0"),
    (lambda: S.NMDA(S.Alpha(1.0), slope=-0.06), "`slope` must be positive, got -0.06"),
    (
        lambda: rs.Population(2, N.EIF(), None, {"a": S.Conductance(S.Alpha(1.0), np.ones(3))}),
        r"`reversal` must have shape \(\) or \(2,\) for 2 neurons, got \(3,\)",
    ),
    (
        lambda: rs.Population(2, N.EIF(), None, {"a": S.Conductance(S.Alpha(np.ones(3)), 1.0)}),
        r"`tau` must have shape \(\) or \(2,\) for 2 neurons, got \(3,\)",
    ),
]


@pytest.mark.parametrize(("make", "message"), BAD)
def test_bad_parameters(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()
