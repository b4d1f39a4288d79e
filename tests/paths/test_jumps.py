"""Drivers that jump: Marcus solutions, Poisson laws, spikes as input."""

import functools
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.linalg import expm

import roughsnn as rs

NEVER = rs.Event(lambda t, y, args: jnp.array([-1.0]) + 0 * t, lambda t, y, args, k, u: y)
LAWS: dict[str, Any] = {
    "normal": lambda key: 0.4 * jr.normal(key),
    "exponential": lambda key: 0.5 * jr.exponential(key),
    "fixed": lambda key: jnp.asarray(-0.3),
}


def solve(terms, y0, solver: Any = None, dt=0.05, **options: Any):
    solver = dfx.Tsit5() if solver is None else solver
    run = functools.partial(
        rs.eventsolve, event=NEVER, max_events=1, key=jr.key(0), conditions="waive", **options
    )
    return eqx.filter_jit(run)(terms, solver, 0.0, 1.0, dt, y0)


def poisson(key, law="normal", intensity: Any = 8.0, t1=1.0, room=40):
    return rs.compound_poisson_path(
        0.0, t1, intensity=intensity, jump=LAWS[law], max_jumps=room, key=key
    )


@pytest.mark.parametrize("law", LAWS)
def test_geometric_process(law):
    """dY = Y o dX has Y = Y_0 exp X, where an Ito solution would be a product of 1 + jumps."""
    path = poisson(jr.key(3), law)
    assert int(jnp.sum(jnp.isfinite(path.jump_times))) > 3
    term = dfx.ControlTerm(lambda t, y, args: y, path)
    end = jnp.log(solve(term, jnp.asarray(2.0)).y1 / 2)
    np.testing.assert_allclose(end, path.evaluate(1.0), atol=1e-7)
    rough = float(jnp.log(solve(term, jnp.asarray(2.0), dfx.Heun()).y1 / 2))
    assert 1e-7 < abs(rough - path.evaluate(1.0)) < 2e-2


def test_change_of_variables():
    """Y = tan X: the flow of 1 + y^2, with a Brownian driver beside the jumps."""
    jumps = rs.JumpPath([0.2, 0.55, 0.8], [0.3, -0.5, 0.4], t0=0.0, t1=1.0)
    field = lambda t, y, args: 1 + y**2  # noqa: E731
    errors = []
    for dt in (0.1, 0.025):
        noise = rs.BrownianPath(0.0, 1.0, dt, shape=(), key=jr.key(1))
        noise = rs.GridPath(0.3 * noise.increments, t0=0.0, t1=1.0, dt=dt)
        terms = dfx.MultiTerm(dfx.ControlTerm(field, noise), dfx.ControlTerm(field, jumps))
        total = noise.evaluate(1.0) + jumps.evaluate(1.0)
        errors.append(abs(float(jnp.arctan(solve(terms, jnp.asarray(0.0), dt=dt).y1) - total)))
    assert max(errors) < 1e-5


def test_jumps_at_one_time_are_applied_together():
    """With fields that do not commute: the exponential of the sum, not a product."""
    a, b = np.array([[0.0, 1.0], [0.0, 0.0]]), np.array([[0.0, 0.0], [0.7, 0.2]])
    make = lambda m: dfx.ControlTerm(  # noqa: E731
        lambda t, y, args: jnp.asarray(m) @ y, rs.JumpPath([0.33], [1.0], t0=0.0, t1=1.0)
    )
    y0 = np.array([1.0, -2.0])
    found = solve(dfx.MultiTerm(make(a), make(b)), jnp.asarray(y0)).y1
    np.testing.assert_allclose(found, expm(a + b) @ y0, rtol=1e-8)
    assert np.max(np.abs(found - expm(b) @ expm(a) @ y0)) > 1e-2
    twice = rs.JumpPath([0.33, 0.33], [0.4, 0.6], t0=0.0, t1=1.0)
    term = dfx.ControlTerm(lambda t, y, args: jnp.asarray(a + b) @ y, twice)
    np.testing.assert_allclose(solve(term, jnp.asarray(y0)).y1, expm(a + b) @ y0, rtol=1e-8)


