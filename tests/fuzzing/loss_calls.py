"""Calls of losses, scores and tests."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np

import roughsnn as rs

from . import given as g
from .call import Call

CALLS: dict[str, Call] = {
    "losses.binned_counts": Call(
        rs.losses.binned_counts, dict(train=g.SIMULATED.spikes, edges=[0.0, 0.4])
    ),
    "losses.counts": Call(rs.losses.counts, dict(train=g.SIMULATED.spikes)),
    "losses.filtered": Call(rs.losses.filtered, g.SMOOTH | dict(train=g.TRAIN)),
    "losses.with_boundary": Call(
        rs.losses.with_boundary,
        dict(fn=lambda train: train.counts().astype(float), train=g.SIMULATED.spikes),
    ),
    "losses.SignatureMean.of": Call(
        rs.losses.SignatureMean.of, dict(batches=[g.BATCH], depth=2, taper=0.1, directions=1)
    ),
    "losses.expected_signature": Call(
        rs.losses.expected_signature,
        g.PAIR | dict(depth=2, taper=0.1, directions=1, allow_jumps=True),
    ),
    "losses.signature_features": Call(
        rs.losses.signature_features, dict(x=g.BATCH, depth=2, taper=0.1, directions=1)
    ),
    "losses.TrialFeatures.of": Call(
        rs.losses.TrialFeatures.of, g.SMOOTH | dict(data=g.BATCH, groups=[0, 1])
    ),
    "losses.TrialFeatures.call": Call(g.FEATURES, dict(batch=g.BATCH)),
    "losses.behaviour": Call(
        rs.losses.behaviour, g.SMOOTH | dict(batch=g.BATCH, readout=jnp.ones((2, 1)))
    ),
    "losses.match_trials": Call(rs.losses.match_trials, dict(x=g.GRAM, y=g.GRAM)),
    "losses.matched_correlation": Call(
        rs.losses.matched_correlation, dict(x=g.GRAM[:, None], y=g.GRAM[:, None])
    ),
    "losses.matched_distance": Call(
        rs.losses.matched_distance, dict(x=g.GRAM, y=g.GRAM, method="none", epsilon=0.1)
    ),
    "losses.nearest_types": Call(
        rs.losses.nearest_types, dict(x=g.GRAM, y=g.GRAM, types=np.array([0, 1, 1]))
    ),
    "losses.Reference": Call(
        rs.losses.Reference, dict(data=g.BATCH, kernel=g.POINT, megabytes=64.0)
    ),
    "losses.default_kernel": Call(rs.losses.default_kernel, {}),
    "losses.mmd": Call(
        rs.losses.mmd, g.PAIR | dict(kernel=rs.PointKernel(), block_size=2, megabytes=64.0)
    ),
    "losses.mmd_of": Call(rs.losses.mmd_of, dict(xx=g.GRAM, xy=g.GRAM, yy=g.GRAM)),
    "losses.signature_mmd": Call(
        rs.losses.signature_mmd, g.PAIR | dict(kernel=rs.SignatureKernel(), allow_jumps=True)
    ),
    "losses.Moments.of": Call(rs.losses.Moments.of, dict(features=jnp.eye(3, 4), shrinkage=0.05)),
    "losses.moment_distance": Call(rs.losses.moment_distance, dict(x=jnp.eye(3, 4), y=g.MOMENTS)),
    "losses.kernel_score": Call(
        rs.losses.kernel_score, g.PAIR | dict(kernel=g.POINT, megabytes=64.0)
    ),
    "losses.witness": Call(
        rs.losses.witness, g.PAIR | dict(z=g.BATCH, kernel=g.POINT, megabytes=64.0)
    ),
    "losses.first_spike_mae": Call(rs.losses.first_spike_mae, g.PAIR | dict(n=1)),
    "losses.first_spike_mse": Call(rs.losses.first_spike_mse, g.PAIR | dict(n=1)),
    "losses.covariance_distance": Call(
        rs.losses.covariance_distance, g.PAIR | g.SMOOTH | dict(lags=(0, 1))
    ),
    "losses.noise_correlation": Call(
        rs.losses.noise_correlation, g.SMOOTH | dict(batch=g.BATCH, lags=(0, 1))
    ),
    "losses.noise_covariance": Call(
        rs.losses.noise_covariance, g.SMOOTH | dict(batch=g.BATCH, lags=(0, 1))
    ),
    "losses.psth": Call(rs.losses.psth, g.SMOOTH | dict(batch=g.BATCH)),
    "losses.psth_distance": Call(rs.losses.psth_distance, g.PAIR | g.SMOOTH),
    "losses.rate_penalty": Call(
        rs.losses.rate_penalty,
        dict(
            x=g.SIMULATIONS.spikes,
            rate=2.0,
            neurons=[0],
        ),
    ),
    "losses.smoothed": Call(rs.losses.smoothed, g.SMOOTH | dict(batch=g.BATCH)),
    "losses.two_sample_test": Call(
        rs.losses.two_sample_test,
        g.PAIR | dict(kernel=g.POINT, permutations=3, key=g.KEY, megabytes=64.0),
    ),
    "scores.explosions": Call(rs.scores.explosions, g.PAIR | dict(factor=1.0)),
    "scores.psth_correlation": Call(rs.scores.psth_correlation, g.PAIR | g.SMOOTH),
    "scores.bits_per_spike": Call(
        rs.scores.bits_per_spike, dict(log_likelihood=0.0, held_out=g.BATCH, training=g.OTHER)
    ),
    "scores.connectivity_recovery": Call(
        rs.scores.connectivity_recovery, dict(weights=g.WEIGHTS, truth=g.WEIGHTS)
    ),
    "scores.rescaled_quantiles": Call(
        rs.scores.rescaled_quantiles, dict(clamped=g.CLAMPED, train=g.BATCH, alpha=0.03)
    ),
    "testing.check_gradients": Call(
        rs.testing.check_gradients,
        dict(
            fn=lambda c, key: c * jr.normal(key) ** 2,
            params=jnp.ones(()),
            key=g.KEY,
            samples=4,
            probes=(1, 1),
            mean_step=0.02,
        ),
    ),
    "testing.check_step": Call(
        rs.testing.check_step,
        dict(
            fn=lambda c, key, dt: c * jr.normal(key) + dt**2,
            params=jnp.ones(()),
            key=g.KEY,
            dts=(0.2, 0.1),
            samples=4,
            tolerance=0.5,
            halvings=2,
        ),
    ),
    "testing.time_rescaling_test": Call(
        rs.testing.time_rescaling_test, dict(train=g.TRAIN, network=g.QUIET, drive=g.DRIVE, dt0=0.1)
    ),
}
CALLS |= {
    f"scores.{name}": Call(getattr(rs.scores, name), dict(batch=g.BATCH))
    for name in ("fano_factor", "intervals", "isi_cv", "local_variation", "mean_rates")
}
