"""Traces every public function, and its derivatives, under two checks; see `test_programs.py`.

Every annotation is checked while the programs are made, and every product of floating numbers in
them is looked at: one of default precision is rounded to ten bits on a GPU. A script of its own:
with the checks on, the wrong arguments of other tests would be refused by beartype before they
reach the messages that users see. Nothing but a few small things is compiled.
"""

import functools
import tempfile
import traceback
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import optimistix as optx
from jaxtyping import install_import_hook

with install_import_hook("roughsnn", "beartype.beartype"):
    import roughsnn as rs

SEEN, FAULTY = [], []


def watch(primitive) -> None:
    """Notes each product that is made, with where it was made if its precision is the default."""
    original = primitive.bind

    def bind(*operands, **parameters):
        if all(jnp.issubdtype(x.dtype, jnp.inexact) for x in operands):
            SEEN.append(primitive.name)
            precision = parameters["precision"]
            if precision is None or any(p != jax.lax.Precision.HIGHEST for p in precision):
                FAULTY.append("".join(traceback.format_stack()[:-1]))
        return original(*operands, **parameters)

    primitive.bind = bind


watch(jax.lax.dot_general_p)
watch(jax.lax.conv_general_dilated_p)


def trace(fn, *args, derivatives: bool = True) -> None:
    """Makes the program of `fn`, with `derivatives` of its value and gradient."""

    def total(*args):
        leaves = [x for x in jax.tree.leaves(fn(*args)) if eqx.is_inexact_array(x)]
        return sum((jnp.sum(jnp.where(jnp.isfinite(x), x, 0)) for x in leaves), jnp.zeros(()))

    jax.make_jaxpr(jax.grad(total) if derivatives else fn)(*args)


KEY = jr.key(0)
WEIGHTS = jnp.array([[0.0, 0.5], [0.2, 0.0]])
WINDOW: Any = dict(window=rs.Window(0.0, 0.4, 0.02))
ROOM: Any = dict(max_spikes=20, key=KEY, **WINDOW)
EDGES = rs.Window(0.0, 0.4, 0.02, edges=(0.2,))
EVENT = rs.EventByEvent()
NEURON = rs.neurons.LIF(1 / 15, rs.Subtract(1.4), sigma=(0.2, 0.0))
SILENT = rs.neurons.LIF(1 / 15, rs.Subtract(1.4))
FIRING = rs.StochasticFiring(rs.ExponentialIntensity(), alpha=0.03)


def population(neuron: Any = NEURON, firing: Any = FIRING, size: int = 2):
    ports = {"syn": rs.synapses.Exponential(1 / 6, (0.0, 0.1) if neuron is NEURON else None)}
    return rs.Population(size, neuron, firing, ports)


def network(weights: Any = WEIGHTS, neuron: Any = NEURON, firing: Any = FIRING):
    return rs.SpikingNetwork(population(neuron, firing, weights.shape[0]), weights=weights)


def simulated(c, *, net=None, **options):
    """A train of two neurons driven by c."""
    net = network() if net is None else net
    return rs.simulate(net, c * jnp.ones(2), **(ROOM | options)).spikes


def batch(c, samples: int = 3, **options):
    return jax.vmap(lambda key: simulated(c, key=key, **options))(jr.split(KEY, samples))


C = jnp.asarray(1.5)

# Networks, in both engines, of every kind of weights, noise, input and solver.
large = 0.1 * np.ones((70, 70)) * ~np.eye(70, dtype=bool)
connect: Any = dict(key=KEY, weights=jr.normal, autapses=False)
lists = rs.connectors.fixed_out_degree(70, 70, 6, **connect)
sparse = lists, rs.connectors.fixed_in_degree(70, 70, 6, **connect)
sparse += (rs.connectors.fixed_probability(70, 70, 0.1, **connect),)
sparse += rs.SparseWeights(lists.targets, np.ones((70, 6))), lists.to_dense()
wide: Any = ROOM | dict(max_spikes=200)
for weights in (large, rs.DaleWeights(np.abs(large), np.ones(70, bool)), *sparse):
    trace(lambda c, w=weights: rs.simulate(network(w), c * jnp.ones(70), **wide).spikes, C)