@pytest.mark.parametrize("times", [[0.1, 0.2, 1.0], [1e-9, 0.05, 0.999], [0.3, 0.3, 0.30001]])
def test_additive_jumps_are_exact_wherever_they_are(times):
    """At borders of cells, together, at the end; the limits on both sides are saved."""
    sizes = np.array([[1.0, 0.0], [0.5, -1.0], [0.0, 2.0]])
    path = rs.JumpPath(times, sizes, t0=0.0, t1=1.0)
    term = dfx.ControlTerm(lambda t, y, args: jnp.eye(2), path)
    sol = solve(term, jnp.zeros(2), saveat=dfx.SaveAt(t1=True, steps=True))
    assert sol.ts is not None
    np.testing.assert_allclose(sol.y1, sizes.sum(0))
    there = np.isfinite(sol.ts)
    ts, ys = np.asarray(sol.ts)[there], np.asarray(sol.ys)[there]
    for t in times:
        both = ys[np.abs(ts - t) < 1e-12]
        jump = sizes[np.array(times) == t].sum(0)
        np.testing.assert_allclose(both.max(0) - both.min(0), np.abs(jump), atol=1e-12)
    left, right = (path.evaluate(times[0], left=side) for side in (True, False))
    np.testing.assert_allclose(right - left, sizes[np.array(times) == times[0]].sum(0))


def test_shot_noise_has_its_mean_and_variance():
    """Campbell: dV = -a V dt + dX has mean r E[z] (1 - e^{-aT}) / a and variance
    r E[z^2] (1 - e^{-2aT}) / (2a)."""
    a, rate, samples = 3.0, 8.0, 4000

    @jax.jit
    @jax.vmap
    def run(key):
        path = poisson(key, "exponential", rate)
        terms = dfx.MultiTerm(
            dfx.ODETerm(lambda t, y, args: -a * y),
            dfx.ControlTerm(lambda t, y, args: jnp.ones(()), path),
        )
        return solve(terms, jnp.asarray(0.0)).y1

    v = np.asarray(run(jr.split(jr.key(0), samples)))
    mean = rate * 0.5 * (1 - np.exp(-a)) / a
    variance = rate * 0.5 * (1 - np.exp(-2 * a)) / (2 * a)
    assert abs(v.mean() - mean) < 4 * (variance / samples) ** 0.5
    assert abs(v.var() - variance) < 4 * ((v - v.mean()) ** 2).std() / samples**0.5


def test_poisson_laws():
    samples, rates = 4000, np.array([3.0, 0.0, 20.0])
    trains = jax.vmap(
        lambda k: rs.poisson_spikes(0.5, 2.5, rates=rates, max_spikes=90, key=k)
    )(jr.split(jr.key(0), samples))  # fmt: skip
    assert not np.any(trains.overflow)
    counts = np.asarray(jax.vmap(lambda t: t.counts())(trains)).astype(float)
    mean = 2 * rates
    assert np.all(np.abs(counts.mean(0) - mean) <= 4 * (mean / samples) ** 0.5)
    error = ((2 * mean**2 + mean) / samples) ** 0.5
    assert np.all(np.abs(counts.var(0) - mean) <= 4 * error)
    assert abs(np.corrcoef(counts[:, 0], counts[:, 2])[0, 1]) < 4 / samples**0.5
    times = np.asarray(trains.times)
    known = times[np.isfinite(times)]
    assert known.min() >= 0.5 and known.max() <= 2.5
    assert abs(known.mean() - 1.5) < 4 * (4 / 12 / len(known)) ** 0.5
    assert np.all(times[:, 1:] >= times[:, :-1])


