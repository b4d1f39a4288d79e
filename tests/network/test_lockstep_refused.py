"""What the lockstep engine refuses."""

from typing import Any

import diffrax as dfx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from ..helpers import constant


class Quadratic(rs.AbstractLinearMembrane):
    """Calls itself linear and is not."""

    @property
    def rates(self):
        return jnp.asarray(1.0), jnp.asarray(1.0)

    def drift(self, v, i, drive):
        return v**2 + i + drive, -i

    def noise(self, v, i, dx):
        return dx[:, 0], dx[:, 0]

    def reset(self, v):
        return v - 1

    @property
    def channels(self):
        return 0

    def noisy_potential(self, v):
        return jnp.array(False)


class NoiseOfItsOwn(rs.AbstractLinearMembrane):
    """Decays linearly, with noise in proportion to v."""

    @property
    def rates(self):
        return jnp.asarray(1.0), jnp.asarray(1.0)

    def drift(self, v, i, drive):
        return drive - v, -i

    def noise(self, v, i, dx):
        return v * dx[:, 0], i

    def reset(self, v):
        return v - 1

    @property
    def channels(self):
        return 1

    def noisy_potential(self, v):
        return jnp.array(True)


class Resonator(NoiseOfItsOwn):
    """Its current feels the potential."""

    def drift(self, v, i, drive):
        return drive - v + i, -i - 30 * v

    def noise(self, v, i, dx):
        return 0 * v, 0 * i

    def noisy_potential(self, v):
        return jnp.array(False)


def test_currents_that_feel_the_potential():
    """Refused in lockstep; event by event the first spike is of second order, not of first."""
    net = rs.SpikingNetwork(Resonator(), rs.ThresholdFiring(0.27))
    options: Any = dict(max_spikes=9, key=jr.key(0))
    with pytest.raises(ValueError, match="di/dt must not depend on v, as that of Resonator does"):
        rs.simulate(net, constant(2.0), rs.Window(0.0, 1.0, 0.01), **options)

    def first(dt0):
        window = rs.Window(0.0, 0.5, dt0, stop_after=1)
        engine = rs.EventByEvent()
        return float(
            rs.simulate(net, constant(2.0), window, engine=engine, **options).spikes.times[0]
        )

    # The solution of v'' + 2 v' + 31 v = c from rest, with v' = c there.
    c, w = 2.0, 30**0.5
    t = np.linspace(0, 0.5, 500001)
    v = c / 31 * (1 - np.exp(-t) * (np.cos(w * t) - 30 / w * np.sin(w * t)))
    exact = t[np.argmax(v > 0.27)]
    errors = [abs(first(dt0) - exact) for dt0 in (0.02, 0.01)]
    assert errors[1] < 1e-3 and errors[0] / errors[1] > 3


def test_models_and_options_that_it_cannot_do():
    options: Any = dict(window=rs.Window(0.0, 0.2, 0.01), max_spikes=9, key=jr.key(0))
    firing = rs.StochasticFiring(rs.ExponentialIntensity())
    with pytest.raises(ValueError, match="affine in v, i and the drive.*EventByEvent"):
        rs.simulate(rs.SpikingNetwork(Quadratic(), firing), constant(1.0), **options)
    with pytest.raises(ValueError, match="noise that does not depend on v.*EventByEvent"):
        network = rs.SpikingNetwork(NoiseOfItsOwn(), firing, conditions="waive")
        rs.simulate(network, constant(1.0), **options)
    network = rs.SpikingNetwork(rs.LIF((5.0, 1.0)), firing)
    extras: Any = (dict(saveat=dfx.SaveAt(t1=True)), dict(solver=dfx.Heun()))
    for extra in extras:
        with pytest.raises(TypeError, match="unexpected keyword"):
            rs.Lockstep(**extra)
    engines: Any = ("lockstep", rs.Lockstep, dfx.Heun())
    for wrong in engines:
        with pytest.raises(TypeError, match=r"`engine` must be a roughsnn\.Lockstep or"):
            rs.simulate(network, constant(1.0), **options, engine=wrong)
