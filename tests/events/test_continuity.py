"""Condition C6: drift and noise do not switch between events."""

from typing import Any, NamedTuple

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import lineax as lx
import numpy as np
import pytest
from jaxtyping import Array, Float

import roughsnn as rs

from ..network.test_large_conditions import Halved

RANDOM = rs.StochasticFiring(rs.ExponentialIntensity(beta=5.0), 0.03)
# Functions of the state as drift or as noise, and whether they are continuous.
SHAPES = {
    "straight": (lambda y: 1 - y, True),
    "kinked": (lambda y: jnp.maximum(y, 0), True),
    "steep": (lambda y: jnp.tanh(1000 * (y - 0.3)), True),
    "exploding": (lambda y: jnp.exp(30 * y), True),
    "root": (lambda y: jnp.sqrt(jnp.abs(y)), True),
    "not finite everywhere": (lambda y: jnp.where(y > 0, jnp.log(y), jnp.nan), True),
    "step": (lambda y: jnp.where(y > 0.3, 1.0, 2.0), False),
    "small step": (lambda y: jnp.where(y > 0.3, y, y + 0.2), False),
    "sign": (jnp.sign, False),
    "rounded": (lambda y: jnp.floor(2 * y), False),
}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("kind", ["drift", "noise"])
@pytest.mark.parametrize("name", SHAPES)
def test_what_switches_is_found(name, kind, dtype):
    fn, continuous = SHAPES[name]
    zero = jnp.zeros(3, dtype)

    def diffusion(t, y, args):
        act = lambda dx: jnp.stack([jnp.zeros((), dtype), fn(y[1]) * dx, jnp.zeros((), dtype)])
        return lx.FunctionLinearOperator(act, jax.ShapeDtypeStruct((), dtype))

    drift = lambda t, y, a: jnp.stack([2 - y[0], fn(y[1]) if kind == "drift" else -y[1], -y[2]])
    terms = dfx.ODETerm(drift)
    if kind == "noise":
        path = rs.BrownianPath(0.0, 1.0, 0.1, shape=(), key=jr.key(0), dtype=dtype)
        terms = dfx.MultiTerm(terms, dfx.ControlTerm(diffusion, path))
    event = rs.Event(lambda t, y, a: y[:1] - 1, lambda t, y, a, k, u: y.at[0].set(0.0))
    report = rs.check_event(terms, event, 0.0, zero, throw=False)
    (found,) = (c for c in report.conditions if c.name == "C6")
    assert found.holds == continuous, str(found)
    if not continuous:
        assert f"the {kind} of state component y[1]" in str(found)


class Waiting(NamedTuple):
    """A potential, and how long it still stays where it is."""

    v: Float[Array, "..."]
    left: Float[Array, "..."]


class Clamped(rs.AbstractNeuron):
    """A neuron that does not move for a while after a spike."""

    sigma: Float[Array, ""]
    hold: Float[Array, ""]
    noisy: bool = eqx.field(static=True)

    def initial(self):
        return Waiting(jnp.zeros(()), jnp.zeros(()))

    def drift(self, t, x, current):
        moved = jnp.where(x.left <= 0, (current - x.v) / 0.07, 0.0)
        return Waiting(moved, -jnp.ones_like(x.left))

    def noise(self, x, dw):
        moved = jnp.where(x.left <= 0, self.sigma * jnp.sum(dw), 0.0)
        return Waiting(moved, jnp.zeros_like(x.left))

    def spike(self, x):
        return Waiting(jnp.zeros_like(x.v), self.hold)

    def potential(self, x):
        return x.v

    @property
    def channels(self):
        return int(self.noisy)


def clamped(sigma: float, hold: float = 0.0203, *, firing: Any = RANDOM, **options):
    neuron = Clamped(jnp.asarray(sigma), jnp.asarray(hold), sigma > 0)
    return rs.SpikingNetwork(rs.Population(2, neuron, firing), **options)


def run(network, engine=None, window=None):
    window = rs.Window(0.0, 0.3, 0.01) if window is None else window
    drive = 1.6 * jnp.ones(network.num_neurons)
    return rs.simulate(network, drive, window, key=jr.key(0), max_spikes=40, engine=engine)


@pytest.mark.parametrize("engine", [rs.Lockstep(), rs.EventByEvent()], ids=["lockstep", "event"])
@pytest.mark.parametrize("sigma, what", [(0.3, "noise"), (0.0, "drift")])
def test_a_clamped_hold_is_refused(sigma, what, engine):
    message = rf"C6 FAILS .*the {what} of state component.*\.v\[\d\].*`refractory=\.\.\.`"
    with pytest.raises(ValueError, match=message):
        run(clamped(sigma), engine)
    waived = clamped(sigma, conditions="waive")
    assert jax.eval_shape(lambda: run(waived, engine)).conditions == "waived"


@pytest.mark.slow
def test_what_is_lost_where_a_drift_switches():
    """The second spike of a clamped neuron comes later by as much as it is held for longer; no
    event says so. The end of `refractory` is one."""

    def second(hold, network):
        return run(network(hold), rs.EventByEvent(solver=dfx.Heun())).spikes.times[2]

    hard = rs.HardThreshold(1.0)
    own = lambda hold: clamped(0.0, hold, firing=hard, conditions="waive")
    hold, step = jnp.asarray(0.0203), 0.02
    assert jax.jacfwd(second)(hold, own) == 0
    rise = (second(hold + step, own) - second(hold, own)) / step
    np.testing.assert_allclose(rise, 1, rtol=1e-9)


class Switched(rs.AbstractIntensity):
    """An intensity that jumps as the potential rises."""

    def __call__(self, v):
        return jnp.where(v > 0.5, 20.0, 1.0)

    def log(self, v):
        return jnp.log(self(v))


@pytest.mark.slow
@pytest.mark.parametrize("delay, refractory", [(None, None), (0.03, None), (0.03, 0.02)])
def test_parts_of_ones_own_at_neurons_of_the_package(delay, refractory):
    """Synapses and intensities, with delays and refractory times."""

    def network(synapse, intensity):
        firing, ports = rs.StochasticFiring(intensity, 0.03), {"syn": synapse}
        pop = rs.Population(3, rs.neurons.LIF(0.07), firing, ports, refractory=refractory)
        weights = np.arange(1.0, 10.0).reshape(3, 3) / 10 * (1 - np.eye(3))
        return rs.SpikingNetwork({"n": pop}, [rs.Projection("n", "n", weights, delay=delay)])

    def conditions(net):
        drive = {"n": jnp.ones(3)}
        window, engine = rs.Window(0.0, 0.1, 0.01), rs.EventByEvent()
        simulated = lambda: rs.simulate(
            net, drive, window, key=jr.key(0), max_spikes=9, engine=engine
        )
        return jax.eval_shape(simulated).conditions

    exponential, plain = rs.ExponentialIntensity(), rs.synapses.Exponential(0.1)
    assert conditions(network(plain, exponential)) == "hold"
    with pytest.raises(ValueError, match="C5 FAILS"):
        conditions(network(Halved(), exponential))
    with pytest.raises(ValueError, match=r"C6 FAILS.*\.s\[\d\]"):
        conditions(network(plain, Switched()))
