import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

import roughsnn as rs

FUNCTIONS = {
    "cubic": (lambda x: x**3 - 2 * x - 5, 2.0, 3.0),
    "exponential": (lambda x: jnp.exp(x) - 2, -1.0, 4.0),
    "flat": (lambda x: (x - 0.3) ** 9, -1.0, 1.0),
    "steep": (lambda x: jnp.tanh(200 * (x - 0.123)), 0.0, 1.0),
    "falling": (lambda x: 0.7 - jnp.sin(x), 0.0, 1.5),
    "root at the end": (lambda x: x - 1.0, 0.0, 1.0),
}


def find(fn, lower, upper, dtype, finder=None):
    return optx.root_find(
        lambda x, _: fn(x),
        rs.Chandrupatla() if finder is None else finder,
        jnp.asarray(lower, dtype),
        options=dict(lower=jnp.asarray(lower, dtype), upper=jnp.asarray(upper, dtype)),
        max_steps=100,
    )


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_root_to_rounding(name, dtype):
    fn, lower, upper = FUNCTIONS[name]
    root = find(fn, lower, upper, dtype).value
    eps = float(jnp.finfo(dtype).eps)
    assert lower <= float(root) <= upper
    near = jnp.asarray([root - 8 * eps * (upper - lower), root + 8 * eps * (upper - lower)], dtype)
    values = fn(near)
    assert float(values[0] * values[1]) <= 0 or abs(float(fn(root))) < 1e-30


@pytest.mark.parametrize("name", ["cubic", "exponential", "falling"])
def test_it_converges_much_faster_than_bisection(name):
    fn, lower, upper = FUNCTIONS[name]
    steps = int(find(fn, lower, upper, jnp.float64).stats["num_steps"])
    bisection = optx.Bisection(rtol=1e-14, atol=1e-14)
    assert 3 * steps < int(find(fn, lower, upper, jnp.float64, bisection).stats["num_steps"])


def test_an_affine_function_takes_one_evaluation():
    result = find(lambda x: 3 * x - 1, 0.0, 1.0, jnp.float64)
    assert int(result.stats["num_steps"]) <= 2
    np.testing.assert_allclose(result.value, 1 / 3, rtol=1e-15)


def test_the_derivative_is_that_of_the_implicit_function():
    def root(a):
        return find(lambda x: x**2 - a, 0.0, 3.0, jnp.float64).value

    np.testing.assert_allclose(jax.grad(root)(jnp.asarray(2.0)), 0.5 / 2**0.5, rtol=1e-12)