def test_times_and_sizes_move_with_the_parameters():
    def end(intensity, scale):
        path = rs.compound_poisson_path(
            0.0, 1.0, intensity=intensity, jump=lambda k: scale * jr.normal(k), max_jumps=30,
            key=jr.key(2),
        )  # fmt: skip
        terms = dfx.MultiTerm(
            dfx.ODETerm(lambda t, y, args: -2 * y),
            dfx.ControlTerm(lambda t, y, args: 1 + y**2 / 9, path),
        )
        return solve(terms, jnp.asarray(0.3), dt=0.1).y1

    end = jax.jit(end)
    at = (jnp.asarray(6.0), jnp.asarray(0.5))
    gradient = jax.grad(end, (0, 1))(*at)
    for n in range(2):
        h = 1e-5
        shift = lambda s: end(*(x + s * h * (m == n) for m, x in enumerate(at)))  # noqa: B023,E731
        np.testing.assert_allclose(gradient[n], (shift(1) - shift(-1)) / (2 * h), rtol=1e-6)
        assert abs(gradient[n]) > 1e-3


MU, DRIVE = jnp.array([15.0, 6.0]), jnp.array([0.9, 0.7])
LINKS = np.array([[0.0, 0.4], [-0.3, 0.0]])
FEED = jnp.array([[0.6, 0.2], [0.0, 0.5], [-0.4, 0.3]])


@functools.partial(jax.jit, static_argnames=("method", "dt", "sigma"))
def spike_times(z, method: Any, dt, sigma=0.3):
    """The network with the spikes of three inputs."""
    count = z["times"].shape[0]
    train = rs.SpikeTrain(
        times=z["times"], marks=jnp.arange(count, dtype=jnp.int32) % 3,
        count=jnp.asarray(count, jnp.int32), overflow=jnp.array(False), t0=0.0, t1=1.0,
        num_neurons=3,
    )  # fmt: skip
    network = rs.SpikingNetwork(
        rs.LIF(z["mu"], ((sigma,), (0.0,)), 1.2),
        rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0, 1.0), 0.03),
        z["links"],
    )
    return rs.simulate(
        network, lambda t: DRIVE, t0=0.0, t1=1.0, dt0=dt, max_spikes=20, key=jr.key(5),
        method=method, spike_input=rs.SpikeInput(train, z["feed"]),
    )  # fmt: skip


AT = {
    "times": jnp.array([0.013, 0.0999, 0.25, 0.3001, 0.41, 0.55, 0.69, 0.71]),
    "mu": MU,
    "links": jnp.asarray(LINKS),
    "feed": FEED,
}


