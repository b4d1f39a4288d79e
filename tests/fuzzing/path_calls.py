"""Calls of windows, spike trains and paths."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np

import roughsnn as rs

from . import given as g
from .call import Call

CALLS: dict[str, Call] = {
    "antithetic": Call(rs.antithetic, dict(key=g.KEY)),
    "Window": Call(
        rs.Window, dict(t0=0.0, t1=0.4, dt0=0.1, stop_after=3, edges=(0.2,), origin=5.0)
    ),
    "Window.refined": Call(g.WINDOW.refined, dict(factor=2)),
    "Brownian": Call(rs.Brownian, dict(interpolation="linear")),
    "BrownianPath": Call(
        rs.BrownianPath, g.GRID | g.SHAPE | dict(interpolation="parabola", columns=[0], first=0)
    ),
    "BrownianPath.evaluate": Call(g.NOISE.evaluate, dict(t0=0.1, t1=0.2)),
    "CadlagPath": Call(rs.CadlagPath, dict(ts=jnp.arange(3.0), ys=jnp.ones((3, 2)))),
    "coloured_path": Call(rs.coloured_path, g.GRID | g.SHAPE | dict(timescale=0.1)),
    "ornstein_uhlenbeck_path": Call(
        rs.ornstein_uhlenbeck_path, g.GRID | g.SHAPE | dict(timescale=0.1)
    ),
    "fractional_path": Call(rs.fractional_path, g.GRID | g.SHAPE | dict(hurst=0.4)),
    "GridPath": Call(
        rs.GridPath, g.GRID | dict(increments=np.ones((4, 2)), areas=np.ones((4, 2)), hurst=0.5)
    ),
    "coarsened": Call(rs.coarsened, dict(path=g.NOISE, factor=2)),
    "correlated": Call(rs.correlated, dict(path=g.NOISE, factor=jnp.eye(2))),
    "correlated.covariance": Call(rs.correlated, dict(path=g.NOISE, covariance=np.eye(2))),
    "JumpPath": Call(rs.JumpPath, g.SPAN | dict(jump_times=[0.1], sizes=[[1.0]])),
    "compound_poisson_path": Call(
        rs.compound_poisson_path,
        g.SPAN | dict(intensity=2.0, jump=lambda key: jr.normal(key, (2,)), max_jumps=9, key=g.KEY),
    ),
    "poisson_spikes": Call(
        rs.poisson_spikes, g.SPAN | dict(rates=np.full(3, 5.0), max_spikes=4, key=g.KEY)
    ),
    "marcus_lift": Call(rs.marcus_lift, dict(path=g.TRAIN, taper=0.1)),
    "StepPath": Call(rs.StepPath, dict(jump_times=[0.1], values=[[0.0, 0.0], [3.0, 2.0]])),
    "SpikeTrain.from_lists": Call(
        rs.SpikeTrain.from_lists,
        g.SPAN | dict(times=[[0.05, 0.2], [0.11]], max_spikes=9, origin=3.0),
    ),
    "SpikeTrain.stack": Call(rs.SpikeTrain.stack, dict(trains=g.TRAINS)),
    "SpikeTrain.window": Call(g.TRAIN.window, dict(a=0.1, b=0.3)),
    "SpikeTrain.first": Call(g.TRAIN.first, dict(n=2)),
    "SpikeTrain.only": Call(g.TRAIN.only, dict(neurons=[0], max_spikes=3)),
    "SpikeTrain.merged": Call(g.TRAIN.merged, dict(groups=[0, 0])),
    "SpikeTrain.with_room": Call(g.TRAIN.with_room, dict(max_spikes=9)),
    "SpikeTrain.with_spike": Call(g.TRAIN.with_spike, dict(neuron=1)),
    "SpikeTrain.per_neuron": Call(g.TRAIN.per_neuron, dict(n=2)),
    "SpikeTrain.in_frame": Call(g.TRAIN.in_frame, dict(window=g.WINDOW)),
}
