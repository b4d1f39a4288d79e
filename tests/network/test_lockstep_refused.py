"""What the lockstep engine refuses."""

from typing import Any

import diffrax as dfx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from ..helpers import ENGINES, constant, lif_network


class Quadratic(rs.AbstractLinearNeuron):
    """Calls itself linear and is not."""

    def initial(self):
        return {"v": jnp.zeros(())}

    def drift(self, t, x, current):
        return {"v": x["v"] ** 2 + current}

    def spike(self, x):
        return {"v": x["v"] - 1}

    def potential(self, x):
        return x["v"]


class NoiseOfItsOwn(Quadratic):
    """Decays linearly, with noise in proportion to v."""

    def drift(self, t, x, current):
        return {"v": current - x["v"]}

    def noise(self, x, dw):
        return {"v": x["v"] * dw[0]}

    @property
    def channels(self):
        return 1


class Resonator(rs.AbstractLinearNeuron):
    """Its second variable feels the potential."""

    def initial(self):
        return {"v": jnp.zeros(()), "w": jnp.zeros(())}

    def drift(self, t, x, current):
        return {"v": current - x["v"] + x["w"], "w": -x["w"] - 30 * x["v"]}

    def spike(self, x):
        return {"v": x["v"] - 1, "w": x["w"]}

    def potential(self, x):
        return x["v"]


class Leaning(rs.AbstractLinearSynapse):
    """Does not rest at 0."""

    def initial(self):
        return jnp.zeros(())

    def drift(self, g):
        return 1 - g

    def receive(self, g, amount):
        return g + amount

    def current(self, g, v):
        return g


@pytest.mark.parametrize("method", ENGINES)
def test_variables_that_feel_the_potential(method):
    """The first spike is of second order, not of first."""
    net = rs.SpikingNetwork(rs.Population(1, Resonator(), rs.HardThreshold(0.27)))
    options: Any = dict(max_spikes=9, key=jr.key(0), engine=ENGINES[method])

    def first(dt0):
        window = rs.Window(0.0, 0.5, dt0, stop_after=1)
        return float(rs.simulate(net, constant(2.0), window, **options).spikes.times[0])

    # The solution of v'' + 2 v' + 31 v = c from rest, with v' = c there.
    c, w = 2.0, 30**0.5
    t = np.linspace(0, 0.5, 500001)
    v = c / 31 * (1 - np.exp(-t) * (np.cos(w * t) - 30 / w * np.sin(w * t)))
    exact = t[np.argmax(v > 0.27)]
    errors = [abs(first(dt0) - exact) for dt0 in (0.02, 0.01)]
    # The closed form is known to 1e-6.
    assert errors[1] < 1e-3 and errors[1] < errors[0] / 3 + 2e-6


@pytest.mark.parametrize("method", ENGINES)
def test_models_that_are_not_as_linear_as_they_say(method):
    window = rs.Window(0.0, 0.2, 0.01)
    options: Any = dict(window=window, max_spikes=9, key=jr.key(0), engine=ENGINES[method])
    firing = rs.StochasticFiring(rs.ExponentialIntensity())
    with pytest.raises(ValueError, match="affine in.*AbstractNeuron"):
        network = rs.SpikingNetwork(rs.Population(1, Quadratic(), firing))
        rs.simulate(network, constant(1.0), **options)
    with pytest.raises(ValueError, match="noise must not depend on the state.*AbstractNeuron"):
        alone = rs.Population(1, NoiseOfItsOwn(), firing)
        network = rs.SpikingNetwork(alone, conditions="waive")
        rs.simulate(network, constant(1.0), **options)
    with pytest.raises(ValueError, match="'lean' of 'neurons'.*0 where that is 0.*AbstractSynapse"):
        port = rs.Population(1, rs.neurons.LIF(), firing, {"lean": Leaning()})
        rs.simulate(rs.SpikingNetwork(port), constant(1.0), **options)


class Saturating(rs.AbstractSynapse):
    """Its conductance is not linear in what arrives."""

    def initial(self):
        return jnp.zeros(())

    def drift(self, g):
        return -g / (1 + g**2)

    def receive(self, g, amount):
        return g + amount * (1 - g)

    def current(self, g, v):
        return g - v


def test_models_and_options_that_it_cannot_do():
    options: Any = dict(window=rs.Window(0.0, 0.2, 0.01), max_spikes=9, key=jr.key(0))
    firing = rs.StochasticFiring(rs.ExponentialIntensity())
    with pytest.raises(ValueError, match="Saturating at 'syn' of 'neurons'.*EventByEvent"):
        port = rs.Population(1, rs.neurons.LIF(), firing, {"syn": Saturating()})
        rs.simulate(rs.SpikingNetwork(port), constant(1.0), **options)
    network = lif_network(firing, mu=(5.0, 1.0))
    extras: Any = (dict(saveat=dfx.SaveAt(t1=True)), dict(solver=dfx.Heun()))
    for extra in extras:
        with pytest.raises(TypeError, match="unexpected keyword"):
            rs.Lockstep(**extra)
    engines: Any = ("lockstep", rs.Lockstep, dfx.Heun())
    for wrong in engines:
        with pytest.raises(TypeError, match=r"`engine` must be a roughsnn\.Lockstep or"):
            rs.simulate(network, constant(1.0), **options, engine=wrong)
