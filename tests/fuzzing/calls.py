"""A small valid call of every public function, class and method that users call."""

from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import optimistix as optx

import roughsnn as rs


class Call(NamedTuple):
    """A function and arguments that it takes."""

    fn: Callable
    arguments: dict[str, Any]

    def __call__(self, **changed: Any) -> Any:
        return self.fn(**(self.arguments | changed))


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

LIF = rs.LIF(mu=(15.0, 6.0), sigma=((0.2, 0.0), (0.0, 0.1)), v_reset=1.4)
SOFTPLUS = rs.SoftplusIntensity(rate=20.0)
FIRING = rs.StochasticFiring(SOFTPLUS, alpha=0.03)
WEIGHTS = jnp.array([[0.0, 0.5], [0.2, 0.0]])
NETWORK = rs.SpikingNetwork(LIF, FIRING, WEIGHTS)
QUIET = rs.SpikingNetwork(rs.LIF(mu=(15.0, 6.0), v_reset=1.4), FIRING, WEIGHTS)
DRIVE = jnp.array([1.0, 1.2])
STATE = rs.NeuronState(jnp.zeros(2), jnp.zeros(2), -jnp.ones(2))
POISSON = rs.poisson_spikes(**SPAN, rates=np.full(3, 5.0), max_spikes=4, key=KEY)
INPUT = rs.SpikeInput(POISSON, np.ones((3, 2)))
NOISE = rs.BrownianPath(**GRID, **SHAPE)
RUN: Any = dict(drive=DRIVE, window=WINDOW, key=KEY, max_spikes=9)
SIMULATED = rs.simulate(network=NETWORK, **RUN)
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


def _loss(model, data, key):
    return jnp.sum((model - data) ** 2)


def _problem(c):
    return dfx.ODETerm(lambda t, y, a: 3 * a - y), EVENT, jnp.zeros(2), c


FIT: Any = dict(
    model=jnp.ones(()),
    losses=_loss,
    data=jnp.ones(4),
    optim=optax.sgd(0.1),
    steps=1,
    key=KEY,
    batch_size=None,
    validation=rs.Validation(jnp.ones(4), every=1),
    loop=rs.Loop(progress=False),
)
FITTED = rs.fit(**FIT)

