"""Networks: construction, errors, options of `simulate`."""

from typing import Any, cast

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from ..helpers import ENGINES, constant, optimised, single_neuron

LIF = rs.LIF(mu=(15.0, 6.0), v_reset=1.4)
FIRING = rs.StochasticFiring(rs.ExponentialIntensity(), alpha=0.03)


def test_weights_are_pre_by_post_and_masked():
    mask = jnp.array([[False, True], [False, False]])
    network = rs.SpikingNetwork(LIF, FIRING, jnp.array([[0.0, 2.0], [3.0, 0.0]]), mask)
    np.testing.assert_array_equal(network.effective_weights(), [[0, 2], [0, 0]])
    y = rs.NeuronState(jnp.ones(2), jnp.zeros(2), -jnp.ones(2))
    after = network.event().transition(0.0, y, None, jnp.asarray(0), jnp.asarray(0.5))
    np.testing.assert_allclose(after.v, [1 - 1.4, 1])
    np.testing.assert_allclose(after.i, [0, 2])
    np.testing.assert_allclose(after.s, [np.log(0.5) - 0.03, -1])


def test_masked_weights_get_no_gradient():
    mask = jnp.array([[False, True], [False, False]])

    def total(w):
        network = rs.SpikingNetwork(LIF, FIRING, w, mask)
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
        network = rs.SpikingNetwork(LIF, FIRING, [[0.0, w], [0.0, 0.0]])
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
    """v = 0 until the step at 0.1234, then v reaches 1 after log(3)/mu."""
    network = rs.SpikingNetwork(rs.LIF(mu=(2.0, 0.0), v_reset=1.0), rs.ThresholdFiring(1.0))
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
    network = rs.SpikingNetwork(rs.LIF(mu=(2.0, 0.0), v_reset=1.0), rs.ThresholdFiring(1.0))
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
    np.testing.assert_allclose(sol.y1.v[0], 1.5 * (1 - np.exp(-2 * left)), rtol=1e-10)


def test_float32_on_a_long_window_keeps_its_precision():
    """Time is kept within the cell: after 1000 time units intervals are still exact."""
    network = rs.SpikingNetwork(
        rs.LIF(jnp.array([2.0, 0.0], jnp.float32), v_reset=jnp.float32(1.0)),
        rs.ThresholdFiring(jnp.float32(1.0)),
    )
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
    with pytest.raises(Exception, match="max_spikes.*Got 2; at the rate so far 8 would be enough"):
        rs.simulate(
            single_neuron(),
            constant(1.5),
            rs.Window(0.0, 2.0, 0.01),
            max_spikes=2,
            key=jr.key(0),
            engine=rs.EventByEvent(),
        )


def model(**change):
    arguments = {"membrane": LIF, "firing": FIRING} | change
    return rs.SpikingNetwork(**arguments)


