"""What the calls of the public functions have in common: small arguments that are right."""

from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

import roughsnn as rs

KEY = jr.key(0)
GRID: Any = dict(t0=0.0, t1=0.4, dt=0.1)
SPAN: Any = dict(t0=0.0, t1=0.4)
WINDOW = rs.Window(0.0, 0.4, 0.1)
TS = jnp.linspace(0.05, 0.35, 4)
SHAPE: Any = dict(shape=(2, 2), key=KEY)
LISTS = [[[0.05 + 0.01 * n, 0.2], [0.11, 0.13 + 0.02 * n]] for n in range(3)]
TRAINS = [rs.SpikeTrain.from_lists(x, **SPAN, max_spikes=6) for x in LISTS]
TRAIN, BATCH = TRAINS[0], rs.SpikeTrain.stack(TRAINS)
OTHER = rs.SpikeTrain.stack(TRAINS[::-1])

LIF = rs.neurons.LIF(1 / 9, rs.Subtract(1.4), sigma=(0.2, 0.0))
PORTS = {"syn": rs.synapses.Exponential(1 / 6, sigma=(0.0, 0.1))}
SOFTPLUS = rs.SoftplusIntensity(rate=20.0)
FIRING = rs.StochasticFiring(SOFTPLUS, alpha=0.03)
WEIGHTS = jnp.array([[0.0, 0.5], [0.2, 0.0]])
POPULATION = rs.Population(2, LIF, FIRING, PORTS)
NETWORK = rs.SpikingNetwork(POPULATION, weights=WEIGHTS)
SILENT = {"syn": rs.synapses.Exponential(1 / 6)}
QUIET = rs.SpikingNetwork(
    rs.Population(2, rs.neurons.LIF(1 / 9, rs.Subtract(1.4)), FIRING, SILENT), weights=WEIGHTS
)
POPULATIONS = {"in": rs.Source(3), "neurons": POPULATION}
PROJECTIONS = [
    rs.Projection("in", "neurons", np.ones((3, 2))),
    rs.Projection("neurons", "neurons", WEIGHTS),
]
DRIVEN = rs.SpikingNetwork(POPULATIONS, PROJECTIONS)
DRIVE = jnp.array([1.0, 1.2])
CONNECT: Any = dict(pre=6, post=6, key=KEY, weights=jr.normal, autapses=False)
STATE = {"v": jnp.zeros(2), "syn": jnp.zeros(2), "s": -jnp.ones(2)}
DRAWN = STATE | {"v": jr.uniform}
POISSON = rs.poisson_spikes(**SPAN, rates=np.full(3, 5.0), max_spikes=4, key=KEY)
INPUTS = {"in": POISSON}
NOISE = rs.BrownianPath(**GRID, **SHAPE)
RUN: Any = dict(drive=DRIVE, window=WINDOW, key=KEY, max_spikes=9)
SIMULATED = rs.simulate(network=NETWORK, **RUN)
SIMULATIONS = jax.vmap(lambda key: rs.simulate(NETWORK, **(RUN | dict(key=key)), throw=False))(
    jr.split(KEY, 2)
)
CLAMPED = jax.vmap(lambda train: rs.clamp(QUIET, DRIVE, train, WINDOW))(BATCH)

DRIFT = dfx.ODETerm(lambda t, y, args: 3.0 - y)
EVENT = rs.Event(lambda t, y, args: y[:1] - 1, lambda t, y, args, k, u: y - 1.0)
SOLVE: Any = dict(
    terms=DRIFT, window=WINDOW, y0=jnp.zeros(2), args=None, event=EVENT, max_events=9, key=KEY
)
ENGINE = rs.EventByEvent(solver=dfx.Heun())
GRAM = jnp.eye(3)
POINT = rs.PointKernel().fitted(BATCH)
SIGNATURE = rs.SignatureKernel(height=0.5)
FEATURES = rs.losses.TrialFeatures.of(BATCH, TS, timescale=0.1, groups=[0, 1])
PATH = jnp.array([[0.0, 1.0], [1.0, 2.0], [2.0, 0.0]])
MOMENTS = rs.losses.Moments.of(jnp.eye(3, 4))
SESSION = rs.io.Session.from_trials(BATCH, gap=0.1)
PAIR: Any = dict(x=BATCH, y=OTHER)
SMOOTH: Any = dict(ts=TS, timescale=0.1)
QUANTILES = np.array([0.1, 0.5, 0.9])


def loss(model, data, key):
    return jnp.sum((model - data) ** 2)


FIT: Any = dict(
    model=jnp.ones(()),
    losses=loss,
    data=jnp.ones(4),
    optim=optax.sgd(0.1),
    steps=1,
    key=KEY,
    batch_size=None,
    opt_state=None,
    validation=rs.Validation(jnp.ones(4), every=1),
    loop=rs.Loop(progress=False),
)
FITTED = rs.fit(**FIT)