GRID = 0.0, 0.4, 0.02
shared = lambda factor: rs.correlated(rs.BrownianPath(*GRID, shape=(1, 2), key=KEY), factor=factor)
drivers = (
    lambda c: rs.coloured_path(*GRID, timescale=0.1, shape=(2, 2), key=KEY),
    lambda c: rs.ornstein_uhlenbeck_path(*GRID, timescale=0.1, shape=(2, 2), key=KEY),
    lambda c: rs.fractional_path(*GRID, hurst=0.4, shape=(2, 2), key=KEY),
    lambda c: rs.GridPath(c * jnp.ones((20, 2, 2)), t0=0.0, t1=0.4, dt=0.02),
    lambda c: rs.coarsened(rs.BrownianPath(0.0, 0.4, 0.01, shape=(2, 2), key=KEY), 2),
    lambda c: shared(jnp.array([[1.0], [0.5]])),
)
for driver in drivers:
    trace(lambda c, f=driver: simulated(c, noise=f(c)), C, derivatives=False)
trace(lambda f: shared(f).increments, jnp.ones((2, 1)))


def continued(c):
    draw = {"v": lambda key: c * jr.uniform(key)}
    first = rs.simulate(network(), c * jnp.ones(2), initial=draw, **ROOM)
    assert isinstance(first.final, rs.FinalState)
    return rs.simulate(network(), c * jnp.ones(2), initial=first.final, **ROOM).final.state


trace(continued, C)


def kept_positive(alpha):
    assert rs.Bound("alpha", alpha, "not negative").holds() is not None
    firing = rs.StochasticFiring(rs.ExponentialIntensity(), alpha)
    return simulated(C, net=rs.constrained(network(firing=firing)))


trace(kept_positive, jnp.asarray(0.03))
spikes = rs.poisson_spikes(0.0, 0.4, rates=np.full(3, 5.0), max_spikes=20, key=KEY)
hard = network(neuron=rs.neurons.LIF(1 / 15, rs.ResetTo(0.0)), firing=rs.HardThreshold(1.0))
moving: Any = dict(currents=[rs.neurons.AfterSpikeCurrent(0.2, -0.3)])
moving |= dict(spike_threshold=rs.neurons.SpikeThreshold(0.1, 0.2))
glif = rs.neurons.GLIF(0.1, voltage_threshold=rs.neurons.VoltageThreshold(0.3, 0.1), **moving)
four: Any = [rs.neurons.AdaptiveLIF(0.1, 0.5, 0.2), glif, rs.neurons.ResonateAndFire(0.1, 20.0)]
bases = rs.neurons.ExponentialBasis((0.1, 0.2), (-1.0, 0.3)), rs.neurons.LaguerreBasis(0.1, -0.2)
four += [rs.neurons.HistoryFilter(0.1, bases)]
ports = rs.synapses.Alpha(0.1), rs.synapses.DoubleExponential(0.05, 0.1)
for neuron, port in zip(four, ports * 2, strict=True):
    net = rs.SpikingNetwork(rs.Population(2, neuron, FIRING, {"a": port}), weights=WEIGHTS)
    trace(functools.partial(simulated, net=net), C)
    trace(functools.partial(simulated, net=net, engine=EVENT), C, derivatives=False)
steep: Any = rs.neurons.QIF(0.1), rs.neurons.EIF(), rs.neurons.AdEx(), rs.neurons.Izhikevich()
fast, slow = rs.synapses.Exponential(0.1, 0.2), rs.synapses.Alpha(0.1)
open_channels = rs.synapses.Conductance(fast, 0.0), rs.synapses.NMDA(slow)
for neuron, port in zip(steep, open_channels * 2, strict=True):
    part = rs.Population(2, neuron, rs.HardThreshold(30.0), {"a": port})
    net = rs.SpikingNetwork(part, weights=WEIGHTS)
    trace(functools.partial(simulated, net=net), C)
    trace(functools.partial(simulated, net=net, engine=EVENT), C)
    trace(lambda v, n=neuron: n.from_coordinate(n.coordinate(v)), C)
multiplicative = rs.neurons.MultiplicativeLIF(1 / 15, 0.2, 0.1)
held = rs.Population(2, NEURON, FIRING, population().ports, refractory=0.01)
rule = rs.synapses.PairSTDP(*[1.0] * 5)
learner = rs.Projection("n", "n", 0.5 * np.eye(2), autapses=True, plasticity=rule)
learning = rs.SpikingNetwork({"n": population()}, [learner])
TIRING = rs.synapses.TsodyksMarkram(0.5, 0.2, 0.3)
driven = rs.SpikingNetwork(
    {"in": rs.Source(3), "noise": rs.Poisson(2, 5.0), "neurons": held},
    [
        rs.Projection("in", "neurons", np.ones((3, 2)), delay=np.full((3, 2), 0.06)),
        rs.Projection("noise", "neurons", np.ones((2, 2)), "syn", delay=[0.06, 0.07]),
        rs.Projection("neurons", "neurons", WEIGHTS, autapses=True, delay=0.06 * np.ones((2, 2))),
        rs.Projection("in", "neurons", np.ones((3, 2)), plasticity=TIRING),
        rs.Projection("neurons", "neurons", WEIGHTS, plasticity=TIRING, delay=0.06),
        rs.Projection("neurons", "neurons", WEIGHTS, plasticity=TIRING),
    ],
)