BAD_MODELS = [
    (lambda: rs.LIF(mu=(1.0, 2.0, 3.0)), r"`mu` must have shape \(2,\)"),
    (lambda: rs.LIF(mu=(-1.0, 2.0)), "`mu` must not be negative"),
    (lambda: rs.LIF(mu=(np.nan, 2.0)), "`mu` must be finite"),
    (lambda: rs.LIF(mu=np.array([1, 2])), "`mu` must have a floating dtype"),
    (lambda: rs.LIF(mu=(1.0, 2.0), sigma=(0.1, 0.2)), "`sigma` must have shape"),
    (lambda: rs.LIF(mu=(1.0, 2.0), v_reset=np.inf), "`v_reset` must be finite"),
    (lambda: rs.LIF(mu=(1.0, 2.0), v_reset=jnp.ones((2, 2))), "`v_reset` must be a scalar"),
    (lambda: rs.ExponentialIntensity(timescale=-1.0), "`timescale` must be positive"),
    (lambda: rs.SoftplusIntensity(rate=-2.0), "`rate` must be positive"),
    (lambda: rs.StochasticFiring(rs.ExponentialIntensity(), alpha=-0.1), "`alpha` must not"),
    (lambda: rs.StochasticFiring(cast(Any, jnp.exp)), "`intensity` must be"),
    (lambda: model(membrane=3), "`membrane` must be"),
    (lambda: model(firing=3), "`firing` must be"),
    (lambda: model(weights=jnp.ones((2, 3))), r"shape \(neurons, neurons\)"),
    (lambda: model(weights=jnp.ones((2, 2))), "zero on the diagonal"),
    (lambda: model(weights=jnp.full((2, 2), jnp.nan)), "`weights` must be finite"),
    (lambda: model(mask=jnp.ones((2, 2), bool)), "without `weights`"),
    (lambda: model(weights=jnp.zeros((2, 2)), mask=jnp.ones((2, 2))), "must be boolean"),
    (
        lambda: model(weights=jnp.zeros((2, 2)), mask=jnp.ones((2, 2), bool)),
        "`mask` must be false on the diagonal",
    ),
    (
        lambda: model(
            membrane=rs.LIF((1.0, 1.0), sigma=((0.1,), (0.0,))), firing=rs.ThresholdFiring()
        ),
        "without noise on v",
    ),
]


@pytest.mark.parametrize(("make", "match"), BAD_MODELS, ids=[m for _, m in BAD_MODELS])
def test_bad_models(make, match):
    with pytest.raises((ValueError, TypeError), match=match):
        make()


def test_a_noisy_membrane_with_a_hard_threshold_is_refused_under_jit_too():
    @jax.jit
    def run(sigma):
        network = rs.SpikingNetwork(rs.LIF((2.0, 1.0), sigma, 1.0), rs.ThresholdFiring())
        return rs.simulate(
            network,
            constant(1.5),
            rs.Window(0.0, 1.0, 0.1),
            max_spikes=9,
            key=jr.key(0),
            engine=rs.EventByEvent(),
        ).spikes.count

    assert int(run(jnp.array([[0.0], [0.1]]))) == 1
    with pytest.raises(Exception, match="without noise on v"):
        jax.block_until_ready(run(jnp.array([[0.1], [0.0]])))


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
    ({"network": model(weights=jnp.zeros((2, 2)))}, "each of the 2 neurons"),
    ({"initial": 3}, "`initial` must be"),
    ({"initial": rs.NeuronState(jnp.zeros(2), ZERO, None)}, r"`initial.v`.*\(1,\)"),
    ({"initial": rs.NeuronState(ZERO, jnp.array([1]), None)}, "`initial.i` must be a floating"),
    ({"initial": rs.NeuronState(ZERO, ZERO, ZERO + 0.1)}, "`initial.s` must be negative"),
    ({"initial": rs.NeuronState(ZERO + jnp.nan, ZERO, None)}, "`initial.v` must be finite"),
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
        membrane = rs.LIF((15, 6.0), ((0.3, 0.0), (0.0, 0.0)), 1.0)
        assert membrane.channels_drawn() == (0,)
        assert rs.LIF((15.0, 6.0), ((x, 0.0), (0.0, 0.0)), 1.0).channels_drawn() == (0, 1)
        with pytest.raises(ValueError, match="`mu` must not be negative"):
            rs.LIF((-1, 6), None, 1.0)
        with pytest.raises(ValueError, match="Neuron 0 has two synapses"):
            rs.SparseWeights(np.array([[1, 1], [0, -1]]), jnp.full((2, 2), x))
        return x

    assert inside(jnp.asarray(0.5)) == 0.5


@pytest.mark.parametrize("method", ENGINES)
def test_each_threshold_is_drawn_anew(method):
    """At a constant rate intervals are exponential; those of a neuron one after the other, and
    those of two neurons, are independent, from the first one on."""
    intensity = rs.SoftplusIntensity(threshold=0.0, rate=5.0)
    network = rs.SpikingNetwork(rs.LIF((0.0, 0.0), v_reset=0.0), rs.StochasticFiring(intensity))
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