@pytest.mark.parametrize("method", ["event", "lockstep"])
def test_gradients_through_input_spikes(method):
    """In times, weights and rates, against differences on the same noise."""

    @jax.jit
    def value(z):
        found = spike_times(z, method, 0.02)
        return jnp.sum(jnp.where(found.marks >= 0, found.times, 0))

    assert int(spike_times(AT, method, 0.02).count) >= 3
    gradient = jax.jit(jax.grad(value))(AT)
    h = 1e-6
    for name in AT:
        way = jnp.asarray(np.random.default_rng(0).normal(size=AT[name].shape))
        if name == "links":
            way = jnp.where(LINKS != 0, way, 0)
        up, down = (value(AT | {name: AT[name] + s * h * way}) for s in (1, -1))
        slope = float(jnp.sum(gradient[name] * way))
        assert abs(slope) > 1e-3
        np.testing.assert_allclose(slope, (up - down) / (2 * h), rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("method", ["event", "lockstep"])
def test_input_spikes_cross_the_border_of_a_cell(method):
    """Spike times are continuous there, and the difference across it is the mean of the
    derivatives on both sides, which agree as dt falls."""

    @functools.partial(jax.jit, static_argnums=1)
    def last(t, dt):
        found = spike_times(AT | {"times": AT["times"].at[2].set(t)}, method, dt)
        return jnp.sum(jnp.where(found.marks >= 0, found.times, 0))

    gaps = []
    for dt in (0.02, 0.005):
        border, h = 0.24, 1e-7
        left, right = (last(border + s * h, dt) for s in (-1, 1))
        slopes = [float(jax.grad(last)(border + s * h, dt)) for s in (-1, 1)]
        np.testing.assert_allclose((right - left) / (2 * h), np.mean(slopes), rtol=1e-4)
        gaps.append(abs(slopes[1] - slopes[0]) / abs(slopes[0]))
    assert gaps[1] < gaps[0] / 4


def test_engines_agree_on_input_spikes():
    gaps = []
    for dt in (0.04, 0.0025, 0.00125):
        a, b = (spike_times(AT, m, dt, sigma=0.0) for m in ("event", "lockstep"))
        assert jnp.array_equal(a.counts(), b.counts()) and int(a.count) >= 3
        there = jnp.isfinite(a.times)
        gaps.append(float(jnp.max(jnp.abs(jnp.where(there, a.times - b.times, 0)))))
    # Second order and more.
    assert gaps[1] < gaps[0] / 16**2 and gaps[2] < gaps[1] / 4


@pytest.mark.parametrize("method", ["event", "lockstep"])
def test_one_input_spike_moves_the_threshold_crossing_as_it_must(method):
    """Hard threshold, one input spike at s: i = w e^{-mu2 (t - s)}, v in closed form."""
    mu1, mu2, w, s = 5.0, 2.0, 6.0, 0.21
    train = rs.SpikeTrain.from_lists([[s]], t0=0.0, t1=1.0)
    network = rs.SpikingNetwork(rs.LIF((mu1, mu2), None, 1.0), rs.ThresholdFiring(1.0))
    found = rs.simulate(
        network, lambda t: jnp.zeros(1), t0=0.0, t1=1.0, dt0=0.001, max_spikes=1, key=jr.key(0),
        stop_after=1, spike_input=rs.SpikeInput(train, [[w]]), method=method,
    )  # fmt: skip
    x = float(found.times[0]) - s
    v = mu1 * w * (np.exp(-mu2 * x) - np.exp(-mu1 * x)) / (mu1 - mu2)
    np.testing.assert_allclose(v, 1.0, atol=1e-4)


@pytest.mark.parametrize("method", ["event", "lockstep"])
@pytest.mark.parametrize("traced", [False, True])
def test_float32(method, traced):
    """The same spikes to rounding, whatever the precision of the input and the noise is."""

    def run(dtype, times):
        train = rs.SpikeTrain(
            times=times, marks=jnp.arange(8, dtype=jnp.int32) % 3,
            count=jnp.asarray(8, jnp.int32), overflow=jnp.array(False), t0=0.0, t1=1.0,
            num_neurons=3,
        )  # fmt: skip
        network = rs.SpikingNetwork(
            rs.LIF(MU.astype(dtype), jnp.array([[0.3], [0.0]], dtype), jnp.asarray(1.2, dtype)),
            rs.StochasticFiring(
                rs.ExponentialIntensity(jnp.asarray(5.0, dtype), jnp.asarray(1.0, dtype)),
                jnp.asarray(0.03, dtype),
            ),
            jnp.asarray(LINKS, dtype),
        )
        noise = rs.fractional_path(0.0, 1.0, 0.02, hurst=0.4, shape=(2, 1), key=jr.key(3))
        return rs.simulate(
            network, lambda t: DRIVE.astype(dtype), t0=0.0, t1=1.0, dt0=0.02, max_spikes=20,
            key=jr.key(5), method=method, spike_input=rs.SpikeInput(train, FEED), noise=noise,
        )  # fmt: skip

    single, double = (
        jax.jit(functools.partial(run, d))(AT["times"])
        if traced
        else jax.jit(functools.partial(run, d, AT["times"]))()
        for d in (jnp.float32, jnp.float64)
    )
    assert single.times.dtype == jnp.float32 and int(single.count) >= 3
    np.testing.assert_array_equal(single.marks, double.marks)
    there = np.isfinite(double.times)
    np.testing.assert_allclose(single.times[there], double.times[there], atol=2e-5)


def test_a_network_feeds_another():
    """Gradients go through the first network's spikes into the second."""
    network = rs.SpikingNetwork(
        rs.LIF(MU, None, 1.2), rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0, 1.0), 0.03)
    )
    room: Any = dict(t0=0.0, t1=1.0, dt0=0.02, max_spikes=10)

    @jax.jit
    def value(c):
        drive = jnp.stack([c, c])
        first = rs.simulate(network, lambda t: drive, key=jr.key(0), **room)
        second = rs.simulate(
            network, lambda t: DRIVE, key=jr.key(1), spike_input=rs.SpikeInput(first, FEED[:2]),
            **room,
        )  # fmt: skip
        return jnp.sum(jnp.where(second.marks >= 0, second.times, 0)), second.count

    slope, count = jax.grad(value, has_aux=True)(jnp.asarray(1.3))
    difference = (value(1.3 + 1e-6)[0] - value(1.3 - 1e-6)[0]) / 2e-6
    assert int(count) >= 2 and abs(slope) > 1e-3
    np.testing.assert_allclose(slope, difference, rtol=1e-5)