def from_outside(c, **options):
    """A network of two populations and a source."""
    drive = {"neurons": c * jnp.ones(2)}
    return rs.simulate(driven, drive, **(ROOM | options), inputs={"in": spikes}).spikes


trace(lambda c: from_outside(c)["noise"], C)
trace(functools.partial(from_outside, window=EDGES, engine=EVENT), C)
stored = rs.EventByEvent(adjoint=rs.CheckpointAdjoint(4))
for options in (
    dict(noise=rs.Brownian("parabola"), key=rs.antithetic(KEY), engine=EVENT),
    dict(net=network(neuron=multiplicative), engine=stored),
):
    trace(functools.partial(simulated, **options), C)
bisection = optx.Bisection(1e-6, 1e-6, flip="detect")
for options in (
    dict(engine=rs.EventByEvent(adjoint=rs.DirectAdjoint())),
    dict(engine=rs.EventByEvent(solver=dfx.Heun(), root_finder=rs.QuadraticCrossing(2))),
    dict(net=hard, engine=rs.EventByEvent(solver=dfx.Tsit5(), root_finder=bisection)),
    dict(net=hard, engine=rs.EventByEvent(root_finder=rs.BracketedCrossing(rs.Chandrupatla()))),
    dict(net=network(firing=rs.StochasticFiring(rs.SoftplusIntensity())), engine=EVENT),
    dict(net=learning),
    dict(net=learning, engine=EVENT),
):
    trace(functools.partial(simulated, **options), C, derivatives=False)
record = {"v": ("cells", np.array([0.05, 0.1]), "mean", "max"), "s": "last"}
recorder = rs.Lockstep(record=record)
late = rs.Projection("n", "n", WEIGHTS, delay=0.03)
apart = rs.SpikingNetwork({"n": population(SILENT, rs.HardThreshold(1.0))}, [late])
trace(lambda c: simulated(c, net=apart, engine=rs.Lockstep(exact=True)), C)
trace(lambda c: rs.simulate(network(), c * jnp.ones((20, 2)), **ROOM, engine=recorder), C)
saveat = dfx.SaveAt(ts=[0.05, 0.15], steps=True, t0=True, t1=True, dense=True)
step = rs.StepPath([0.1, 0.2], [[0.0, 0.0], [3.0, 2.0], [0.0, 0.0]])
saved = lambda: rs.simulate(hard, step, **ROOM, engine=rs.EventByEvent(saveat=saveat)).states
trace(lambda: rs.marcus_lift(saved().path()), derivatives=False)
adaptive = rs.EventByEvent(controller=dfx.PIDController(1e-6, 1e-6), solver=dfx.Tsit5())
trace(lambda c: simulated(c, net=hard, engine=adaptive), C)
trace(lambda w: rs.eligibility(network(w), np.ones(2), **ROOM), WEIGHTS, derivatives=False)
trace(lambda c: rs.simulate_online(lambda c: (hard, [c, c]), c, c, **ROOM), C, derivatives=False)
rs.check(rs.simulate(network(), np.ones(2), **ROOM, throw=False))

# Event equations of one's own, driven by jumps.
event = rs.Event(lambda t, y, args: y[:1] - 1, lambda t, y, args, k, u: y - 1.0)


def jump(key):
    return jr.normal(key, (2,))


def problem(c):
    path = rs.compound_poisson_path(0.0, 0.4, intensity=c, jump=jump, max_jumps=9, key=KEY)
    noise = dfx.ControlTerm(lambda t, y, args: c * jnp.eye(2), path)
    return dfx.MultiTerm(dfx.ODETerm(lambda t, y, args: c - y), noise)


