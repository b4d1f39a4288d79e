"""Calls of fits and of what they are made of."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr

import roughsnn as rs

from . import given as g
from .call import Call

CALLS: dict[str, Call] = {
    "Checkpoint": Call(rs.Checkpoint, dict(folder="nowhere", every=5, on_error="stop")),
    "fit": Call(rs.fit, g.FIT),
    "Loop": Call(rs.Loop, dict(callback=print, checkpoint=None)),
    "Objective": Call(
        rs.Objective,
        dict(
            losses={"a": g.loss}, weights={"a": 1.0}, balance=True, trainable=eqx.is_inexact_array
        ),
    ),
    "Validation": Call(rs.Validation, dict(data=jnp.ones(4), every=1, patience=2)),
    "log_likelihood": Call(
        rs.log_likelihood,
        g.RUN | dict(network=g.NETWORK, train=g.TRAIN, observed=[0, 1], samples=2),
    ),
    "multilevel_mean": Call(
        rs.multilevel_mean,
        dict(
            statistic=lambda key, dt: jr.normal(key) * dt / (1 + dt),
            dt0=0.1,
            tolerance=0.05,
            key=g.KEY,
            weak_order=1.0,
            pilot=8,
            batch_size=8,
            max_levels=3,
        ),
    ),
}
