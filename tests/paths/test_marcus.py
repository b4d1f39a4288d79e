import jax
import jax.numpy as jnp
import numpy as np
import pytest
import signax

import roughsnn as rs


def test_corners():
    train = rs.SpikeTrain.from_lists([[0.25], [0.5]], t0=0.0, t1=1.0, max_spikes=3)
    expected = [
        [0.0, 0, 0],
        [0.25, 0, 0],
        [0.25, 1, 0],
        [0.5, 1, 0],
        [0.5, 1, 1],
        [1.0, 1, 1],
        [1.0, 1, 1],
        [1.0, 1, 1],
    ]
    np.testing.assert_array_equal(rs.marcus_lift(train), expected)


def test_a_full_buffer_still_runs_to_the_end():
    train = rs.SpikeTrain.from_lists([[0.25]], t0=0.0, t1=1.0, max_spikes=1)
    np.testing.assert_array_equal(rs.marcus_lift(train)[-1], [1.0, 1.0])


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_padding_changes_no_signature(depth):
    lists = [[0.1, 0.4], [0.3]]
    short, long = (
        rs.marcus_lift(rs.SpikeTrain.from_lists(lists, t0=0.0, t1=1.0, max_spikes=n))
        for n in (3, 7)
    )
    np.testing.assert_allclose(
        signax.signature(short, depth), signax.signature(long, depth), atol=1e-14
    )


def test_signature_by_hand():
    """Levels 1 and 2 of the path of one spike at tau: S^{tN} = tau, S^{Nt} = T - tau."""
    tau, t1 = 0.3, 1.0
    train = rs.SpikeTrain.from_lists([[tau]], t0=0.0, t1=t1, max_spikes=2)
    signature = signax.signature(rs.marcus_lift(train), 2)
    np.testing.assert_allclose(signature, [t1, 1, t1**2 / 2, tau, t1 - tau, 0.5], atol=1e-14)


def test_the_taper_makes_the_lift_continuous_at_the_end():
    def lift(tau):
        train = rs.SpikeTrain(
            jnp.array([tau]),
            jnp.array([0], jnp.int32),
            jnp.asarray(1, jnp.int32),
            jnp.array(False),
            0.0,
            1.0,
            1,
        )
        return rs.marcus_lift(train, taper=0.2)

    empty = rs.SpikeTrain.from_lists([[]], t0=0.0, t1=1.0, max_spikes=1)
    np.testing.assert_allclose(lift(1.0 - 1e-9), rs.marcus_lift(empty, taper=0.2), atol=1e-8)
    slope = jax.jacfwd(lift)(jnp.asarray(0.9))
    np.testing.assert_allclose(slope[-1], [0.0, -5.0])


def test_bad_taper():
    train = rs.SpikeTrain.from_lists([[0.1]], t0=0.0, t1=1.0)
    with pytest.raises(ValueError, match="`taper`"):
        rs.marcus_lift(train, taper=1.5)