start = rs.Window(0.0, 0.4, 0.02), jnp.zeros(2)
OWN: Any = dict(event=event, max_events=9, key=KEY)
trace(lambda c: rs.eventsolve(problem(c), *start, **OWN).y1, C)
drift = dfx.ODETerm(lambda t, y, args: 3 * args - y)
trace(lambda c: rs.reference_solve(drift, *start, c, solver=dfx.Tsit5(), **OWN).y1, C)
rs.JumpPath([0.1], [[1.0]], t0=0.0, t1=0.4).evaluate(0.0, 0.3)
online: Any = WINDOW | dict(max_events=9, key=KEY, engine=rs.EventByEvent(solver=dfx.Heun()))
own = lambda c: (drift, event, c * jnp.zeros(2), c)
trace(lambda c: rs.online_gradient(own, c, jnp.ones(()), **online).y1, C, derivatives=False)
path = rs.BrownianPath(0.0, 0.4, 0.02, shape=(2,), key=KEY)
path.evaluate(0.3, 0.4)
path.derivative(jnp.asarray(0.3))
half = jnp.full(2, 0.5)
terms = dfx.MultiTerm(
    dfx.ODETerm(lambda t, y, args: 2 - y),
    dfx.ControlTerm(lambda t, y, args: jnp.diag(jnp.array([0.0, 0.1])), path),
)
assert rs.check_event(terms, event, 0.0, half).holds

# Trains, kernels and losses.
lists_of = lambda n: [[0.05 + 0.01 * n, 0.2], [0.11, 0.13 + 0.02 * n]]
data = rs.SpikeTrain.stack(
    [rs.SpikeTrain.from_lists(lists_of(n), t0=0.0, t1=0.4, max_spikes=20) for n in range(3)]
)
single = jax.tree.map(lambda x: x[0], data)
single["neurons"]
for method in ("counts", "complete", "to_lists"):
    getattr(single, method)()
single.window(0.1, 0.2)
single.first(1)
single.only([0])
single.per_neuron(2)
kernels = (
    rs.SignatureKernel(order=1, scaling="robust", lifting=rs.RampLift()),
    rs.SignatureKernel(lifting=rs.ItoLift()),
    rs.SignatureKernel(lifting=rs.MarcusLift()),
    rs.PerNeuronKernel(rs.SignatureKernel(), 5, 1),
    rs.OrderedKernel(),
    rs.PointKernel(),
    rs.ProductKernel([rs.PointKernel(), rs.LagKernel(directions=1)]),
    rs.SumKernel([rs.PointKernel(), rs.LagKernel()]),
)
kernels = [kernel.fitted(data) for kernel in kernels]


def moved(s, x=data):
    """The trains with spikes that are s later."""
    times = jnp.where(x.marks >= 0, x.times + s, x.times)
    return rs.SpikeTrain(times, x.marks, x.count, x.overflow, x.t0, x.t1, x.num_neurons)


ZERO = jnp.zeros(())
for kernel in kernels:
    trace(lambda s, k=kernel: rs.gram_matrix(k, moved(s), data), ZERO)
for static in (rs.LinearStatic(), rs.RBFStatic()):
    for sweep in ("rows", "diagonals"):
        walk = rs.PathKernel(static, order=2, sweep=sweep)
        trace(lambda a, b, k=walk: k(a, b), jnp.ones((3, 2)), jnp.ones((2, 2)))
rs.marcus_lift(rs.CadlagPath(jnp.zeros(3), jnp.zeros((3, 2))))
point = rs.PointKernel().fitted(data)
rs.losses.two_sample_test(data, data, kernel=point, permutations=3, key=KEY)
gram = jnp.eye(3)
moments = rs.losses.Moments.of(jnp.eye(3, 4))
mean = rs.losses.SignatureMean.of([data, data], depth=2, directions=1)
prepared = rs.losses.Reference(data, rs.losses.default_kernel().fitted(data))
ts = jnp.linspace(0.08, 0.4, 5)
features = rs.losses.TrialFeatures.of(data, ts, timescale=0.1, groups=[0, 1])
types = jnp.array([0, 1, 1])
first = lambda s: jax.tree.map(lambda x: x[0], moved(s))
for loss in (
    lambda x: rs.losses.mmd(x, prepared, block_size=3),
    lambda x: rs.losses.mmd(x, data),
    lambda x: rs.losses.kernel_score(x, x, kernel=point),
    lambda x: rs.losses.witness(x, data, data, kernel=point),
    lambda x: rs.losses.expected_signature(x, data, depth=2, allow_jumps=True),
    lambda x: rs.losses.first_spike_mse(x, data, 1),
    lambda x: rs.losses.first_spike_mae(x, data, 1),
    lambda x: rs.losses.smoothed(x, ts, 0.1),
    lambda x: rs.losses.psth(x, ts, 0.1),
    lambda x: rs.losses.psth_distance(x, data, ts, 0.1),
    lambda x: rs.losses.noise_covariance(x, ts, 0.1),
    lambda x: rs.losses.noise_correlation(x, ts, 0.1),
    lambda x: rs.losses.covariance_distance(x, data, ts, 0.1, lags=(0, 1)),
    lambda x: rs.losses.matched_correlation(features(x), features(data)),
    lambda x: rs.losses.matched_distance(features(x), features(data)),
    lambda x: rs.losses.matched_distance(features(x), features(data), method="soft"),
    lambda x: rs.losses.behaviour(x, jnp.ones((2, 1)), ts, 0.1),
):
    trace(lambda s, f=loss: f(moved(s)), ZERO)
