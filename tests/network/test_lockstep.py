"""The lockstep engine against the event engine, differences, and itself across cell borders."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jaxtyping import Array

import roughsnn as rs

from ..helpers import (
    ENGINES,
    constant,
    largest_difference,
    lif_network,
    random_direction,
    recurrent_network,
    recurrent_parameters,
    standard_error,
)


def random_network(neurons: int, hard: bool = False, own_rates: bool = False, seed: int = 0):
    rng = np.random.default_rng(seed)
    weights = rng.normal(0.1, 0.6, (neurons, neurons)) / neurons**0.5
    mu = np.array([10.0, 6.0])
    if own_rates:
        mu = mu[:, None] * rng.uniform(0.7, 1.3, (2, neurons))
    sigma = np.array([[0.0 if hard else 0.25, 0.0], [0.1, 0.2]])
    stochastic = rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0, 1.0), 0.03)
    return lif_network(
        rs.HardThreshold(1.0) if hard else stochastic,
        jnp.asarray(weights * (1 - np.eye(neurons))),
        mu=mu,
        sigma=jnp.asarray(sigma),
        reset=1.2,
    )


def drive_of(neurons: int):
    level = jnp.linspace(1.1, 1.6, neurons)
    return lambda t: level * (1 + 0.1 * jnp.sin(7 * t))


@pytest.mark.slow
@pytest.mark.parametrize(
    "neurons, hard, own_rates",
    [(4, True, False), (50, False, False)],
)
def test_spike_times_and_gradients_converge_to_those_of_the_event_engine(neurons, hard, own_rates):
    """On the same noise and thresholds, with order two on the middle one of 32 paths.

    Means are those of the few paths on which two spikes swap within a cell: they move by more.
    """
    network, drive = random_network(neurons, hard, own_rates), drive_of(neurons)

    def statistic(scale, key, dt0, method):
        shifted = lambda t: scale * drive(t)
        train = rs.simulate(
            network,
            shifted,
            rs.Window(0.0, 0.64, dt0),
            max_spikes=25 * neurons,
            key=key,
            engine=ENGINES[method],
        ).spikes
        # Continuous where spikes swap or leave: filtered trains.
        return rs.losses.filtered(train, jnp.linspace(0.1, 0.64, 8), 0.08)

    @functools.partial(jax.jit, static_argnums=(0, 1))
    def run(dt0, method):
        slope = lambda key: jax.jvp(lambda s: statistic(s, key, dt0, method), (1.0,), (1.0,))
        return jax.lax.map(slope, jr.split(jr.key(2), 32), batch_size=8)

    fine = 0.64 / 512
    errors = []
    for dt0 in (16 * fine, fine):
        # On the same grid: what differs is the engine.
        pairs = zip(*jax.device_get([run(dt0, "lockstep"), run(dt0, "event")]), strict=True)
        size = lambda x: np.sqrt(np.mean(x.reshape(32, -1) ** 2, 1))
        errors.append([np.median(size(a - b)) / np.median(size(b)) for a, b in pairs])
    errors = np.array(errors)
    slopes = np.log2(errors[0] / errors[1]) / 4
    assert np.all(slopes >= 1.7), (errors, slopes)
    assert errors[1][0] < 1e-4 and errors[1][1] < 3e-3


WINDOW = rs.Window(0.0, 0.8, 0.01)


class Wave(eqx.Module):
    """A drive that is known by its level: made anew, it compiles nothing again."""

    level: Array

    def __call__(self, t):
        return self.level * (1 + 0.1 * jnp.sin(3 * t))


def outcome(p, key, hard=False, window=WINDOW, **options):
    """Spike times and the excess at the end, of three coupled neurons."""
    train = rs.simulate(
        recurrent_network(p, hard),
        Wave(p["input"]),
        window,
        max_spikes=60,
        key=key,
        **options,
    ).spikes
    found = {"times": jnp.where(train.marks >= 0, train.times, 0)}
    if train.boundary is not None:
        found["excess"] = train.boundary.excess
    return found, train


@pytest.mark.parametrize("case", ["soft", "hard", "parabola", "own rates", "short last cell"])
def test_gradients_agree_with_differences(case):
    p, hard = recurrent_parameters(), case == "hard"
    options: Any = {"noise": rs.Brownian("parabola")} if case == "parabola" else {}
    if case == "own rates":
        p["tau"] = p["tau"][:, None] / np.array([[1.0, 0.8, 1.2]])
    if case == "short last cell":
        options["window"] = rs.Window(0.0, 0.8, 0.0117)
    if hard:
        p["sigma"] = p["sigma"].at[0].set(0.0)

    def run(p):
        found, train = outcome(p, jr.key(5), hard, throw=False, **options)
        return found, train.overflow

    @jax.jit
    def along(direction, steps):
        moved = lambda s: run(jax.tree.map(lambda a, b: a + s * b, p, direction))
        return jax.lax.map(lambda s: jax.jvp(moved, (s,), (1.0,), has_aux=True), steps)

    h = 1e-6
    direction, values, exact = p, {}, {}
    for seed in range(3):
        direction = random_direction(p, seed, hard=hard)
        values, slopes, failed = jax.device_get(along(direction, np.array([0.0, h, -h])))
        assert not np.any(failed) and np.sum(values["times"][0] > 0) >= 10
        exact = {k: x[0] for k, x in slopes.items()}
        numeric = {k: (x[1] - x[2]) / (2 * h) for k, x in values.items()}
        assert largest_difference(numeric, exact) < 1e-6
    gradient = jax.jit(jax.grad(lambda p: sum(jnp.sum(x**2) for x in run(p)[0].values())))(p)
    forward = sum(2 * np.vdot(values[k][0], exact[k]) for k in values)
    pairs = zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True)
    reverse = sum(np.vdot(g, d) for g, d in pairs)
    np.testing.assert_allclose(reverse, forward, rtol=1e-9)


def two_neurons(sigma, dt0: float, method: Any):
    """The spikes of two neurons that are not coupled."""
    firing = rs.StochasticFiring(rs.ExponentialIntensity())
    network = lif_network(firing, mu=(10.0, 6.0), sigma=sigma, reset=1.3, size=2)
    room: Any = dict(window=rs.Window(0.0, 1.0, dt0), max_spikes=60, key=jr.key(3))
    return rs.simulate(network, constant(2.0, 1.7), engine=ENGINES[method], **room).spikes


ONE_OF_THREE = np.array([[0.0, 0.3, 0.0], [0.0, 0.1, 0.0]])


def test_the_first_cells_are_those_of_the_event_engine():
    """Same noise, same thresholds: uncoupled and smooth, they agree to the order of the step."""
    errors = []
    for dt0 in (0.02, 0.005):
        a, b = (two_neurons(ONE_OF_THREE, dt0, method) for method in ("lockstep", "event"))
        np.testing.assert_array_equal(a.marks, b.marks)
        there = np.asarray(a.marks) >= 0
        assert there.sum() >= 8
        errors.append(np.max(np.abs(np.asarray(a.times)[there] - np.asarray(b.times)[there])))
    assert errors[1] < errors[0] / 8 and errors[0] < 5e-3


def test_no_jump_where_a_spike_crosses_the_border_of_a_cell():
    """The targets' states at the end, as the time of a presynaptic spike moves over borders."""
    weights = np.zeros((3, 3))
    weights[0] = [0.0, 1.5, -1.0]
    firing = rs.StochasticFiring(rs.ExponentialIntensity(4.0, 1.0, 1.0), 0.0)
    network = lif_network(firing, weights, mu=(8.0, 5.0), reset=1.2)

    @jax.jit
    @jax.vmap
    def excess(first):
        # Neuron 0 is about to fire, the others never do.
        thresholds = jnp.stack([first, -50 + 0 * first, -50 + 0 * first])
        initial = {"v": jnp.array([0.9, 0.5, 0.5]), "s": thresholds}
        train = rs.simulate(
            network,
            constant(1.2, 1.0, 1.0),
            rs.Window(0.0, 0.5, 0.1),
            max_spikes=5,
            key=jr.key(0),
            initial=initial,
            throw=False,
        ).spikes
        boundary = train.boundary
        assert boundary is not None
        return train.overflow, train.times[0], boundary.excess[0]

    failed, time, s = (np.asarray(x) for x in excess(np.linspace(-0.6, -0.02, 2001)))
    borders = np.flatnonzero(np.diff(np.floor(time / 0.1)) != 0)
    assert len(borders) >= 2 and not np.any(failed)
    for neuron in (1, 2):
        steps = np.abs(np.diff(s[:, neuron]))
        # The change over a border is that of the neighbouring steps: no jump, at any border.
        for b in borders:
            assert steps[b] < 1.5 * max(steps[b - 1], steps[b + 1]) + 1e-12


