"""Parameters outside of their domain: errors where they are known, flags where they are not."""

from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import paramax
import pytest
from jaxtyping import Array

import roughsnn as rs

SOFTPLUS = rs.StochasticFiring(rs.SoftplusIntensity(rate=8.0), 0.03)
EXPONENTIAL = rs.StochasticFiring(rs.ExponentialIntensity(timescale=0.2), 0.03)
MULTIPLICATIVE = rs.neurons.MultiplicativeLIF(1 / 15, 0.3)
LIF = rs.neurons.LIF(1 / 15, sigma=0.3)
PORTS = {"syn": rs.synapses.Exponential(1 / 6, 0.1)}
WINDOW = rs.Window(0.0, 0.5, 0.01)
DRIVE = jnp.array([1.5, 1.2])
WEIGHTS = jnp.array([[0.0, 0.4], [-0.3, 0.0]])
PARALLEL = pytest.mark.parametrize("engine", [rs.Lockstep(), rs.EventByEvent()], ids=["L", "E"])


class Square(rs.AbstractIntensity):
    """An intensity of one's own, with a bound of its own."""

    gain: Array

    def __call__(self, v):
        return self.gain * v**2

    def bounds(self):
        return (rs.Bound("gain", self.gain, "not negative"),)


SQUARE = rs.StochasticFiring(Square(jnp.array(5.0)))
# The parts, the parameter, a value that is wrong, what the error says, and the engine.
ROWS = {
    "tau": (LIF, SOFTPLUS, lambda p: p.neuron.tau, -0.1, "`tau` must be positive"),
    "zero": (LIF, SOFTPLUS, lambda p: p.neuron.tau, 0.0, "`tau` must be positive"),
    "port": (LIF, SOFTPLUS, lambda p: p.ports["syn"].tau, -0.1, "`tau` must be positive"),
    "multiplicative": (
        *(MULTIPLICATIVE, SOFTPLUS, lambda p: p.neuron.tau),
        *(-0.1, "`tau` must be positive"),
    ),
    "nan": (LIF, SOFTPLUS, lambda p: p.neuron.tau, np.nan, "`tau` must be finite"),
    "alpha": (LIF, SOFTPLUS, lambda p: p.firing.alpha, -0.1, "`alpha` must not be negative"),
    "rate": (LIF, SOFTPLUS, lambda p: p.firing.intensity.rate, -8.0, "`rate` must be positive"),
    "timescale": (
        *(LIF, EXPONENTIAL, lambda p: p.firing.intensity.timescale),
        *(0.0, "`timescale` must be positive"),
    ),
    "own": (LIF, SQUARE, lambda p: p.firing.intensity.gain, -1.0, "`gain` must not be negative"),
}


def coupled(neuron, firing):
    return rs.SpikingNetwork(rs.Population(2, neuron, firing, PORTS), weights=WEIGHTS)


def changed(name, value=None):
    neuron, firing, where, wrong, _ = ROWS[name]
    value = jnp.asarray(wrong if value is None else value, float)
    return eqx.tree_at(lambda n: where(n["neurons"]), coupled(neuron, firing), value)


def simulated(network, engine, **more):
    options = {"key": jr.key(0), "max_spikes": 60, "engine": engine} | more
    return rs.simulate(network, DRIVE, WINDOW, **options)


@pytest.mark.parametrize("name", ROWS)
@PARALLEL
def test_outside(name, engine):
    """Known: an error that names it. In a program: the result, whatever happens later."""
    network = changed(name)
    if isinstance(network["neurons"].neuron, rs.neurons.MultiplicativeLIF):
        engine = rs.EventByEvent()
    with pytest.raises(ValueError, match=ROWS[name][-1]):
        simulated(network, engine)
    inside = eqx.filter_jit(lambda n: simulated(n, engine, throw=False))
    sim = inside(network)
    assert sim.result == rs.RESULTS.parameter_outside
    assert sim.spikes.overflow
    neuron, firing, *_ = ROWS[name]
    good = coupled(neuron, firing)
    assert inside(good).result == rs.RESULTS.successful


@PARALLEL
def test_a_batch_tells_which(engine):
    network = lambda x: changed("alpha", x)
    sims = jax.jit(jax.vmap(lambda x: simulated(network(x), engine, throw=False)))(
        jnp.array([0.1, -0.1, 0.0])
    )
    outside = np.asarray(sims.result == rs.RESULTS.parameter_outside)
    np.testing.assert_array_equal(outside, [False, True, False])
    with pytest.raises(RuntimeError, match=r"outside of its domain.*\(1 of 3 samples failed"):
        rs.check(sims)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_raised_inside_of_a_program():
    with pytest.raises(RuntimeError, match="A parameter is outside of its domain"):
        jax.block_until_ready(
            jax.jit(lambda x: simulated(changed("alpha", x), None).spikes.times)(-0.1)
        )


