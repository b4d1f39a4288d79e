"""Events of one's own equation as spikes: losses, boundary terms and scores work on them."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

T1 = 1.0
WINDOW = rs.Window(0.0, T1, 0.1)
RATES = jnp.array([4.0, 7.0])


def solve(rates, key, window=WINDOW, alpha=0.0, **options):
    """Two renewal processes: integrated hazards `h`, which reach alpha and an exponential number
    where `s` is 0."""

    def transition(t, y, args, k, u):
        own = jnp.arange(2, dtype=k.dtype) == k
        return {
            "h": jnp.where(own, 0.0, y["h"]),
            "s": jnp.where(own, jnp.log(u) - alpha, y["s"]),
        }

    first = jnp.log(jr.uniform(jr.fold_in(key, 1), (2,))) - alpha
    return rs.eventsolve(
        dfx.ODETerm(lambda t, y, args: {"h": rates, "s": rates}),
        window,
        {"h": jnp.zeros(2), "s": first},
        event=rs.Event(lambda t, y, args: y["s"], transition),
        max_events=60,
        key=key,
        **options,
    )


def trains(rates, number, hidden=None, at_risk=None, **options):
    one = lambda key: solve(rates, key, **options).spike_train(hidden, at_risk=at_risk)
    return jax.vmap(one)(jr.split(jr.key(0), number))


@pytest.mark.slow
def test_events_are_spikes():
    solution = solve(RATES, jr.key(3), rs.Window(5.0, 6.0, 0.1, origin=1e9))
    train = solution.spike_train()
    np.testing.assert_array_equal(train.times, solution.event_times)
    np.testing.assert_array_equal(train.marks, solution.event_marks)
    assert (train.t0, train.t1, train.num_neurons) == (5.0, 6.0, 2)
    assert train.origin == 1e9 and int(train.count) == int(solution.event_count)
    assert not bool(train.overflow)


@pytest.mark.slow
def test_scores_and_losses_take_them():
    x, y = trains(RATES, 64), trains(2 * RATES, 64)
    np.testing.assert_allclose(rs.scores.mean_rates(x), RATES, atol=4 * (7 / 64) ** 0.5)
    assert float(rs.losses.mmd(x, y)) > 0
    assert float(rs.losses.psth_distance(x, y, jnp.linspace(0.1, 1.0, 10), 0.05)) > 0


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.0, 0.4])
def test_boundary_terms_make_gradients_of_counts_right(alpha):
    """Against differences of the means of the same samples; without them it would be 0."""
    number, h = 4000, 0.05
    parts = dict(hidden=lambda y: y["s"], at_risk=lambda y: y["h"] > alpha, alpha=alpha)
    counts = lambda c: jax.vmap(rs.losses.counts)(trains(c * RATES, number, **parts))
    found = jax.jit(jax.jacfwd(counts))(1.0)
    up, down = (jax.jit(counts)(1 + s) for s in (h, -h))
    gap = np.asarray(found - (up - down) / (2 * h))
    assert np.all(np.abs(gap.mean(0)) < 4 * gap.std(0, ddof=1) / number**0.5)
    assert np.all(np.asarray(found).mean(0) > 2)
    if alpha == 0:
        # The mean count of a Poisson process is the rate times the time.
        np.testing.assert_allclose(np.asarray(found).mean(0), RATES, rtol=1e-6)


@pytest.mark.slow
def test_boundary_terms_at_edges():
    """Counts of Poisson processes in bins: each is the rate times the length of the bin."""
    edges = (0.25, 0.6)
    window = rs.Window(0.0, T1, 0.1, edges=edges)
    engine = rs.EventByEvent(saveat=dfx.SaveAt(ts=jnp.asarray(edges)))

    def counts(c):
        x = trains(c * RATES, 8, hidden=lambda y: y["s"], window=window, engine=engine)
        return jax.vmap(lambda t: rs.losses.binned_counts(t, (0.0, *edges, T1)))(x)

    slopes = jax.jit(jax.jacfwd(counts))(1.0).mean(0)
    np.testing.assert_allclose(slopes, np.outer(np.diff([0.0, *edges, T1]), RATES), rtol=1e-6)


def test_what_failed_has_spikes_missing():
    solution = solve(100 * RATES, jr.key(0), throw=False)
    train = solution.spike_train()
    assert bool(train.overflow)
    with pytest.raises(ValueError, match="spikes missing"):
        train.complete()


def test_an_early_end_has_no_boundary():
    window = rs.Window(0.0, T1, 0.1, stop_after=2)
    train = solve(RATES, jr.key(0), window).spike_train(lambda y: y["s"])
    assert train.boundary is not None and not np.any(np.asarray(train.boundary.at_risk))


BAD = {
    "a number": (dict(hidden=lambda y: jnp.sum(y["s"])), "`hidden` must return one number for"),
    "at_risk of another size": (
        dict(hidden=lambda y: y["s"], at_risk=lambda y: jnp.ones(3, bool)),
        "`at_risk` must return one number for each of the 2 coordinates, got shape",
    ),
    "at_risk alone": (dict(at_risk=lambda y: y["s"] > 0), "`at_risk` goes with `hidden`"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments(case):
    given, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        solve(RATES, jr.key(0)).spike_train(**given)


def test_edges_need_states():
    solution = solve(RATES, jr.key(0), rs.Window(0.0, T1, 0.1, edges=(0.5,)))
    with pytest.raises(ValueError, match="at the edges of the window too"):
        solution.spike_train(lambda y: y["s"])
    with pytest.raises(ValueError, match="It must come from"):
        rs.losses.counts(solution.spike_train())