def test_a_driver_that_jumps_at_an_event_is_reported():
    event = rs.Event(lambda t, y, args: y - 1.0, lambda t, y, args, k, u: y - 2.0)
    path = rs.JumpPath([0.4], [[2.0]], t0=0.0, t1=1.0)
    terms = dfx.ControlTerm(lambda t, y, args: jnp.eye(1), path)
    run: Any = functools.partial(
        rs.eventsolve, terms, dfx.Heun(), 0.0, 1.0, 0.1, jnp.zeros(1), event=event, max_events=3,
        key=jr.key(0),
    )  # fmt: skip
    with pytest.raises(ValueError, match="C1"):
        run()
    sol = run(conditions="waive", throw=False)
    assert sol.result == rs.RESULTS.driver_jumped
    with pytest.raises(RuntimeError, match="A jump of a driver"):
        run(conditions="waive")


def test_too_many_jumps():
    with pytest.raises(RuntimeError, match="more than `max_jumps` = 2"):
        poisson(jr.key(0), intensity=50.0, room=2)
    train = rs.poisson_spikes(0.0, 1.0, rates=np.array([50.0]), max_spikes=2, key=jr.key(0))
    assert bool(train.overflow) and int(train.count) == 2
    with pytest.raises(ValueError, match="spikes missing"):
        rs.SpikeInput(train, np.ones((1, 1)))


@pytest.mark.parametrize(
    "times", [[-0.1, 0.5], [0.0, 0.5], [0.5, 1.1], [0.5, 0.4], [np.nan, 0.5], [np.inf, 0.5]]
)
def test_bad_times(times):
    with pytest.raises(ValueError, match="`jump_times` must be in increasing order and in"):
        rs.JumpPath(times, np.ones(2), t0=0.0, t1=1.0)
    with pytest.raises(RuntimeError, match="`jump_times` must be in increasing order"):
        jax.jit(lambda t: rs.JumpPath(t, np.ones(2), t0=0.0, t1=1.0).jump_times)(jnp.array(times))


@pytest.mark.parametrize("intensity", [0.0, -1.0, np.inf, np.nan])
def test_bad_intensity(intensity):
    with pytest.raises(ValueError, match="`intensity` must"):
        poisson(jr.key(0), intensity=intensity)


