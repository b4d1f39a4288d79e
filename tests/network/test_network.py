"""Networks: construction, errors, options of `simulate`."""

from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from ..equations import equation_of
from ..helpers import ENGINES, constant, lif_network, optimised, single_neuron

FIRING = rs.StochasticFiring(rs.ExponentialIntensity(), alpha=0.03)


def test_weights_are_pre_by_post_and_masked():
    mask = jnp.array([[False, True], [False, False]])
    network = lif_network(FIRING, jnp.array([[0.0, 2.0], [3.0, 0.0]]), reset=1.4, mask=mask)
    np.testing.assert_array_equal(network.projections[0].effective(), [[0, 2], [0, 0]])
    _, event, y = equation_of(network, constant(0.0, 0.0), v=jnp.ones(2), s=-jnp.ones(2))
    after = event.transition(0.0, y, None, jnp.asarray(0), jnp.asarray(0.5))
    np.testing.assert_allclose(after["v"], [1 - 1.4, 1])
    np.testing.assert_allclose(after["syn"], [0, 2])
    np.testing.assert_allclose(after["s"], [np.log(0.5) - 0.03, -1])


@pytest.mark.slow
def test_masked_weights_get_no_gradient():
    mask = jnp.array([[False, True], [False, False]])

    def total(w):
        network = lif_network(FIRING, w, reset=1.4, mask=mask)
        spikes = rs.simulate(
            network,
            constant(1.5, 1.5),
            rs.Window(0.0, 1.0, 0.01),
            max_spikes=30,
            key=jr.key(0),
            engine=rs.EventByEvent(),
        ).spikes
        return jnp.sum(jnp.where(spikes.marks >= 0, spikes.times, 0))

    slope = np.asarray(jax.jit(jax.grad(total))(np.array([[0.0, 0.4], [0.3, 0.0]])))
    assert slope[0, 1] != 0
    np.testing.assert_array_equal(slope[[0, 1, 1], [0, 0, 1]], 0)


def test_excitation_advances_and_inhibition_delays():
    @jax.jit
    def second_neuron(w):
        network = lif_network(FIRING, w * np.array([[0.0, 1.0], [0.0, 0.0]]), reset=1.4)
        run = lambda key: rs.simulate(
            network,
            constant(2.0, 1.2),
            rs.Window(0.0, 1.0, 0.01),
            max_spikes=100,
            key=key,
            engine=rs.EventByEvent(),
        ).spikes.counts()[1]
        return jnp.mean(jax.vmap(run)(jr.split(jr.key(0), 50)))

    assert second_neuron(-1.0) < second_neuron(0.0) < second_neuron(1.0)


@pytest.mark.parametrize("intensity", [rs.ExponentialIntensity(), rs.SoftplusIntensity()])
def test_intensities_are_rates(intensity):
    v = np.linspace(-3.0, 30.0, 200)
    both = jax.jit(jax.vmap(jax.value_and_grad(lambda x: intensity(x))))
    rate, slope = jax.device_get(both(v))
    assert np.all(np.isfinite(rate)) and np.all(rate >= 0)
    assert np.all(np.diff(rate) >= 0)
    assert np.all(np.isfinite(slope))


def test_the_cap_of_the_exponential_intensity():
    assert float(rs.ExponentialIntensity(cap=2.0)(jnp.asarray(99.0))) == pytest.approx(np.e**2)


@pytest.mark.parametrize(
    "drive",
    [
        lambda t: jnp.stack([1.5 + 0 * t]),
        dfx.LinearInterpolation(jnp.array([0.0, 1.0]), jnp.array([[1.5], [1.5]])),
        rs.StepPath([0.35, 0.7], [[1.5], [1.5], [1.5]]),
    ],
    ids=["callable", "path", "steps"],
)
def test_drives_of_every_kind_give_the_same_spikes(drive):
    def run(drive):
        options: Any = {"max_spikes": 20, "key": jr.key(0), "engine": rs.EventByEvent()}
        sim = rs.simulate(single_neuron(0.0), drive, rs.Window(0.0, 1.0, 0.01), **options)
        return np.asarray(sim.spikes.times)

    expected = run(constant(1.5))
    known = np.isfinite(expected)
    np.testing.assert_allclose(run(drive)[known], expected[known], rtol=2e-4)


def test_a_step_of_current_between_grid_points_is_seen_where_it_is():
    """v = 0 until the step at 0.1234, then v reaches 1 after tau log(3)."""
    network = rs.SpikingNetwork(rs.Population(1, rs.neurons.LIF(0.5), rs.HardThreshold(1.0)))
    drive = rs.StepPath([0.1234], [[0.0], [1.5]])
    for dt0 in (0.1, 0.03):
        spikes = rs.simulate(
            network,
            drive,
            rs.Window(0.0, 1.0, dt0),
            max_spikes=3,
            key=jr.key(0),
            engine=rs.EventByEvent(),
        ).spikes
        np.testing.assert_allclose(spikes.times[0], 0.1234 + np.log(3) / 2, rtol=1e-12)


