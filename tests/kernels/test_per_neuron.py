"""Room for the spikes of each neuron: the same kernel with less work, never spikes left out."""

import dataclasses
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import roughsnn as rs

from .test_laws import X, Y

# A short window, for which few derivatives are exact, with cuts of time.
SIGNATURE = rs.SignatureKernel(0.5, time_scale=0.2)
MOST = max(len(times) for x in (X, Y) for train in x.to_lists() for times in train)
PLAIN = rs.PerNeuronKernel(SIGNATURE)
ROOM = rs.PerNeuronKernel(SIGNATURE, max_spikes=MOST)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lifting", "scaling"), [(rs.ItoLift(), "robust"), (rs.MarcusLift(), "normalized")]
)
def test_same_kernel(lifting, scaling):
    assert MOST < X.times.shape[-1]
    kernel = rs.SignatureKernel(1.5, lifting=lifting, scaling=scaling, time_scale=0.2)
    plain, room = (rs.PerNeuronKernel(kernel, n) for n in (None, MOST))
    both = jax.jit(lambda *kernels: [rs.gram_matrix(kernel, X, Y) for kernel in kernels])
    expected, got = both(plain, room)
    np.testing.assert_allclose(got, expected, rtol=1e-9)


@pytest.mark.slow
def test_same_gradient():
    """Also of the padding: nothing, not nan."""

    def losses(times):
        x = dataclasses.replace(X, times=times)
        return [rs.losses.mmd(x, Y, kernel=kernel) for kernel in (PLAIN, ROOM)]

    expected, got = jax.jit(jax.jacrev(losses))(X.times)
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(got, expected, atol=1e-12)


def test_fitted_keeps_the_room():
    kernel = jax.jit(lambda x: rs.PerNeuronKernel(rs.SignatureKernel(), 3, 1).fitted(x))(X)
    assert (kernel.max_spikes, kernel.interactions) == (3, 1)
    mean = float(X.count.mean()) / 2
    height = kernel.kernel.height
    assert height is not None
    np.testing.assert_allclose(height, 1 / np.sqrt(max(mean, 1)))


@jax.jit
def kernels_of_single_neurons(x, y):
    only = lambda z, n: jax.vmap(lambda w: w.only(n[None]))(z)
    gram = lambda n: rs.gram_matrix(PLAIN, only(x, n), only(y, n))
    return jax.lax.map(gram, jnp.arange(3))


@pytest.mark.parametrize("q", [1, 2, 3])
def test_interactions(q):
    """The mean over all sets of neurons of the products of kernels of single neurons."""
    x, y = (three(seed) for seed in (0, 1))
    kernel = rs.PerNeuronKernel(SIGNATURE, 8, q)
    alone = kernels_of_single_neurons(x, y)
    sets = [np.prod([alone[n] for n in some], 0) for some in itertools.combinations(range(3), q)]
    found = jax.jit(lambda x, y: rs.gram_matrix(kernel, x, y))(x, y)
    np.testing.assert_allclose(found, np.mean(sets, 0), rtol=1e-12)


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
    return jax.tree.map(lambda *z: jnp.asarray(np.stack(z)), *trains)


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
