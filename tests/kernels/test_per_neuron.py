"""Room for the spikes of each neuron: the same kernel with less work, never spikes left out."""

import dataclasses
import itertools

import equinox as eqx
import jax
import numpy as np
import pytest

import roughsnn as rs

from .test_laws import X, Y

SIGNATURE = rs.SignatureKernel(0.5)
MOST = int(max(jax.vmap(lambda z: z.counts())(x).max() for x in (X, Y)))
PLAIN = rs.PerNeuronKernel(SIGNATURE)
ROOM = rs.PerNeuronKernel(SIGNATURE, max_spikes=MOST)


@pytest.mark.parametrize(
    ("lifting", "scaling"), [(rs.ItoLift(), "robust"), (rs.MarcusLift(), "normalized")]
)
def test_same_kernel(lifting, scaling):
    assert MOST < X.times.shape[-1]
    kernel = rs.SignatureKernel(0.5, lifting=lifting, scaling=scaling)
    plain, room = (rs.PerNeuronKernel(kernel, n) for n in (None, MOST))
    expected = rs.gram_matrix(plain, X, Y)
    np.testing.assert_allclose(rs.gram_matrix(room, X, Y), expected, rtol=1e-9)


def test_same_gradient():
    """Also of the padding: nothing, not nan."""

    def loss(kernel, times):
        x = dataclasses.replace(X, times=times)
        return rs.losses.mmd(x, Y, kernel=kernel)

    expected, got = (jax.grad(loss, argnums=1)(kernel, X.times) for kernel in (PLAIN, ROOM))
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(got, expected, atol=1e-12)


def test_fitted_keeps_the_room():
    kernel = rs.PerNeuronKernel(rs.SignatureKernel(), 3, 1).fitted(X)
    assert (kernel.max_spikes, kernel.interactions) == (3, 1)
    mean = float(X.count.mean()) / 2
    height = kernel.kernel.height
    assert height is not None
    np.testing.assert_allclose(height, 1 / np.sqrt(max(mean, 1)))


@pytest.mark.parametrize("q", [1, 2, 3])
def test_interactions(q):
    """The mean over all sets of neurons of the products of kernels of single neurons."""
    x, y = (three(seed) for seed in (0, 1))
    kernel = rs.PerNeuronKernel(SIGNATURE, 8, q)
    alone = [
        rs.gram_matrix(
            rs.PerNeuronKernel(SIGNATURE),
            *(jax.vmap(lambda w, n=n: w.only([n]))(z) for z in (x, y)),
        )
        for n in range(3)
    ]
    sets = [np.prod([alone[n] for n in some], 0) for some in itertools.combinations(range(3), q)]
    np.testing.assert_allclose(rs.gram_matrix(kernel, x, y), np.mean(sets, 0), rtol=1e-12)


def three(seed: int) -> rs.SpikeTrain:
    rng = np.random.default_rng(seed)
    trains = [
        rs.SpikeTrain.from_lists(
            [np.sort(rng.uniform(0, 2, n)) for n in rng.integers(0, 6, 3)],
            t0=0.0,
            t1=2.0,
            max_spikes=20,
        )
        for _ in range(4)
    ]
    return rs.SpikeTrain.stack(trains)


def test_interactions_are_checked():
    with pytest.raises(ValueError, match="interactions"):
        rs.PerNeuronKernel(SIGNATURE, interactions=0)
    with pytest.raises(ValueError, match="at most the number of neurons, got 3 for 2"):
        rs.gram_matrix(rs.PerNeuronKernel(SIGNATURE, interactions=3), X, Y)


def test_room_is_checked():
    with pytest.raises(ValueError, match="max_spikes"):
        rs.PerNeuronKernel(SIGNATURE, max_spikes=0)
    small = rs.PerNeuronKernel(SIGNATURE, max_spikes=MOST - 1)
    with pytest.raises(eqx.EquinoxRuntimeError, match=f"max_spikes`={MOST - 1}"):
        rs.gram_matrix(small, X, Y)


def test_workspace_is_smaller():
    assert ROOM.workspace(40, 2) == PLAIN.workspace(MOST, 2) < PLAIN.workspace(40, 2)