def test_the_window_may_start_anywhere_and_end_inside_of_a_cell():
    network = rs.SpikingNetwork(rs.Population(1, rs.neurons.LIF(0.5), rs.HardThreshold(1.0)))
    sim = rs.simulate(
        network,
        constant(1.5),
        rs.Window(3.0, 4.234, 0.1),
        max_spikes=3,
        key=jr.key(0),
        engine=rs.EventByEvent(saveat=dfx.SaveAt(t1=True)),
    )
    spikes, sol = sim.spikes, sim.states
    tau = np.log(3) / 2
    np.testing.assert_allclose(spikes.times[:2], [3 + tau, 3 + 2 * tau], rtol=1e-12)
    left = 1.234 - 2 * tau
    np.testing.assert_allclose(sol.y1["v"][0], 1.5 * (1 - np.exp(-2 * left)), rtol=1e-10)


def test_float32_on_a_long_window_keeps_its_precision():
    """Time is kept within the cell: after 1000 time units intervals are still exact."""
    one = jnp.float32(1.0)
    neuron = rs.neurons.LIF(one / 2, rs.Subtract(one))
    network = rs.SpikingNetwork(rs.Population(1, neuron, rs.HardThreshold(one)))
    spikes = optimised(
        lambda: (
            rs.simulate(
                network,
                constant(1.5, dtype=jnp.float32),
                rs.Window(0.0, 1000.0, 0.01),
                max_spikes=2000,
                key=jr.key(0),
                engine=rs.EventByEvent(),
            ).spikes
        )
    )()
    n = int(spikes.count)
    assert n == int(1000 / (np.log(3) / 2))
    period = (float(spikes.times[n - 1]) - float(spikes.times[0])) / (n - 1)
    assert abs(period - np.log(3) / 2) < 2e-7


def strong(t):
    return jnp.full(1, 400.0)


def broken(t):
    return jnp.where(t < 1, 1.5, jnp.inf)[None]


@pytest.mark.filterwarnings("ignore::roughsnn.StepWarning")
@pytest.mark.parametrize(
    ("method", "drive"), [("lockstep", strong), ("lockstep", broken), ("event", broken)]
)
def test_a_simulation_that_failed_is_refused_by_losses(method, drive):
    """However it failed, not only for want of room."""
    run = lambda throw: (
        rs.simulate(
            single_neuron(),
            drive,
            rs.Window(0.0, 2.0, 0.1),
            max_spikes=900,
            key=jr.key(0),
            throw=throw,
            engine=ENGINES[method],
        ).spikes
    )
    with pytest.raises(RuntimeError, match="in most cells|inf or nan"):
        run(True)
    train = run(False)
    assert bool(train.overflow)
    with pytest.raises(ValueError, match="its simulation failed"):
        train.complete()


def test_overflow_is_marked_and_refused_by_losses():
    run = lambda key: (
        rs.simulate(
            single_neuron(),
            constant(1.5),
            rs.Window(0.0, 2.0, 0.01),
            max_spikes=2,
            key=key,
            throw=False,
            engine=rs.EventByEvent(),
        ).spikes
    )
    batch = jax.jit(lambda: jax.vmap(run)(jr.split(jr.key(0), 4)))()
    assert np.all(batch.overflow) and np.all(np.asarray(batch.count) == 2)
    with pytest.raises(ValueError, match="spikes missing"):
        rs.losses.first_spike_mse(batch, batch, 1)
    with pytest.raises(Exception, match="spikes missing"):
        jax.block_until_ready(jax.jit(lambda x: rs.losses.expected_signature(x, x))(batch))
    assert float(rs.losses.first_spike_mae(batch.first(2), batch.first(2), 2)) == 0


def test_too_few_max_spikes_names_the_number():
    with pytest.raises(Exception, match="max_spikes.*Got 2; at the rate so far 4 would be enough"):
        rs.simulate(
            single_neuron(),
            constant(1.5),
            rs.Window(0.0, 2.0, 0.01),
            max_spikes=2,
            key=jr.key(0),
            engine=rs.EventByEvent(),
        )


