import jax
import jax.numpy as jnp
import pytest

from roughsnn._conditions.affine import dependence, is_affine

W = jnp.arange(6.0).reshape(2, 3)
AFFINE = {
    "difference": lambda t, y: y - 1.0,
    "product with constants": lambda t, y: W @ y + t * jnp.ones(2),
    "reshaping": lambda t, y: jnp.stack([y[0], y[1] - 2 * t]),
}
NOT_AFFINE = {
    "square": lambda t, y: y**2,
    "product": lambda t, y: y * t,
    "branch": lambda t, y: jnp.where(y > 0, y, 2 * y),
    "nested": lambda t, y: jnp.linalg.norm(y)[None],
}


@pytest.mark.parametrize("name", AFFINE)
def test_affine(name):
    assert is_affine(AFFINE[name], jnp.asarray(0.0), jnp.ones(3))


@pytest.mark.parametrize("name", NOT_AFFINE)
def test_not_affine(name):
    assert not is_affine(NOT_AFFINE[name], jnp.asarray(0.0), jnp.ones(3))


def test_which_inputs_an_output_reads():
    """Also through functions of their own."""
    inner = jax.jit(lambda a, b: (2 * b, a * b))
    found = dependence(lambda a, b, c: (*inner(a, b), c, jnp.ones(())), 1.0, 2.0, 3.0)
    reads = [[n for n, read in enumerate(row) if read] for row in found]
    assert reads == [[1], [0, 1], [2], []]
