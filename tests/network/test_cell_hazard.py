"""The hazard along a cell: its integral, its density, and the potentials that it reads."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs
from roughsnn._engine.cell_hazard import CellHazard

NODES = {
    "rising": (0.3, 1.1, 4.0),
    "steep": (1.0, 7.4, 54.6),
    "falling": (5.0, 1.0, 0.1),
    "dip": (3.0, 0.0, 2.0),
    "none": (0.0, 0.0, 0.0),
}


def hazard_of(rates, begin=0.2, end=0.6) -> CellHazard:
    return CellHazard(jnp.array(begin), jnp.array(end - begin), *jnp.array(rates))


@pytest.mark.parametrize("rates", NODES.values(), ids=NODES)
def test_the_integral_is_that_of_simpson(rates):
    a, m, b = rates
    np.testing.assert_allclose(hazard_of(rates).total, 0.4 * (a + 4 * m + b) / 6, rtol=1e-12)


@pytest.mark.parametrize("rates", NODES.values(), ids=NODES)
def test_the_density_is_the_derivative_of_the_integral(rates):
    """Also before the part; and it is not negative."""
    hazard = hazard_of(rates)
    r = jnp.array([0.0, 0.07, 0.2, 0.21, 0.3, 0.39, 0.4, 0.41, 0.5, 0.59, 0.6])
    slopes = jax.vmap(jax.grad(hazard.until))(r)
    logs = [jnp.log(x) for x in jnp.array(rates)]
    np.testing.assert_allclose(jnp.exp(hazard.log_at(r, logs)), slopes, rtol=1e-12, atol=1e-14)
    assert np.all(slopes >= 0)
    np.testing.assert_allclose(hazard.until(jnp.array(0.6)), hazard.total, rtol=1e-12)


@pytest.mark.parametrize("share", [1e-6, 0.05, 0.3, 0.7, 0.999, 1.001])
@pytest.mark.parametrize("rates", [x for x in NODES.values() if max(x)], ids=[*NODES][:-1])
def test_a_hidden_state_crosses_where_the_integral_says(rates, share):
    """With the derivative of the implicit function."""

    def crossing(rates, share):
        hazard = hazard_of(rates)
        return hazard.crossing(-share * jax.lax.stop_gradient(hazard.total))

    hazard, rates = hazard_of(rates), jnp.array(rates)
    crosses, offset, speed = crossing(rates, share)
    assert bool(crosses) == (share < 1)
    if share < 1:
        at = offset + 0.2
        np.testing.assert_allclose(hazard.until(at), share * hazard.total, rtol=1e-9)
        np.testing.assert_allclose(speed, jax.grad(hazard.until)(at), rtol=1e-9, atol=1e-12)
        more = jax.grad(lambda x: hazard_of(x).until(at))(rates)
        slope = jax.grad(lambda x: crossing(x, share)[1])(rates)
        np.testing.assert_allclose(slope, -more / speed, rtol=1e-6, atol=1e-9)


def test_logarithms_where_rates_round_to_zero():
    """With their derivatives."""
    logs = jnp.array([-800.0, -799.0, -798.0])
    hazard = hazard_of((0.0, 0.0, 0.0))
    log_at = lambda x, r: hazard.log_at(r, list(x))
    for r, wanted in ((0.2, -800.0), (0.6, -798.0)):
        found, slope = jax.value_and_grad(log_at)(logs, jnp.array(r))
        assert abs(found - wanted) < 0.1 and np.all(np.isfinite(slope))


@pytest.mark.parametrize("hurst", [0.4, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("engine", [rs.EventByEvent(), rs.Lockstep()], ids=["event", "lockstep"])
def test_the_mean_hazard_of_a_cell_sees_noise_as_rough_as_it_is(engine, hurst):
    r"""One cell, v = X: the mean of the integral is Simpson's rule of $E e^{\beta X_r}$."""
    beta, size = 2.0, 20_000
    increments = jr.normal(jr.key(0), (1, size, 1))
    firing = rs.StochasticFiring(rs.ExponentialIntensity(beta, 0.0, 1.0, cap=np.inf))
    neuron = rs.neurons.LIF(1e6, rs.Subtract(1.0), sigma=1.0)
    network = rs.SpikingNetwork(rs.Population(size, neuron, firing))
    path = rs.GridPath(0.3 * increments, t0=0.0, t1=1.0, dt=1.0, hurst=hurst)
    start: dict = {"s": jnp.full(size, -1e3)}
    sim = rs.simulate(
        network,
        jnp.zeros(size),
        rs.Window(0.0, 1.0, 1.0),
        key=jr.key(0),
        max_spikes=1,
        engine=engine,
        initial=start,
        noise=path,
    )
    integral = np.asarray(sim.final.state["neurons"]["s"] + 1e3)
    variance = 0.3**2 * np.array([0.0, 0.5 ** (2 * hurst), 1.0])
    wanted = np.exp(beta**2 * variance / 2) @ np.array([1, 4, 1]) / 6
    error = np.std(integral) / size**0.5
    assert abs(integral.mean() - wanted) < 4 * error and 4 * error < 0.02 * wanted


def test_a_hurst_index_out_of_its_range():
    with pytest.raises(ValueError, match=r"`hurst` must be in \(0, 1\]"):
        rs.GridPath(np.ones((10, 2)), t0=0.0, t1=1.0, dt=0.1, hurst=1.5)