ZERO = jnp.zeros(1)
BAD_CALLS = [
    ({"t1": 0.0}, "`t1` must be larger"),
    ({"dt0": -0.1}, "`dt0` must be positive"),
    ({"max_spikes": 2.5}, "`max_spikes` must be a positive integer"),
    ({"drive": 1.5}, "`drive` must be an array"),
    ({"drive": lambda t: 1.5 * t}, r"shape \(neurons,\)"),
    ({"drive": lambda t: jnp.array([1])}, "floating dtype"),
    ({"engine": "exact"}, "`engine` must be"),
    ({"engine": dfx.Heun()}, "`engine` must be"),
    ({"key": 0}, "`key`"),
    ({"stop_after": 21}, "`stop_after` must not exceed `max_spikes`"),
    ({"network": 3}, "`network` must be"),
    ({"network": lif_network(FIRING, jnp.zeros((2, 2)))}, "each of the 2 neurons"),
    ({"initial": 3}, "`initial` must be"),
    ({"initial": {"v": jnp.zeros(2)}}, r"v.*\(1,\)"),
    ({"initial": {"v": jnp.array([1])}}, "v.* must .*floating"),
    ({"initial": {"s": ZERO + 0.1}}, "s.* must be negative"),
    ({"initial": {"v": ZERO + jnp.nan}}, "v.* must be finite"),
    ({"initial": {"w": ZERO}}, "'w' is no part of the state"),
    ({"interpolation": "cubic"}, "`interpolation`"),
]


@pytest.mark.parametrize(("change", "match"), BAD_CALLS, ids=[m for _, m in BAD_CALLS])
def test_bad_calls(change, match):
    arguments = {
        "network": single_neuron(),
        "drive": constant(1.5),
        "t1": 1.0,
        "dt0": 0.05,
        "stop_after": None,
        "interpolation": "linear",
        "max_spikes": 20,
        "key": jr.key(0),
        "engine": rs.EventByEvent(),
    } | change
    take = arguments.pop
    with pytest.raises((ValueError, TypeError), match=match):
        window = rs.Window(0.0, take("t1"), take("dt0"), stop_after=take("stop_after"))
        noise = rs.Brownian(take("interpolation"))
        rs.simulate(take("network"), take("drive"), window, noise=noise, **arguments)


@pytest.mark.parametrize(
    ("engine", "name", "value"),
    [
        (rs.EventByEvent, "solver", "heun"),
        (rs.EventByEvent, "root_finder", dfx.Heun()),
        (rs.EventByEvent, "controller", 1e-3),
        (rs.EventByEvent, "saveat", True),
        (rs.EventByEvent, "max_steps", 0),
        (rs.EventByEvent, "adjoint", dfx.DirectAdjoint()),
        (rs.Lockstep, "adjoint", dfx.DirectAdjoint()),
    ],
)
def test_bad_engines(engine, name, value):
    with pytest.raises((TypeError, ValueError), match=f"`{name}` must be"):
        engine(**{name: value})


def test_numbers_stay_known_inside_of_jit():
    """So that zero columns are not drawn, and static checks see them."""

    @jax.jit
    def inside(x):
        assert rs.neurons.LIF(1, sigma=(0.3, 0.0)).channels_drawn() == (0,)
        assert rs.neurons.LIF(1.0, sigma=(x, 0.0)).channels_drawn() == (0, 1)
        with pytest.raises(ValueError, match="`tau` must be positive"):
            rs.neurons.LIF(-1)
        with pytest.raises(ValueError, match="Neuron 0 has two synapses"):
            rs.SparseWeights(np.array([[1, 1], [0, -1]]), jnp.full((2, 2), x))
        return x

    assert inside(jnp.asarray(0.5)) == 0.5


@pytest.mark.parametrize("method", ENGINES)
def test_each_threshold_is_drawn_anew(method):
    """At a constant rate intervals are exponential; those of a neuron one after the other, and
    those of two neurons, are independent, from the first one on."""
    intensity = rs.SoftplusIntensity(threshold=0.0, rate=5.0)
    neuron = rs.neurons.LIF(1.0, rs.Subtract(0.0))
    network = rs.SpikingNetwork(rs.Population(2, neuron, rs.StochasticFiring(intensity)))
    keys, window, rate = jr.split(jr.key(0), 400), rs.Window(0.0, 6.0, 0.05), 5 * np.log(2)
    one = lambda key: rs.simulate(
        network, jnp.zeros(2), window, key=key, max_spikes=90, engine=ENGINES[method]
    ).spikes.per_neuron(3)
    times = np.asarray(jax.jit(jax.vmap(one))(keys))
    intervals = np.diff(times, axis=-1, prepend=0).reshape(400, 6)
    assert np.all(np.isfinite(intervals))
    np.testing.assert_allclose(intervals.mean(0), 1 / rate, rtol=4 / 20)
    correlation = np.corrcoef(intervals.T)[np.triu_indices(6, 1)]
    assert np.max(np.abs(correlation)) < 4 / 20
