"""Values and gradients against formulas."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.integrate
import scipy.optimize

import roughsnn as rs

from ..helpers import constant, lif_network, single_neuron

MU, THRESHOLD = 2.0, 1.0


def hard_network(size, mu, threshold=THRESHOLD):
    """Neurons without synapses, with a decay rate."""
    return rs.SpikingNetwork(
        rs.Population(size, rs.neurons.LIF(1 / mu), rs.HardThreshold(threshold))
    )


def hard(c, mu, solver=None, dt0=0.01, t1=3.0):
    network = hard_network(1, mu)
    return rs.simulate(
        network,
        lambda t: c[None],
        rs.Window(0.0, t1, dt0),
        max_spikes=20,
        key=jr.key(0),
        engine=rs.EventByEvent(solver=solver),
    ).spikes


@pytest.mark.parametrize("c", [1.05, 1.5, 4.0])
def test_hard_threshold_first_spike_and_period(c):
    """tau = log(c/(c - th))/mu, the period too, as v is reset to 0."""
    spikes = hard(jnp.asarray(c), jnp.asarray(MU))
    tau = np.log(c / (c - THRESHOLD)) / MU
    n = int(spikes.count)
    assert n == int(3.0 / tau)
    np.testing.assert_allclose(spikes.times[:n], tau * np.arange(1, n + 1), rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("transform", [jax.jacfwd, jax.jacrev])
def test_hard_threshold_gradient(transform):
    """d tau/dc = -th/(mu c (c - th)), to rounding, for every spike."""
    c, mu = jnp.asarray(1.5), jnp.asarray(MU)
    n = int(hard(c, mu).count)
    by_c, by_mu = transform(lambda p: hard(*p).times[:n])((c, mu))
    number = np.arange(1, n + 1)
    np.testing.assert_allclose(by_c, -number * THRESHOLD / (MU * 1.5 * 0.5), rtol=1e-9)
    np.testing.assert_allclose(by_mu, -number * np.log(1.5 / 0.5) / MU**2, rtol=1e-9)


def test_hard_threshold_converges_for_diffrax_solvers():
    tau = np.log(1.5 / 0.5) / MU
    errors = []
    for dt0 in (0.1, 0.05):
        times = hard(jnp.asarray(1.5), jnp.asarray(MU), dfx.Heun(), dt0).times
        errors.append(abs(float(times[0]) - tau))
    assert 3 < errors[0] / errors[1] < 5


@pytest.mark.slow
def test_stochastic_threshold_without_noise():
    """tau solves int_0^tau lambda = alpha - log u, with lambda by quadrature."""
    network = single_neuron(sigma=0.0)
    mu, beta, alpha, c, level = 15.0, 5.0, 0.03, 1.5, 0.7
    potential = lambda t: c * (1 - np.exp(-mu * t))
    hazard = lambda t: np.exp(beta * (potential(t) - 1))
    total = lambda t: scipy.integrate.quad(hazard, 0, t, epsabs=1e-13)[0]
    tau = scipy.optimize.brentq(lambda t: total(t) - level - alpha, 0, 3, xtol=1e-13)
    # d tau = -int dlambda/dc / lambda(tau), the recursion's first step.
    weight = lambda t: beta * hazard(t) * (1 - np.exp(-mu * t))
    slope = -scipy.integrate.quad(weight, 0, tau, epsabs=1e-13)[0] / hazard(tau)
    errors = []
    for dt0 in (0.04, 0.02, 0.01):

        def first(c, dt0=dt0):
            return rs.simulate(
                network,
                lambda t: c[None],
                rs.Window(0.0, 1.0, dt0, stop_after=1),
                max_spikes=1,
                key=jr.key(0),
                initial={"s": jnp.array([-level - alpha])},
                engine=rs.EventByEvent(),
            ).spikes.times[0]

        value, derivative = jax.value_and_grad(first)(jnp.asarray(c))
        errors.append([abs(value - tau) / tau, abs(derivative - slope) / abs(slope)])
    errors = np.asarray(errors)
    assert np.all(errors[-1] < 1e-7)
    # Fifth order in dt for the time, fourth for its gradient, with where in its cell it is.
    assert np.all(errors[0] / errors[2] > 60)


@pytest.mark.slow
def test_subtractive_reset_of_a_noisy_membrane():
    """v_T = v_T^0 - a sum exp(-mu (T - tau_n)), and so for the derivatives."""
    t1, reset, mu = 1.0, 1.4, 15.0
    path = rs.BrownianPath(
        0.0, t1, 0.01, shape=(1, 1), key=jr.key(4), interpolation="linear", dtype=jnp.float64
    )

    def run(c):
        sim = rs.simulate(
            single_neuron(0.5),
            lambda t: c[None],
            rs.Window(0.0, t1, 0.01),
            max_spikes=12,
            key=jr.key(3),
            noise=path,
            engine=rs.EventByEvent(saveat=dfx.SaveAt(t1=True)),
        )
        spikes, sol = sim.spikes, sim.states
        times = jnp.where(spikes.marks >= 0, spikes.times, -jnp.inf)
        return sol.y1["v"][0] + reset * jnp.sum(jnp.exp(-mu * (t1 - times))), spikes.count

    c = jnp.asarray(1.5)
    free, count = run(c)
    assert int(count) >= 3
    decay = np.exp(-mu * 0.01)
    v = 0.0
    for dw in np.asarray(path.increments)[:, 0, 0]:
        v = decay * v + (1 - decay) * (1.5 + 0.5 * dw / (mu * 0.01))
    np.testing.assert_allclose(free, v, rtol=1e-12)
    slope = jax.grad(lambda c: run(c)[0])(c)
    np.testing.assert_allclose(slope, 1 - np.exp(-mu * t1), rtol=1e-9)


def test_synaptic_current_of_one_spike():
    """After a spike at tau, the current of the target is w exp(-mu2 (T - tau)), to rounding."""
    weight, mu2, t1 = 0.7, 6.0, 1.0
    firing = rs.HardThreshold(jnp.array([1.0, 1e3]))
    network = lif_network(firing, [[0.0, weight], [0.0, 0.0]], mu=(15.0, mu2))

    def final(c):
        sim = rs.simulate(
            network,
            lambda t: jnp.stack([c, jnp.zeros(())]),
            rs.Window(0.0, t1, 0.01, stop_after=None),
            max_spikes=1,
            key=jr.key(0),
            engine=rs.EventByEvent(saveat=dfx.SaveAt(t1=True)),
        )
        spikes, sol = sim.spikes, sim.states
        return sol.y1["syn"][1], spikes.times[0]

    # v reaches 1 once: the drive stops being strong enough for a second spike.
    c = jnp.asarray(1.0 + 1e-6)
    i, tau = final(c)
    np.testing.assert_allclose(i, weight * np.exp(-mu2 * (t1 - tau)), rtol=1e-9)


def test_the_drive_is_exact_where_it_is_linear_in_time():
    sol = rs.simulate(
        hard_network(1, MU, 1e3),
        lambda t: jnp.stack([1 + 3 * t]),
        rs.Window(0.0, 1.0, 0.25),
        max_spikes=1,
        key=jr.key(0),
        engine=rs.EventByEvent(saveat=dfx.SaveAt(ts=[0.1, 0.25, 0.9])),
    ).states
    t = np.array([0.1, 0.25, 0.9])
    exact = 1 + 3 * t - 1.5 - (1 - 1.5) * np.exp(-2 * t)
    np.testing.assert_allclose(sol.ys["v"][:, 0], exact, rtol=1e-12)


def test_constant_drives_of_two_neurons_are_independent():
    both = rs.simulate(
        hard_network(2, MU),
        constant(1.5, 2.5),
        rs.Window(0.0, 2.0, 0.1),
        max_spikes=20,
        key=jr.key(0),
        engine=rs.EventByEvent(),
    ).spikes
    for n, c in enumerate((1.5, 2.5)):
        tau = np.log(c / (c - THRESHOLD)) / MU
        mine = both.to_lists()[n]
        np.testing.assert_allclose(mine, tau * np.arange(1, len(mine) + 1), rtol=1e-11)