def test_counts_and_bins_have_the_gradient_of_their_means():
    p, samples, h = recurrent_parameters(), 4096, 0.02

    def fn(x, key):
        moved = dict(p, weights=p["weights"] * x, input=p["input"] * x)
        train = outcome(moved, key, window=rs.Window(0.0, 0.8, 0.02, edges=(0.4,)))[1]
        return rs.losses.binned_counts(train, (0.0, 0.4, 0.8))

    @jax.jit
    @jax.vmap
    def both(key):
        up, down = jax.vmap(fn, (0, None))(jnp.array([1 + h, 1 - h]), key)
        return jax.jvp(lambda x: fn(x, key), (1.0,), (1.0,))[1], (up - down) / (2 * h)

    slope, difference = jax.device_get(both(jr.split(jr.key(1), samples)))
    error = standard_error(slope - difference)
    assert np.all(np.abs(slope.mean(0) - difference.mean(0)) < 4 * error)
    assert np.all(slope.mean(0) > 5 * error)


def test_a_second_spike_in_a_cell_is_found_in_the_next():
    """With a constant intensity at its exact time, and never dropped."""

    def run(rate, method: Any):
        firing = rs.StochasticFiring(rs.SoftplusIntensity(1.0, 0.0, rate))
        network = lif_network(firing, mu=(1.0, 1.0), reset=0.0, size=2)
        room: Any = dict(window=rs.Window(0.0, 2.0, 0.02), max_spikes=400, key=jr.key(1))
        return rs.simulate(network, constant(0.0, 0.0), **room, engine=ENGINES[method]).spikes

    exact, found = run(30.0, "event"), run(30.0, "lockstep")
    cells = np.floor(np.asarray(exact.times)[: int(exact.count)] / 0.02)
    own = cells * 2 + np.asarray(exact.marks)[: int(exact.count)]
    assert len(own) - len(np.unique(own)) >= 5  # Two spikes of one neuron in one cell.
    np.testing.assert_array_equal(found.marks, exact.marks)
    np.testing.assert_allclose(found.times, exact.times, rtol=1e-9)
    with pytest.raises(RuntimeError, match="in most cells: the activity runs away"):
        run(200.0, "lockstep")