def test_bad_input():
    train = rs.SpikeTrain.from_lists([[0.2], [0.3]], t0=0.0, t1=1.0)
    with pytest.raises(ValueError, match="`sizes` "):
        rs.JumpPath([0.1, 0.2], np.ones(3), t0=0.0, t1=1.0)
    with pytest.raises(ValueError, match=r"shape \(2, neurons\)"):
        rs.SpikeInput(train, np.ones((3, 2)))
    with pytest.raises(TypeError, match="must be a roughsnn.SpikeTrain"):
        rs.SpikeInput([0.1], np.ones((1, 1)))  # pyright: ignore
    network = rs.SpikingNetwork(rs.LIF(MU, None, 1.2), rs.ThresholdFiring(1.0))
    run: Any = functools.partial(
        rs.simulate, network, lambda t: DRIVE, t0=0.0, dt0=0.1, max_spikes=3, key=jr.key(0)
    )
    with pytest.raises(ValueError, match="on the window of the simulation"):
        run(t1=2.0, spike_input=rs.SpikeInput(train, np.ones((2, 2))))
    with pytest.raises(ValueError, match=r"shape \(inputs, 2\)"):
        run(t1=1.0, spike_input=rs.SpikeInput(train, np.ones((2, 3))))
    with pytest.raises(ValueError, match="`rates` must be of shape"):
        rs.poisson_spikes(0.0, 1.0, rates=3.0, max_spikes=3, key=jr.key(0))
    term = dfx.ControlTerm(lambda t, y, args: y, rs.StepPath([0.5], [[1.0], [2.0]]))
    with pytest.raises(ValueError, match=r"Use a roughsnn\.JumpPath"):
        solve(term, jnp.asarray(1.0))
    term = dfx.ControlTerm(lambda t, y, args: y, rs.JumpPath([0.5], [1.0], t0=0.0, t1=1.0))
    options: Any = dict(event=NEVER, max_events=1, key=jr.key(0))
    with pytest.raises(ValueError, match="smear a jump"):
        rs.reference_solve(term, dfx.Heun(), 0.0, 1.0, 0.1, jnp.asarray(1.0), **options)
    with pytest.raises(ValueError, match="does not take drivers that jump"):
        rs.online_gradient(
            lambda p: (term, NEVER, p, None), jnp.asarray(1.0), jnp.asarray(1.0),
            solver=dfx.Heun(), t0=0.0, t1=1.0, dt0=0.1, max_events=1, key=jr.key(0),
        )  # fmt: skip


def test_many_small_input_spikes_are_noise():
    """The diffusion limit: Poisson spikes at a rate r of weight w act like a current of mean
    r w / mu2 with white noise w sqrt(r), in rate and in the CV of the intervals."""
    rate, w, mu2, samples = 2000.0, 0.4, 40.0, 512
    room: Any = dict(t0=0.0, t1=2.0, dt0=0.00125, max_spikes=60, method="lockstep")

    def network(noise):
        return rs.SpikingNetwork(
            rs.LIF((10.0, mu2), ((0.0,), (noise,)) if noise else None, 1.0),
            rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0, 0.05), 0.02),
        )

    def poisson(key):
        spikes_key, key = jr.split(key)
        train = rs.poisson_spikes(0.0, 2.0, rates=np.array([rate]), max_spikes=4500, key=spikes_key)
        return rs.simulate(
            network(0.0), lambda t: jnp.full(1, 0.9 - rate * w / mu2), key=key,
            spike_input=rs.SpikeInput(train, [[w]]), initial=at_rest(rate * w / mu2), **room,
        )  # fmt: skip

    def brownian(key):
        initial = at_rest(0.0)
        return rs.simulate(
            network(w * rate**0.5), lambda t: jnp.full(1, 0.9), key=key, initial=initial, **room
        )

    def at_rest(current):
        return rs.NeuronState(jnp.full(1, 0.5), jnp.full(1, current), None)

    def statistics(run, seed):
        trains = jax.jit(jax.vmap(run))(jr.split(jr.key(seed), samples))
        counts = np.asarray(trains.count).astype(float)
        times = np.asarray(trains.times)
        gaps = np.where(
            np.isfinite(times[:, 1:]), np.diff(np.where(np.isfinite(times), times, 0)), 0
        )
        number = np.isfinite(times[:, 1:]).sum(1)
        mean = gaps.sum() / number.sum()
        square = (gaps**2).sum() / number.sum()
        # The error of a ratio of means over independent samples.
        cv = (square / mean**2 - 1) ** 0.5
        influence = ((gaps**2).sum(1) / mean**2 - 2 * square / mean**3 * gaps.sum(1)) / (2 * cv)
        influence += number * square / mean**2 / (2 * cv)
        error = influence.std() / number.mean() / samples**0.5
        return (counts.mean(), counts.std() / samples**0.5), (cv, error)

    for a, b in zip(statistics(poisson, 0), statistics(brownian, 1), strict=True):
        print(a, b)
        assert abs(a[0] - b[0]) < 3.5 * (a[1] ** 2 + b[1] ** 2) ** 0.5
        assert a[1] < 0.03 * a[0]