for value in (
    lambda x: rs.losses.expected_signature(x, mean),
    lambda x: rs.losses.signature_mmd(x, data),
    lambda x: rs.losses.signature_features(x, depth=2, directions=1),
    lambda x: rs.losses.signature_features(x, depth=2, log=True),
    lambda x: rs.losses.match_trials(features(x), features(data)),
    lambda x: rs.losses.nearest_types(features(x), features(data), types),
):
    trace(lambda s, f=value: f(moved(s)), ZERO, derivatives=False)
trace(lambda s: rs.losses.filtered(first(s), ts, 0.1), ZERO)
trace(lambda s: rs.losses.mmd_of(gram + s, gram, gram), ZERO)
trace(lambda x: rs.losses.moment_distance(x, moments), jnp.eye(3, 4))
for functional in (
    rs.losses.counts,
    lambda train: rs.losses.binned_counts(train, (0.0, 0.2, 0.4)),
    lambda train: rs.losses.with_boundary(lambda x: x.counts().astype(float), train),
):
    trace(lambda c, f=functional: f(simulated(c, window=EDGES)), C)
trace(lambda c: rs.losses.rate_penalty(batch(c), 2.0), C)

# Recordings, fits and scores.
softplus = rs.StochasticFiring(rs.SoftplusIntensity())
quiet = network(neuron=SILENT, firing=softplus)
drive = np.ones(2)
recorded = rs.io.Session.from_trials(data, gap=0.1).aligned("event_time", (0.0, 0.4))
trial = jax.tree.map(lambda x: x[0], recorded)


def density(c, net=quiet, train=trial, **options):
    """The likelihood of a network driven by c."""
    return rs.log_likelihood(
        net, c * jnp.ones(2), train, rs.Window(train.t0, train.t1, 0.02), **options
    ).value


trace(density, C)
hidden: Any = dict(observed=[1], key=KEY, samples=2, max_spikes=40)
trace(lambda c: density(c, network(firing=softplus), single.only([1]), **hidden), C)
clamped = jax.vmap(
    lambda train: rs.clamp(quiet, drive, train, rs.Window(train.t0, train.t1, 0.02))
)(recorded)
rs.scores.rescaled_quantiles(clamped, recorded)
rs.testing.time_rescaling_test(single, quiet, drive, dt0=0.02)
for score in ("fano_factor", "intervals", "isi_cv", "local_variation", "mean_rates"):
    getattr(rs.scores, score)(data)
simulations = jax.vmap(
    lambda key: rs.simulate(quiet, drive, EDGES, max_spikes=40, key=key, throw=False)
)(jr.split(KEY, 3))
rs.scores.explosions(rs.drop_failed(simulations), simulations.spikes)
rs.testing.check_step(
    lambda c, key: (
        rs.simulate(quiet, c, EDGES, max_spikes=40, key=key).spikes.counts().astype(float)
    ),
    jnp.array([1.5, 1.2]),
    KEY,
    samples=2,
)
rs.scores.psth_correlation(data, data, ts, 0.1)
rs.scores.bits_per_spike(0.0, recorded, recorded)
rs.scores.connectivity_recovery(WEIGHTS, WEIGHTS)


def distance(s, data, key):
    return rs.losses.psth_distance(moved(s), data, ts, 0.1), {"zero": ZERO}


held_out: Any = dict(validation=rs.Validation(data, every=1), loop=rs.Loop(progress=False))
rs.fit(ZERO, rs.Objective(distance), data, optax.adam(0.1), steps=2, key=KEY, **held_out)
normal = lambda key, dt: jr.normal(key) * dt
rs.multilevel_mean(normal, dt0=0.1, tolerance=0.05, key=KEY, progress=False)
report = rs.testing.check_gradients(
    lambda c, key: c * jr.normal(key) ** 2, C, KEY, samples=64, probes=(2, 2)
)
assert report.passed

with tempfile.TemporaryDirectory() as folder:
    in_file = f"{folder}/fitted.npz"
    rs.save(in_file, rs.constrained(quiet), {"loss": 0.5}, names=["a", "b"], window=EDGES)
    assert rs.load(in_file).window == EDGES

for stack in FAULTY:
    print("A product of default precision was made here:\n", stack)
print(f"annotations hold; {len(SEEN)} products, {len(FAULTY)} of default precision")
