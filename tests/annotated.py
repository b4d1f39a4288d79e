"""Runs a little of everything with every annotation checked; see `test_annotations.py`.

A script of its own: with the checks on, the wrong arguments of the other tests would be
refused by beartype before they reach the messages that users see.
"""

from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import install_import_hook

with install_import_hook("roughsnn", "beartype.beartype"):
    import roughsnn as rs

weights = jnp.array([[0.0, 0.5], [0.2, 0.0]])
membrane = rs.LIF(mu=(15.0, 6.0), sigma=((0.2, 0.0), (0.0, 0.1)), v_reset=1.4)


def trains(c, firing, key, **options):
    """A batch of three trains."""
    network = rs.SpikingNetwork(membrane, firing, weights)

    def one(key):
        return rs.simulate(
            network,
            lambda t: c * jnp.ones(2),
            t0=0.0,
            t1=0.4,
            dt0=0.02,
            max_spikes=20,
            key=key,
            **options,
        )

    return jax.vmap(one)(jr.split(key, 3))


for intensity, solver in ((rs.ExponentialIntensity(), None), (rs.SoftplusIntensity(), dfx.Heun())):
    firing = rs.StochasticFiring(intensity, alpha=0.03)
    data = trains(jnp.asarray(1.5), firing, jr.key(0), solver=solver)

    def loss(c, data, key, firing=firing, solver=solver):
        x = trains(c, firing, key, solver=solver)
        return rs.losses.expected_signature(x, data, depth=2, allow_jumps=True), {
            "mse": rs.losses.first_spike_mse(x, data, 2),
            "mae": rs.losses.first_spike_mae(x, data, 2),
        }

    result = rs.fit(
        jnp.asarray(1.0), loss, data, optax.adam(0.1), steps=2, key=jr.key(1), progress=False
    )
    assert jnp.isfinite(result.model)
    assert jnp.isfinite(rs.losses.signature_mmd(data, data))

assert jnp.isfinite(
    rs.losses.mmd(data, rs.losses.Reference(data, rs.PointKernel().fitted(data)), block_size=3)
)
assert jnp.isfinite(rs.losses.mmd(data, data))
ramp, robust = rs.RampLift(), "robust"
for kernel in (
    rs.SignatureKernel(order=1, scaling=robust, lifting=ramp),
    rs.OrderedKernel(),
    rs.ProductKernel([rs.PointKernel(), rs.LagKernel(directions=1)]),
):
    rs.losses.two_sample_test(data, data, kernel=kernel, permutations=3, key=jr.key(0))
kernel = rs.PointKernel().fitted(data)
rs.losses.kernel_score(data, data, kernel=kernel)
rs.losses.witness(data, data, data, kernel=kernel)
rs.losses.expected_signature(data, rs.losses.SignatureMean.of([data, data], depth=2, directions=1))
rs.PathKernel(rs.RBFStatic(), order=2)(jnp.zeros((3, 2)), jnp.ones((2, 2)))
rs.marcus_lift(rs.CadlagPath(jnp.zeros(3), jnp.zeros((3, 2))))

single = jax.tree.map(lambda x: x[0], data)
for method in ("counts", "complete", "to_lists"):
    getattr(single, method)()
single.window(0.1, 0.2)
single.first(1)
single.only([0])
single.per_neuron(2)
path = rs.BrownianPath(0.0, 1.0, 0.1, shape=(2,), key=jr.key(0))
path.evaluate(0.3, 0.4)
path.derivative(jnp.asarray(0.3))
step = rs.StepPath([0.1, 0.2], [[0.0], [3.0], [0.0]])
options: Any = dict(t0=0.0, t1=0.4, dt0=0.02, max_spikes=20, key=jr.key(0))
network = rs.SpikingNetwork(membrane, rs.StochasticFiring(rs.ExponentialIntensity()), weights)
rs.simulate(network, lambda t: jnp.ones(2), method="lockstep", boundary_ts=(0.2,), **options)
rs.eligibility(network, lambda t: jnp.ones(2), **options)
quiet = rs.LIF(mu=(15.0, 0.0), v_reset=1.0)
network = rs.SpikingNetwork(quiet, rs.ThresholdFiring(1.0))
saveat = dfx.SaveAt(ts=[0.05, 0.15], steps=True, t0=True, t1=True, dense=True)
rs.simulate(network, step, t0=0.0, t1=0.4, dt0=0.02, max_spikes=20, key=jr.key(0), saveat=saveat)
# Recordings.
ts = jnp.linspace(0.0, 0.4, 5)
clamped = rs.SpikingNetwork(membrane, rs.StochasticFiring(rs.SoftplusIntensity()), weights)
session = rs.io.Session.from_trials(data, gap=0.1)
recorded = session.aligned("event_time", (0.0, 0.4))
for observed, recording in (([0, 1], recorded), ([1], jax.vmap(lambda t: t.only([1]))(recorded))):

    def density(train, key, observed=observed):
        return rs.log_likelihood(
            clamped,
            lambda t: jnp.ones(2),
            train,
            dt0=0.02,
            observed=observed,
            key=key,
            samples=2,
            max_spikes=40,
        ).value

    assert jnp.all(jnp.isfinite(jax.vmap(density)(recording, jr.split(jr.key(0), 3))))
free = trains(jnp.asarray(1.5), firing, jr.key(2), method="lockstep")
assert jnp.isfinite(rs.losses.psth_distance(free, recorded, ts, 0.1))
assert jnp.isfinite(rs.losses.covariance_distance(free, recorded, ts, 0.1, lags=(0, 1)))
assert jnp.isfinite(rs.losses.rate_penalty(free, 2.0))
features = rs.losses.TrialFeatures.of(recorded, ts, timescale=0.1, groups=[0, 1])
assert jnp.isfinite(rs.losses.matched_distance(features(free), features(recorded)))
assert jnp.isfinite(rs.losses.matched_correlation(features(free), features(recorded)))
rs.losses.nearest_types(features(free), features(recorded), jnp.array([0, 1, 1]))
rs.losses.behaviour(free, jnp.ones((2, 1)), ts, 0.1)
rs.scores.bits_per_spike(0.0, recorded, recorded)
rs.scores.connectivity_recovery(weights, weights)

print("annotations hold")
