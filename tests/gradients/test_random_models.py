"""AD = differences on the same noise, for random networks and both engines.

256 models by default; `ROUGHSNN_MODELS=2048` for a nightly run.
"""

import os
from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from ..helpers import lif_network

MODELS = int(os.environ.get("ROUGHSNN_MODELS", "256"))
STEPS = np.array([1e-4, 1e-5, 1e-6])
ENGINES = ("event", "lockstep")
# In lockstep the models that fire most fail at 0.02: several spikes of a neuron in a cell.
DT = {"event": 0.02, "lockstep": 0.01}
KINDS = [(n, hard, m) for n in (1, 2, 5, 8) for hard in (False, True) for m in ENGINES]
if MODELS <= 256:
    # Compilation is what takes time: fewer kinds, as many models.
    KINDS = [(1, True, "event"), (2, False, "lockstep"), (5, True, "lockstep"), (8, False, "event")]


def draw(rng: np.random.Generator, neurons: int, hard: bool) -> dict:
    """Parameters over the ranges that people use."""
    log = lambda a, b, *shape: np.exp(rng.uniform(np.log(a), np.log(b), shape))
    sigma = rng.normal(size=(2, 2)) * log(0.05, 0.6)
    if hard:
        sigma[0] = 0
    weights = rng.normal(size=(neurons, neurons)) * log(0.1, 1.5) / neurons**0.5
    return {
        "mu": np.stack([log(2, 25, neurons), log(0.5, 12, neurons)]),
        "sigma": sigma,
        "reset": log(0.5, 2.0, neurons),
        "beta": log(1, 6),
        "threshold": rng.uniform(0.7, 1.2),
        "alpha": log(0.01, 0.8),
        "weights": weights * (1 - np.eye(neurons)),
        "input": rng.uniform(0.8, 2.5, neurons),
        "wave": rng.uniform(0, 0.5, neurons),
        "v0": rng.uniform(-0.5, 0.5, neurons),
    }


def outputs(p, key, hard: bool, method):
    neurons = p["input"].shape[0]
    if hard:
        firing = rs.HardThreshold(p["threshold"])
    else:
        firing = rs.StochasticFiring(
            rs.ExponentialIntensity(p["beta"], p["threshold"], 1.0, cap=6.0), p["alpha"]
        )
    network = lif_network(firing, p["weights"], mu=p["mu"], sigma=p["sigma"], reset=p["reset"])
    options: Any = dict(
        window=rs.Window(0.0, 0.4, DT[method]),
        max_spikes=40 * neurons,
        key=key,
        throw=False,
        initial={"v": p["v0"]},
    )
    drive = lambda t: p["input"] + p["wave"] * jnp.sin(9 * t)
    if method == "event":
        sim = rs.simulate(
            network, drive, **options, engine=rs.EventByEvent(saveat=dfx.SaveAt(t1=True))
        )
        train, sol = sim.spikes, sim.states
        state, fine = [sol.y1["v"], sol.y1["syn"]], sol.result == rs.RESULTS.successful
    else:
        train = rs.simulate(network, drive, **options).spikes
        state, fine = [], ~train.overflow
        if not hard:
            assert train.boundary is not None
            state = [train.boundary.excess[0]]
    times = jnp.where(train.marks >= 0, train.times, 0)
    return jnp.concatenate([times, *state]), (train.count, train.marks, fine)


@pytest.mark.slow
@pytest.mark.parametrize("neurons, hard, method", KINDS)
def test_random_networks(neurons, hard, method):
    number = MODELS // len(KINDS)
    rng = np.random.default_rng(100 * neurons + hard)
    stack = lambda trees: jax.tree.map(lambda *x: jnp.asarray(np.stack(x)), *trees)
    params = stack([draw(rng, neurons, hard) for _ in range(number)])
    mask = jnp.asarray(1 - np.eye(neurons))
    directions = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)) * 0.3, params)
    directions["weights"] = directions["weights"] * mask[None]
    if hard:
        directions["sigma"] = directions["sigma"].at[:, 0].set(0.0)
    keys = jr.split(jr.key(neurons), number)

    def one(p, d, key):
        def along(s):
            moved = jax.tree.map(lambda a, b: a + s * b, p, d)
            return outputs(moved, key, hard, method)

        value, slope, aux = jax.jvp(along, (0.0,), (1.0,), has_aux=True)
        up, down = (jax.vmap(along)(sign * jnp.asarray(STEPS)) for sign in (1, -1))
        central = (up[0] - down[0]) / (2 * STEPS[:, None])
        # The order of the spikes is the same at both ends: no swap and no exit inside.
        smooth = jnp.all(up[1][1] == down[1][1], axis=1)
        if method == "lockstep":
            # Nor does one cross the border of a cell in which its target fires.
            cells = [jnp.floor(x[0][:, : aux[1].shape[0]] / DT[method]) for x in (up, down)]
            smooth = smooth & jnp.all(cells[0] == cells[1], axis=1)
        return value, slope, aux, central, smooth

    value, slope, (count, _, fine), central, smooth = jax.jit(jax.vmap(one))(
        params, directions, keys
    )
    scale = 1 + jnp.max(jnp.abs(slope), axis=1, keepdims=True)
    error = jnp.max(jnp.abs(central - slope[:, None]) / scale[:, None], axis=2)
    error = np.asarray(jnp.where(smooth, error, jnp.inf)).min(axis=1)
    # Differences that have not settled say nothing: close to grazing their second derivative
    # is too large for these steps.
    gap = np.asarray(jnp.max(jnp.abs(central[:, 1] - central[:, 2]) / scale, axis=1))
    unsettled = (error > 1e-6) & (gap > 0.1 * error)
    compared = np.asarray(fine) & np.asarray(jnp.any(smooth, axis=1)) & ~unsettled
    print(
        f"{neurons} neurons, {'hard' if hard else 'soft'}, {method}: {compared.sum()} of "
        f"{number} models, {int(np.mean(count))} spikes on average, "
        f"largest error {error[compared].max():.1e}"
    )
    assert compared.sum() >= 0.9 * number
    assert np.all(np.isfinite(np.asarray(value)[compared]))
    assert np.sum(unsettled) <= 0.01 * number
    assert np.mean(np.asarray(count)) >= 0.5
    assert np.all(error[compared] <= 1e-6), np.sort(error[compared])[-5:]
