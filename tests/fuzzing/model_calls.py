"""Calls of events, solves, networks and their parts."""

import diffrax as dfx
import jax.numpy as jnp
import numpy as np
import optimistix as optx

import roughsnn as rs

from . import given as g
from .call import Call


def _problem(c):
    return dfx.ODETerm(lambda t, y, a: 3 * a - y), g.EVENT, jnp.zeros(2), c


def _model(c):
    return g.NETWORK, c * jnp.ones(2)


CALLS: dict[str, Call] = {
    "drop_failed": Call(rs.drop_failed, dict(batch=g.SIMULATIONS)),
    "check": Call(rs.check, dict(outcome=g.SIMULATED)),
    "Chandrupatla": Call(rs.Chandrupatla, dict(rtol=1e-6, atol=1e-6)),
    "check_event": Call(
        rs.check_event,
        dict(
            terms=g.DRIFT, event=g.EVENT, t=0.0, y=jnp.ones(2), key=g.KEY, samples=2, coordinates=2
        ),
    ),
    "BracketedCrossing": Call(
        rs.BracketedCrossing, dict(root_finder=rs.Chandrupatla(), max_steps=9)
    ),
    "QuadraticCrossing": Call(rs.QuadraticCrossing, dict(pieces=2)),
    "Event": Call(
        rs.Event,
        dict(fn=g.EVENT.fn, transition=g.EVENT.transition, conditions="check", ties="first"),
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
            max_pending=4,
        ),
    ),
    "eventsolve": Call(rs.eventsolve, g.SOLVE | dict(engine=g.ENGINE, jump_ts=np.array([0.2]))),
    "online_gradient": Call(
        rs.online_gradient,
        dict(
            problem=_problem,
            params=jnp.ones(()),
            direction=jnp.ones(()),
            window=g.WINDOW,
            max_events=9,
            key=g.KEY,
            engine=g.ENGINE,
        ),
    ),
    "reference_solve": Call(rs.reference_solve, g.SOLVE | dict(solver=dfx.Heun())),
    "Lockstep": Call(rs.Lockstep, dict(record={"v": "cells"}, adjoint=rs.DirectAdjoint())),
    "simulate": Call(
        rs.simulate,
        g.RUN
        | dict(network=g.DRIVEN, engine=None, initial=g.STATE, noise=g.NOISE, inputs=g.INPUTS),
    ),
    "simulate.event": Call(
        rs.simulate,
        g.RUN | dict(network=g.NETWORK, engine=rs.EventByEvent(), initial=g.DRAWN, noise=g.NOISE),
    ),
    "clamp": Call(
        rs.clamp,
        g.RUN
        | dict(network=g.QUIET, train=g.TRAIN, observed=[0, 1], engine=rs.Lockstep(), history=None),
    ),
    "SparseWeights": Call(
        rs.SparseWeights, dict(targets=np.array([[1], [0]]), values=np.ones((2, 1)), size=2)
    ),
    "SparseWeights.from_dense": Call(rs.SparseWeights.from_dense, dict(weights=g.WEIGHTS)),
    "connectors.fixed_probability": Call(
        rs.connectors.fixed_probability, g.CONNECT | dict(probability=0.5)
    ),
    "connectors.fixed_out_degree": Call(rs.connectors.fixed_out_degree, g.CONNECT | dict(degree=2)),
    "connectors.fixed_in_degree": Call(rs.connectors.fixed_in_degree, g.CONNECT | dict(degree=2)),
    "Bound": Call(
        lambda **arguments: rs.Bound(**arguments).check(),
        dict(name="alpha", value=jnp.ones(2), rule="positive"),
    ),
    "constrained": Call(rs.constrained, dict(model=g.NETWORK)),
    "DaleWeights": Call(rs.DaleWeights, dict(weights=g.WEIGHTS, excitatory=np.array([True, True]))),
    "simulate_online": Call(
        rs.simulate_online,
        dict(
            model=_model,
            params=jnp.ones(()),
            direction=jnp.ones(()),
            window=g.WINDOW,
            max_spikes=9,
            key=g.KEY,
            engine=g.ENGINE,
            initial=g.STATE,
            noise=g.NOISE,
        ),
    ),
    "eligibility": Call(
        rs.eligibility, g.RUN | dict(network=g.NETWORK, initial=g.STATE, noise=g.NOISE)
    ),
    "StochasticFiring": Call(rs.StochasticFiring, dict(intensity=g.SOFTPLUS, alpha=0.03)),
    "HardThreshold": Call(rs.HardThreshold, dict(threshold=1.0)),
    "Subtract": Call(rs.Subtract, dict(by=1.4)),
    "ResetTo": Call(rs.ResetTo, dict(value=np.zeros(2))),
    "ExponentialIntensity": Call(
        rs.ExponentialIntensity, dict(beta=5.0, threshold=1.0, timescale=1.0, cap=10.0)
    ),
    "SoftplusIntensity": Call(rs.SoftplusIntensity, dict(beta=5.0, threshold=np.ones(2), rate=1.0)),
    "neurons.LIF": Call(
        rs.neurons.LIF, dict(tau=0.1, reset=rs.Subtract(1.0), sigma=np.ones((2, 1)), rest=0.0)
    ),
    "neurons.MultiplicativeLIF": Call(
        rs.neurons.MultiplicativeLIF,
        dict(tau=0.1, sigma=0.2, reset_to=np.zeros(2), amplitude=jnp.sin),
    ),
    "neurons.AdaptiveLIF": Call(
        rs.neurons.AdaptiveLIF,
        dict(
            tau=0.1,
            tau_adaptation=np.full(2, 0.5),
            jump=0.2,
            reset=rs.ResetTo(0.0),
            sigma=0.1,
            rest=0.0,
        ),
    ),
    "neurons.AfterSpikeCurrent": Call(
        rs.neurons.AfterSpikeCurrent, dict(tau=0.2, jump=np.full(2, -0.3), keep=1.0)
    ),
    "neurons.SpikeThreshold": Call(rs.neurons.SpikeThreshold, dict(tau=0.2, jump=np.ones(2))),
    "neurons.VoltageThreshold": Call(rs.neurons.VoltageThreshold, dict(tau=0.2, gain=np.ones(2))),
    "neurons.GLIF": Call(
        rs.neurons.GLIF,
        dict(
            tau=0.1,
            keep=np.ones(2),
            drop=0.2,
            currents=[rs.neurons.AfterSpikeCurrent(0.2, -0.3)],
            spike_threshold=rs.neurons.SpikeThreshold(0.1, 0.2),
            voltage_threshold=None,
            sigma=0.1,
            rest=0.0,
        ),
    ),
    "neurons.ExponentialBasis": Call(
        rs.neurons.ExponentialBasis, dict(tau=np.array([0.1, 0.5]), weights=np.array([-1.0, 0.2]))
    ),
    "neurons.LaguerreBasis": Call(
        rs.neurons.LaguerreBasis, dict(tau=0.1, weights=np.array([-1.0, 0.2]))
    ),
    "neurons.HistoryFilter": Call(
        rs.neurons.HistoryFilter,
        dict(tau=0.1, bases=[rs.neurons.LaguerreBasis(0.1, -1.0)], sigma=0.1, rest=np.zeros(2)),
    ),
    "neurons.ResonateAndFire": Call(
        rs.neurons.ResonateAndFire, dict(tau=0.1, omega=np.full(2, 20.0), reset=None, sigma=0.1)
    ),
    "neurons.QIF": Call(
        rs.neurons.QIF,
        dict(
            tau=0.1,
            rest=np.zeros(2),
            critical=1.0,
            curvature=np.ones(2),
            reset_to=-10.0,
            sigma=0.1,
        ),
    ),
    "neurons.EIF": Call(
        rs.neurons.EIF,
        dict(
            tau=10.0,
            rest=np.full(2, -65.0),
            soft_threshold=-60.0,
            delta=np.full(2, 3.5),
            reset_to=-68.0,
            sigma=0.1,
        ),
    ),
    "neurons.AdEx": Call(
        rs.neurons.AdEx,
        dict(
            tau=9.0,
            tau_w=np.full(2, 144.0),
            a=0.1,
            b=2.7,
            rest=np.full(2, -70.0),
            soft_threshold=-50.0,
            delta=2.0,
            reset_to=-70.0,
            sigma=0.1,
        ),
    ),
    "neurons.Izhikevich": Call(
        rs.neurons.Izhikevich,
        dict(a=0.02, b=np.full(2, 0.2), c=-65.0, d=8.0, tau=0.5, sigma=0.1),
    ),
    "synapses.Conductance": Call(
        rs.synapses.Conductance, dict(kernel=rs.synapses.Alpha(0.1), reversal=np.full(2, -0.5))
    ),
    "synapses.NMDA": Call(
        rs.synapses.NMDA,
        dict(
            kernel=rs.synapses.Alpha(0.1),
            reversal=-0.5,
            magnesium=np.full(2, 1.2),
            slope=0.05,
            half=3.5,
        ),
    ),
    "synapses.Alpha": Call(rs.synapses.Alpha, dict(tau=np.full(2, 0.1))),
    "synapses.DoubleExponential": Call(
        rs.synapses.DoubleExponential, dict(tau_rise=np.full(2, 0.05), tau_decay=0.1)
    ),
    "synapses.PairSTDP": Call(
        rs.synapses.PairSTDP,
        dict(a_plus=0.01, a_minus=0.01, tau_plus=0.02, tau_minus=0.02, w_max=1.0),
    ),
    "synapses.TsodyksMarkram": Call(
        rs.synapses.TsodyksMarkram,
        dict(utilisation=np.full(2, 0.5), tau_recovery=0.2, tau_facilitation=0.3),
    ),
    "synapses.Exponential": Call(rs.synapses.Exponential, dict(tau=np.full(2, 0.1), sigma=0.2)),
    "Population": Call(
        rs.Population, dict(size=2, neuron=g.LIF, firing=g.FIRING, ports=g.PORTS, refractory=0.1)
    ),
    "Source": Call(rs.Source, dict(size=3)),
    "Poisson": Call(rs.Poisson, dict(size=2, rate=np.array([5.0, 2.0]))),
    "Projection": Call(
        rs.Projection,
        dict(
            pre="neurons",
            post="neurons",
            weights=g.WEIGHTS,
            port="syn",
            mask=~np.eye(2, dtype=bool),
            autapses=False,
            delay=np.array([0.1, 0.2]),
            max_delay=0.5,
            plasticity=rs.synapses.TsodyksMarkram(0.5, 0.2),
        ),
    ),
    "SpikingNetwork": Call(
        rs.SpikingNetwork,
        dict(
            populations=g.POPULATION,
            weights=g.WEIGHTS,
            mask=~np.eye(2, dtype=bool),
            conditions="check",
        ),
    ),
    "SpikingNetwork.populations": Call(
        rs.SpikingNetwork, dict(populations=g.POPULATIONS, projections=g.PROJECTIONS)
    ),
}