CALLS: dict[str, Call] = {
    "check": Call(rs.check, dict(outcome=SIMULATED)),
    "antithetic": Call(rs.antithetic, dict(key=KEY)),
    "Window": Call(
        rs.Window, dict(t0=0.0, t1=0.4, dt0=0.1, stop_after=3, edges=(0.2,), origin=5.0)
    ),
    "Window.refined": Call(WINDOW.refined, dict(factor=2)),
    "Brownian": Call(rs.Brownian, dict(interpolation="linear")),
    "BrownianPath": Call(
        rs.BrownianPath, GRID | SHAPE | dict(interpolation="parabola", columns=[0], first=0)
    ),
    "BrownianPath.evaluate": Call(NOISE.evaluate, dict(t0=0.1, t1=0.2)),
    "CadlagPath": Call(rs.CadlagPath, dict(ts=jnp.arange(3.0), ys=jnp.ones((3, 2)))),
    "coloured_path": Call(rs.coloured_path, GRID | SHAPE | dict(timescale=0.1)),
    "ornstein_uhlenbeck_path": Call(rs.ornstein_uhlenbeck_path, GRID | SHAPE | dict(timescale=0.1)),
    "fractional_path": Call(rs.fractional_path, GRID | SHAPE | dict(hurst=0.4)),
    "GridPath": Call(rs.GridPath, GRID | dict(increments=np.ones((4, 2)), areas=np.ones((4, 2)))),
    "coarsened": Call(rs.coarsened, dict(path=NOISE, factor=2)),
    "correlated": Call(rs.correlated, dict(path=NOISE, factor=jnp.eye(2))),
    "correlated.covariance": Call(rs.correlated, dict(path=NOISE, covariance=np.eye(2))),
    "JumpPath": Call(rs.JumpPath, SPAN | dict(jump_times=[0.1], sizes=[[1.0]])),
    "compound_poisson_path": Call(
        rs.compound_poisson_path,
        SPAN | dict(intensity=2.0, jump=lambda key: jr.normal(key, (2,)), max_jumps=9, key=KEY),
    ),
    "poisson_spikes": Call(
        rs.poisson_spikes, SPAN | dict(rates=np.full(3, 5.0), max_spikes=4, key=KEY)
    ),
    "marcus_lift": Call(rs.marcus_lift, dict(path=TRAIN, taper=0.1)),
    "StepPath": Call(rs.StepPath, dict(jump_times=[0.1], values=[[0.0, 0.0], [3.0, 2.0]])),
    "SpikeTrain.from_lists": Call(
        rs.SpikeTrain.from_lists,
        SPAN | dict(times=[[0.05, 0.2], [0.11]], max_spikes=9, origin=3.0),
    ),
    "SpikeTrain.stack": Call(rs.SpikeTrain.stack, dict(trains=TRAINS)),
    "SpikeTrain.window": Call(TRAIN.window, dict(a=0.1, b=0.3)),
    "SpikeTrain.first": Call(TRAIN.first, dict(n=2)),
    "SpikeTrain.only": Call(TRAIN.only, dict(neurons=[0], max_spikes=3)),
    "SpikeTrain.merged": Call(TRAIN.merged, dict(groups=[0, 0])),
    "SpikeTrain.with_room": Call(TRAIN.with_room, dict(max_spikes=9)),
    "SpikeTrain.with_spike": Call(TRAIN.with_spike, dict(neuron=1)),
    "SpikeTrain.per_neuron": Call(TRAIN.per_neuron, dict(n=2)),
    "SpikeTrain.in_frame": Call(TRAIN.in_frame, dict(window=WINDOW)),
    "Chandrupatla": Call(rs.Chandrupatla, dict(rtol=1e-6, atol=1e-6)),
    "check_event": Call(
        rs.check_event,
        dict(terms=DRIFT, event=EVENT, t=0.0, y=jnp.ones(2), key=KEY, samples=2, coordinates=2),
    ),
    "BracketedCrossing": Call(
        rs.BracketedCrossing, dict(root_finder=rs.Chandrupatla(), max_steps=9)
    ),
    "QuadraticCrossing": Call(rs.QuadraticCrossing, dict(pieces=2)),
    "Event": Call(
        rs.Event,
        dict(fn=EVENT.fn, transition=EVENT.transition, conditions="check", ties="first"),
    ),
    "CheckpointAdjoint": Call(rs.CheckpointAdjoint, dict(block_size=4, megabytes=None)),
    "DirectAdjoint": Call(rs.DirectAdjoint, {}),
    "EventByEvent": Call(
        rs.EventByEvent,
        dict(
            solver=dfx.Heun(),
            root_finder=optx.Bisection(1e-6, 1e-6),
            controller=dfx.PIDController(1e-6, 1e-6),
            max_steps=9,
            saveat=dfx.SaveAt(t1=True),
            adjoint=rs.DirectAdjoint(),
        ),
    ),
    "eventsolve": Call(rs.eventsolve, SOLVE | dict(engine=ENGINE, jump_ts=np.array([0.2]))),
    "online_gradient": Call(
        rs.online_gradient,
        dict(
            problem=_problem,
            params=jnp.ones(()),
            direction=jnp.ones(()),
            window=WINDOW,
            max_events=9,
            key=KEY,
            engine=ENGINE,
        ),
    ),
    "reference_solve": Call(rs.reference_solve, SOLVE | dict(solver=dfx.Heun())),
    "Lockstep": Call(rs.Lockstep, dict(record={"v": "cells"}, adjoint=rs.DirectAdjoint())),
    "simulate": Call(
        rs.simulate,
        RUN | dict(network=NETWORK, engine=None, initial=STATE, noise=NOISE, inputs=INPUT),
    ),
    "simulate.event": Call(
        rs.simulate,
        RUN | dict(network=NETWORK, engine=rs.EventByEvent(), initial=STATE, noise=NOISE),
    ),
    "clamp": Call(
        rs.clamp,
        RUN | dict(network=QUIET, train=TRAIN, observed=[0, 1], engine=rs.Lockstep()),
    ),
    "SparseWeights": Call(
        rs.SparseWeights, dict(targets=np.array([[1], [0]]), values=np.ones((2, 1)))
    ),
    "SparseWeights.from_dense": Call(rs.SparseWeights.from_dense, dict(weights=WEIGHTS)),
    "random_targets": Call(rs.random_targets, dict(seed=0, neurons=6, synapses=2)),
    "Bound": Call(
        lambda **arguments: rs.Bound(**arguments).check(),
        dict(name="alpha", value=jnp.ones(2), rule="positive"),
    ),
    "constrained": Call(rs.constrained, dict(model=NETWORK)),
    "DaleWeights": Call(rs.DaleWeights, dict(weights=WEIGHTS, excitatory=np.array([True, True]))),
    "eligibility": Call(rs.eligibility, RUN | dict(network=NETWORK, initial=STATE, noise=NOISE)),
    "ExponentialTrapezoid": Call(
        rs.ExponentialTrapezoid, dict(rates=rs.NeuronState(jnp.ones(2), jnp.ones(2), None))
    ),
    "StochasticFiring": Call(rs.StochasticFiring, dict(intensity=SOFTPLUS, alpha=0.03)),
    "ThresholdFiring": Call(rs.ThresholdFiring, dict(threshold=1.0)),
    "SpikeInput": Call(rs.SpikeInput, dict(spikes=POISSON, weights=np.ones((3, 2)))),
    "ExponentialIntensity": Call(
        rs.ExponentialIntensity, dict(beta=5.0, threshold=1.0, timescale=1.0, cap=10.0)
    ),
    "SoftplusIntensity": Call(rs.SoftplusIntensity, dict(beta=5.0, threshold=np.ones(2), rate=1.0)),
    "LIF": Call(rs.LIF, dict(mu=(15.0, 6.0), sigma=((0.2,), (0.0,)), v_reset=1.0)),
    "MultiplicativeLIF": Call(
        rs.MultiplicativeLIF,
        dict(mu=(15.0, 6.0), sigma=((0.2,), (0.0,)), v_reset=1.0, amplitude=jnp.sin),
    ),
    "SpikingNetwork": Call(
        rs.SpikingNetwork,
        dict(
            membrane=LIF,
            firing=FIRING,
            weights=WEIGHTS,
            mask=~np.eye(2, dtype=bool),
            conditions="check",
        ),
    ),
    "ProductKernel": Call(rs.ProductKernel, dict(kernels=[POINT, SIGNATURE])),
    "SumKernel": Call(rs.SumKernel, dict(kernels=[POINT, SIGNATURE], weights=[1.0, 2.0])),
    "gram_matrix": Call(rs.gram_matrix, PAIR | dict(kernel=POINT, megabytes=64.0)),
    "LagKernel": Call(
        rs.LagKernel,
        dict(
            resolution=0.005,
            reach=0.25,
            bumps=6,
            directions=12,
            shrinkage=1.0,
            bandwidth=1.0,
            taper=0.1,
        ),
    ),
    "OrderedKernel": Call(
        rs.OrderedKernel, dict(width=0.05, height=0.5, taper=0.1, scaling="none")
    ),
    "PointKernel": Call(rs.PointKernel, dict(width=0.05, population=1.0, bandwidth=1.0, taper=0.1)),
    "PointKernel.call": Call(POINT, dict(x=TRAIN, y=TRAINS[1])),
    "PointKernel.fitted": Call(rs.PointKernel().fitted, dict(data=BATCH)),
    "SumKernel.fitted": Call(
        rs.SumKernel([rs.PointKernel(), rs.SignatureKernel()]).fitted, dict(data=BATCH)
    ),
    "SignatureKernel": Call(
        rs.SignatureKernel,
        dict(
            height=0.5,
            lifting=rs.ItoLift(),
            time_scale=1.0,
            dilation=1.0,
            taper=0.1,
            scaling="none",
            order=3,
            longest=2.0,
        ),
    ),
    "ItoLift": Call(rs.ItoLift, {}),
    "MarcusLift": Call(rs.MarcusLift, {}),
    "RampLift": Call(rs.RampLift, dict(width=0.05)),
    "LinearStatic": Call(rs.LinearStatic, {}),
    "RBFStatic": Call(rs.RBFStatic, dict(scale=1.0)),
    "PathKernel": Call(rs.PathKernel, dict(static=rs.RBFStatic(), refine=0, order=2, sweep="rows")),
    "PathKernel.call": Call(rs.PathKernel(order=2), dict(x=PATH, y=PATH[:2])),
    "PathKernel.error": Call(rs.PathKernel(order=2).error, dict(x=PATH, y=PATH[:2])),
    "PathKernel.gram": Call(rs.PathKernel(order=2).gram, dict(x=PATH[None], y=PATH[None, :2])),
    "PerNeuronKernel": Call(
        rs.PerNeuronKernel, dict(kernel=SIGNATURE, max_spikes=5, interactions=1)
    ),
    "Checkpoint": Call(rs.Checkpoint, dict(folder="nowhere", every=5, on_error="stop")),
    "fit": Call(rs.fit, FIT),
    "Loop": Call(rs.Loop, dict(callback=print, checkpoint=None)),
    "Objective": Call(rs.Objective, dict(losses={"a": _loss}, weights={"a": 1.0})),
    "Validation": Call(rs.Validation, dict(data=jnp.ones(4), every=1, patience=2)),
    "log_likelihood": Call(
        rs.log_likelihood,
        RUN | dict(network=NETWORK, train=TRAIN, observed=[0, 1], samples=2),
    ),
    "multilevel_mean": Call(
        rs.multilevel_mean,
        dict(
            statistic=lambda key, dt: jr.normal(key) * dt,
            dt0=0.1,
            tolerance=0.05,
            key=KEY,
            weak_order=1.0,
            pilot=8,
            batch_size=8,
            max_levels=3,
        ),
    ),
    "losses.binned_counts": Call(
        rs.losses.binned_counts, dict(train=SIMULATED.spikes, edges=[0.0, 0.4])
    ),
    "losses.counts": Call(rs.losses.counts, dict(train=SIMULATED.spikes)),
    "losses.filtered": Call(rs.losses.filtered, SMOOTH | dict(train=TRAIN)),
    "losses.with_boundary": Call(
        rs.losses.with_boundary,
        dict(fn=lambda train: train.counts().astype(float), train=SIMULATED.spikes),
    ),
    "losses.SignatureMean.of": Call(
        rs.losses.SignatureMean.of, dict(batches=[BATCH], depth=2, taper=0.1, directions=1)
    ),
    "losses.expected_signature": Call(
        rs.losses.expected_signature,
        PAIR | dict(depth=2, taper=0.1, directions=1, allow_jumps=True),
    ),
    "losses.signature_features": Call(
        rs.losses.signature_features, dict(x=BATCH, depth=2, taper=0.1, directions=1)
    ),
    "losses.TrialFeatures.of": Call(
        rs.losses.TrialFeatures.of, SMOOTH | dict(data=BATCH, groups=[0, 1])
    ),
    "losses.TrialFeatures.call": Call(FEATURES, dict(batch=BATCH)),
    "losses.behaviour": Call(
        rs.losses.behaviour, SMOOTH | dict(batch=BATCH, readout=jnp.ones((2, 1)))
    ),
    "losses.match_trials": Call(rs.losses.match_trials, dict(x=GRAM, y=GRAM)),
    "losses.matched_correlation": Call(
        rs.losses.matched_correlation, dict(x=GRAM[:, None], y=GRAM[:, None])
    ),
    "losses.matched_distance": Call(
        rs.losses.matched_distance, dict(x=GRAM, y=GRAM, method="none", epsilon=0.1)
    ),
    "losses.nearest_types": Call(
        rs.losses.nearest_types, dict(x=GRAM, y=GRAM, types=np.array([0, 1, 1]))
    ),
    "losses.Reference": Call(rs.losses.Reference, dict(data=BATCH, kernel=POINT, megabytes=64.0)),
    "losses.default_kernel": Call(rs.losses.default_kernel, {}),
    "losses.mmd": Call(
        rs.losses.mmd, PAIR | dict(kernel=rs.PointKernel(), block_size=2, megabytes=64.0)
    ),
    "losses.mmd_of": Call(rs.losses.mmd_of, dict(xx=GRAM, xy=GRAM, yy=GRAM)),
    "losses.signature_mmd": Call(
        rs.losses.signature_mmd, PAIR | dict(kernel=rs.SignatureKernel(), allow_jumps=True)
    ),
    "losses.Moments.of": Call(rs.losses.Moments.of, dict(features=jnp.eye(3, 4), shrinkage=0.05)),
    "losses.moment_distance": Call(rs.losses.moment_distance, dict(x=jnp.eye(3, 4), y=MOMENTS)),
    "losses.kernel_score": Call(rs.losses.kernel_score, PAIR | dict(kernel=POINT, megabytes=64.0)),
    "losses.witness": Call(rs.losses.witness, PAIR | dict(z=BATCH, kernel=POINT, megabytes=64.0)),
    "losses.first_spike_mae": Call(rs.losses.first_spike_mae, PAIR | dict(n=1)),
    "losses.first_spike_mse": Call(rs.losses.first_spike_mse, PAIR | dict(n=1)),
    "losses.covariance_distance": Call(
        rs.losses.covariance_distance, PAIR | SMOOTH | dict(lags=(0, 1))
    ),
    "losses.noise_correlation": Call(
        rs.losses.noise_correlation, SMOOTH | dict(batch=BATCH, lags=(0, 1))
    ),
    "losses.noise_covariance": Call(
        rs.losses.noise_covariance, SMOOTH | dict(batch=BATCH, lags=(0, 1))
    ),
    "losses.psth": Call(rs.losses.psth, SMOOTH | dict(batch=BATCH)),
    "losses.psth_distance": Call(rs.losses.psth_distance, PAIR | SMOOTH),
    "losses.rate_penalty": Call(
        rs.losses.rate_penalty,
        dict(
            x=jax.vmap(lambda key: rs.simulate(NETWORK, **(RUN | dict(key=key))).spikes)(
                jr.split(KEY, 2)
            ),
            rate=2.0,
            neurons=[0],
        ),
    ),
    "losses.smoothed": Call(rs.losses.smoothed, SMOOTH | dict(batch=BATCH)),
    "losses.two_sample_test": Call(
        rs.losses.two_sample_test,
        PAIR | dict(kernel=POINT, permutations=3, key=KEY, megabytes=64.0),
    ),
    "scores.explosions": Call(rs.scores.explosions, PAIR | dict(factor=1.0)),
    "scores.psth_correlation": Call(rs.scores.psth_correlation, PAIR | SMOOTH),
    "scores.bits_per_spike": Call(
        rs.scores.bits_per_spike, dict(log_likelihood=0.0, held_out=BATCH, training=OTHER)
    ),
    "scores.connectivity_recovery": Call(
        rs.scores.connectivity_recovery, dict(weights=WEIGHTS, truth=WEIGHTS)
    ),
    "scores.rescaled_quantiles": Call(
        rs.scores.rescaled_quantiles, dict(clamped=CLAMPED, train=BATCH, alpha=0.03)
    ),
    "testing.check_gradients": Call(
        rs.testing.check_gradients,
        dict(
            fn=lambda c, key: c * jr.normal(key) ** 2,
            params=jnp.ones(()),
            key=KEY,
            samples=4,
            probes=(1, 1),
            mean_step=0.02,
        ),
    ),
    "testing.time_rescaling_test": Call(
        rs.testing.time_rescaling_test, dict(train=TRAIN, network=QUIET, drive=DRIVE, dt0=0.1)
    ),
    "io.Session": Call(
        rs.io.Session,
        SPAN | dict(times=[[0.05, 0.2], [0.11]], names=["a", "b"], trials=None, unit="s"),
    ),
    "io.Session.select": Call(SESSION.select, dict(units=[0])),
    "io.Session.aligned": Call(
        SESSION.aligned, dict(events="event_time", window=(0.0, 0.4), max_spikes=9)
    ),
    "io.Session.from_trials": Call(rs.io.Session.from_trials, dict(batch=BATCH, gap=0.1)),
    "io.split_time": Call(rs.io.split_time, dict(train=TRAIN, at=0.2)),
    "io.split_trials": Call(rs.io.split_trials, dict(batch=BATCH, test=0.4, seed=0)),
    "io.read_grasshopper": Call(rs.io.read_grasshopper, dict(recording=1, folder="nowhere")),
    "io.from_neo": Call(rs.io.from_neo, dict(source=None)),
    "io.to_neo": Call(rs.io.to_neo, dict(session=SESSION)),
    "io.from_nwb": Call(rs.io.from_nwb, dict(nwbfile=None)),
    "io.read_nwb": Call(rs.io.read_nwb, dict(path="nowhere.nwb")),
    "io.to_nwb": Call(rs.io.to_nwb, dict(session=SESSION)),
    "io.write_nwb": Call(rs.io.write_nwb, dict(session=SESSION, path="nowhere/a.nwb")),
    "io.from_pynapple": Call(rs.io.from_pynapple, dict(group=None)),
    "io.to_pynapple": Call(rs.io.to_pynapple, dict(session=SESSION)),
    "plot.matrix": Call(rs.plot.matrix, dict(values=np.eye(2), limit=1.0)),
    "plot.ks": Call(rs.plot.ks, dict(quantiles=QUANTILES)),
    "plot.qq": Call(rs.plot.qq, dict(quantiles=QUANTILES)),
    "plot.training": Call(rs.plot.training, dict(fit=FITTED, names=("loss",))),
    "plot.weights": Call(rs.plot.weights, dict(estimate=np.eye(2), truth=np.eye(2))),
    "plot.psth": Call(rs.plot.psth, PAIR | SMOOTH | dict(neuron=0)),
    "plot.raster": Call(rs.plot.raster, dict(train=BATCH, neuron=0)),
}
CALLS |= {
    f"scores.{name}": Call(getattr(rs.scores, name), dict(batch=BATCH))
    for name in ("fano_factor", "intervals", "isi_cv", "local_variation", "mean_rates")
}
