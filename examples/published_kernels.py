"""The two kernels of the published code, as kernels of spike trains, to compare with."""

import jax
import jax.numpy as jnp

import roughsnn as rs

ALL_JUMPS = rs.SignatureKernel(taper=0.0).discontinuities(2)


class CornerKernel(rs.AbstractTrainKernel):
    """The signature kernel with an RBF of the corners of the Marcus lift: that of the published
    code."""

    kernel: rs.PathKernel

    def fitted(self, data):
        """As it is."""
        del data
        return self

    def embed(self, x):
        """Corners."""
        return jax.vmap(rs.marcus_lift)(x)

    def block(self, a, b):
        """All pairs."""
        return self.kernel.gram(a, b)

    def pairs(self, a, b):
        """Partners; axes of samples broadcast."""
        shape = jnp.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        flat = lambda z: jnp.broadcast_to(z, (*shape, *z.shape[-2:])).reshape(-1, *z.shape[-2:])
        return jax.vmap(self.kernel)(flat(a), flat(b)).reshape(shape)

    def discontinuities(self, num_neurons):
        """Everywhere it can."""
        del num_neurons
        return ALL_JUMPS

    def workspace(self, spikes, num_neurons):
        """That of the cells."""
        del num_neurons
        return 4 * (2 * spikes + 2) ** 2


class TruncatedKernel(rs.AbstractTrainKernel):
    """Inner products of signatures up to depth 3: what `losses.expected_signature` compares."""

    def fitted(self, data):
        """As it is."""
        del data
        return self

    def embed(self, x):
        """Signatures."""
        return rs.losses.signature_features(x, depth=3, taper=0.0)

    def block(self, a, b):
        """A matrix product."""
        return a @ b.T

    def pairs(self, a, b):
        """Inner products."""
        return jnp.sum(a * b, -1)

    def discontinuities(self, num_neurons):
        """Everywhere it can."""
        del num_neurons
        return ALL_JUMPS

    def workspace(self, spikes, num_neurons):
        """One number."""
        del spikes, num_neurons
        return 1