def test_a_spike_that_is_overdue_at_the_end_of_the_window():
    """The count does not depend on whether the second spike of the last cell has its own cell."""
    firing = rs.StochasticFiring(rs.SoftplusIntensity(1.0, 0.0, 30.0))
    network = lif_network(firing, mu=(1.0, 1.0), reset=0.0, size=2)

    @jax.jit
    @jax.vmap
    def run(key):
        options: Any = dict(window=rs.Window(0.0, 0.06, 0.02), max_spikes=40, key=key)
        drive = constant(0.0, 0.0)
        a = rs.simulate(network, drive, **options).spikes
        return a, rs.simulate(network, drive, engine=rs.EventByEvent(), **options).spikes

    a, b = run(jr.split(jr.key(0), 256))
    np.testing.assert_array_equal(a.marks, b.marks)
    there = np.asarray(b.marks) >= 0
    np.testing.assert_allclose(a.times[there], b.times[there], rtol=1e-9)
    np.testing.assert_allclose(a.boundary.excess, b.boundary.excess, rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(a.boundary.at_risk, b.boundary.at_risk)


def test_stop_after_overflow_and_declared_jumps():
    p = recurrent_parameters()
    whole = outcome(p, jr.key(1))[1]
    part = outcome(p, jr.key(1), window=rs.Window(0.0, 0.8, 0.01, stop_after=4))[1]
    assert int(part.count) == 4 and part.times.shape == whole.times.shape
    np.testing.assert_allclose(np.asarray(part.times)[:4], np.asarray(whole.times)[:4], rtol=1e-12)
    assert not bool(part.overflow)
    assert part.boundary is not None and not np.any(part.boundary.at_risk)

    def run(drive, max_spikes=60, window=WINDOW, **options):
        room: Any = dict(max_spikes=max_spikes, key=jr.key(1), **options)
        return rs.simulate(recurrent_network(p), drive, window, **room).spikes

    with pytest.raises(RuntimeError, match="Got 3"):
        run(constant(1.5, 1.2, 1.0), max_spikes=3)
    assert bool(run(constant(1.5, 1.2, 1.0), max_spikes=3, throw=False).overflow)
    step = rs.StepPath([0.3], [[0.5, 0.5, 0.5], [2.0, 1.5, 1.5]])
    jumped, other = run(step), run(step, engine=rs.EventByEvent())
    np.testing.assert_array_equal(jumped.counts(), other.counts())
    there = np.asarray(other.marks) >= 0
    found, expected = (np.asarray(train.times)[there] for train in (jumped, other))
    np.testing.assert_allclose(found, expected, atol=2e-3)
    with pytest.raises(
        ValueError, match=r"`edges` must lie on the grid.*engine=roughsnn\.EventByEvent"
    ):
        run(step, window=rs.Window(0.0, 0.8, 0.01, edges=(0.333,)))


def test_batches_and_one_by_one():
    p = recurrent_parameters()
    keys = jr.split(jr.key(0), 4)
    together = jax.device_get(jax.jit(jax.vmap(lambda k: outcome(p, k)[1]))(keys))
    for n, key in enumerate(keys):
        alone = outcome(p, key)[1]
        np.testing.assert_allclose(together.times[n], alone.times, rtol=1e-10)
        np.testing.assert_array_equal(together.marks[n], alone.marks)


def test_the_program_does_not_grow():
    def size(neurons, t1, spikes):
        network = random_network(neurons)
        run = lambda key: (
            rs.simulate(
                network, drive_of(neurons), rs.Window(0.0, t1, 0.01), max_spikes=spikes, key=key
            ).spikes
        )
        text = str(jax.make_jaxpr(run)(jr.key(0)))
        return text.count("\n")

    assert abs(size(40, 3.2, 500) - size(4, 0.4, 50)) < 0.1 * size(4, 0.4, 50)


@pytest.mark.parametrize("cells", [1, 12, 37])
def test_the_state_at_the_end_does_not_depend_on_how_the_loop_is_cut(cells):
    p = recurrent_parameters()

    def run(adjoint):
        return rs.simulate(
            recurrent_network(p),
            constant(1.5, 1.2, 1.0),
            rs.Window(0.0, 0.01 * cells, 0.01),
            max_spikes=60,
            key=jr.key(1),
            engine=rs.Lockstep(adjoint=adjoint),
            throw=False,
        ).spikes

    budget = rs.CheckpointAdjoint(megabytes=0.01)
    adjoints = (rs.DirectAdjoint(), rs.CheckpointAdjoint(), rs.CheckpointAdjoint(5), budget)
    plain, *others = jax.jit(lambda: [run(adjoint) for adjoint in adjoints])()
    for cut in others:
        assert not cut.overflow
        np.testing.assert_array_equal(cut.times, plain.times)
        assert cut.boundary is not None and plain.boundary is not None
        np.testing.assert_allclose(cut.boundary.excess, plain.boundary.excess, rtol=1e-12)


@pytest.mark.parametrize("method", ["event", "lockstep"])
def test_a_zero_column_of_noise_is_not_drawn(method):
    """The sample is the same whether it is known to be zero or not."""
    run = lambda sigma: two_neurons(sigma, 0.02, method).times
    np.testing.assert_allclose(run(ONE_OF_THREE), jax.jit(run)(ONE_OF_THREE), rtol=1e-12)
    drawn = lambda sigma: lif_network(sigma=sigma)["neurons"].channels_drawn()
    assert drawn(ONE_OF_THREE) == (1,)
    number = jax.eval_shape(lambda s: jnp.zeros(len(drawn(s))), ONE_OF_THREE)
    assert number.shape == (3,)