@pytest.mark.slow
@PARALLEL
def test_first_thresholds(engine):
    def sim(s):
        network = coupled(LIF, SOFTPLUS)
        return simulated(network, engine, initial={"s": s}, throw=False)

    wrong = jnp.array([-0.1, 0.2])
    with pytest.raises(ValueError, match=r"`initial\[\"s\"\]` must be negative"):
        sim(wrong)
    inside = eqx.filter_jit(sim)
    assert inside(wrong).result == rs.RESULTS.parameter_outside
    assert inside(-jnp.abs(wrong)).result == rs.RESULTS.successful


@pytest.mark.slow
def test_likelihoods_and_eligibility():
    network = coupled(LIF, SOFTPLUS)
    train = simulated(network, None).spikes

    @eqx.filter_jit
    def inside(n):
        clamped = rs.clamp(n, DRIVE, train, WINDOW, key=jr.key(1), throw=False)
        value = rs.log_likelihood(n, DRIVE, train, WINDOW, key=jr.key(1), throw=False).value
        found = rs.eligibility(n, DRIVE, WINDOW, key=jr.key(1), max_spikes=60, throw=False)
        return clamped.result, value, found.result

    clamped, value, found = inside(changed("tau"))
    assert clamped == rs.RESULTS.parameter_outside and found == rs.RESULTS.parameter_outside
    assert np.isnan(value)
    clamped, value, found = inside(network)
    assert clamped == rs.RESULTS.successful and found == rs.RESULTS.successful
    assert np.isfinite(value)


def test_drivers():
    """Rates of Poisson processes."""
    spikes = lambda r: rs.poisson_spikes(0.0, 1.0, rates=r, max_spikes=20, key=jr.key(0))
    assert jax.jit(spikes)(jnp.array([-5.0, 5.0])).overflow
    assert not jax.jit(spikes)(jnp.array([0.0, 5.0])).overflow
    jumps = lambda r: rs.compound_poisson_path(
        0.0, 1.0, intensity=r, jump=lambda k: jr.normal(k, (2,)), max_jumps=20, key=jr.key(0)
    )
    with pytest.raises(RuntimeError, match="`intensity` must be positive"):
        jax.block_until_ready(jax.jit(lambda r: jumps(r).jump_times)(-5.0))
    assert jax.jit(lambda r: jumps(r).jump_times)(5.0).shape == (20,)


@pytest.mark.slow
@PARALLEL
def test_constrained_networks_are_the_same(engine):
    """Simulations, and the gradient by the chain rule: dx = x dr."""
    network = changed("alpha", 0.2)
    free = rs.constrained(network)

    def third(n):
        return simulated(n, engine).spikes.times[2]

    value, slope = eqx.filter_jit(eqx.filter_value_and_grad(third))(network)
    found, along = eqx.filter_jit(eqx.filter_value_and_grad(third))(free)
    np.testing.assert_allclose(found, value, rtol=1e-12)
    np.testing.assert_allclose(simulated(free, engine).spikes.times[2], value, rtol=1e-12)
    parts = lambda n: (n["neurons"].neuron.tau, n["neurons"].firing.alpha)
    for x, dx, dr in zip(*map(parts, (network, slope, along)), strict=True):
        assert np.all(dx != 0)
        np.testing.assert_allclose(dr.args[0], x * dx, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::roughsnn.StepWarning")
def test_training_cannot_leave_the_domain():
    """A loss that drives every bounded parameter down, by steps of any size."""
    network = changed("own", 5.0)
    free = rs.constrained(network)

    def loss(n, data, key):
        simulated(n, None, key=key)
        p = n["neurons"]
        taus = p.neuron.tau + p.ports["syn"].tau
        return taus + p.firing.alpha + p.firing.intensity.gain

    fit = lambda model: rs.fit(model, loss, None, optax.adam(1.0), steps=20, key=jr.key(0))
    kept = paramax.unwrap(fit(free).model)
    for bound in kept.bounds():
        assert bound.holds() and np.all(bound.value > 0)
    tau = lambda n: float(n["neurons"].neuron.tau)
    assert tau(kept) < tau(network) / 100
    # Without constraints it stops where the step leaves the domain.
    assert not all(bound.holds() for bound in fit(network).model.bounds())


def test_what_is_constrained():
    """A 0 starts at 1e-4; what has no bounds, and values outside, are refused."""
    free = rs.constrained(coupled(LIF, rs.StochasticFiring(rs.SoftplusIntensity())))
    np.testing.assert_allclose(paramax.unwrap(free)["neurons"].firing.alpha, 1e-4, rtol=1e-6)
    np.testing.assert_allclose(paramax.unwrap(rs.constrained(LIF)).tau, LIF.tau, rtol=1e-6)
    hard = coupled(rs.neurons.LIF(1 / 15), rs.HardThreshold())
    assert eqx.tree_equal(rs.constrained(hard)["neurons"].firing, hard["neurons"].firing)
    with pytest.raises(TypeError, match="`model` must be a roughsnn.SpikingNetwork"):
        rs.constrained(cast(Any, 3))
    with pytest.raises(ValueError, match="`alpha` must not be negative"):
        rs.constrained(changed("alpha"))
