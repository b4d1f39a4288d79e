import jax
import jax.numpy as jnp
import numpy as np
import pytest

from roughsnn._misc import at_least, at_most
from roughsnn._solve.setup import compact


@pytest.mark.parametrize(("limit", "plain"), [(at_most, jnp.minimum), (at_least, jnp.maximum)])
def test_limits_do_not_ask_whether_two_numbers_are_equal(limit, plain):
    """A compiler may round one of them in two ways: the derivative of `jnp.minimum` is 0 then."""
    x = jnp.array([0.5, 1.5, jnp.nan])
    np.testing.assert_array_equal(limit(x, 1.0), plain(x, 1.0))
    inside = x[0] if limit is at_most else x[1]
    assert jax.grad(limit)(inside, 1.0) == 1 and jax.grad(limit)(2 - inside, 1.0) == 0
    program = lambda f: str(jax.make_jaxpr(jax.grad(f))(inside, 1.0))
    assert " eq " in program(plain) and " eq " not in program(limit)


@pytest.mark.parametrize("number", [1, 31, 32, 33, 1000])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_events_are_moved_to_the_front(number, share):
    rng = np.random.default_rng(number)
    marks = np.where(rng.random(number) < share, rng.integers(0, 9, number), -1)
    times, there = rng.normal(size=number), np.flatnonzero(marks >= 0)
    for room in (1, 40, number, 2 * number):
        found = jax.jit(lambda t, m, n=room: compact(m, n, (t, jnp.inf), (m, -1)))(times, marks)
        for values, filler, got in zip((times, marks), (np.inf, -1), found, strict=True):
            expected = np.full(room, filler)
            expected[: len(there)] = values[there[:room]]
            np.testing.assert_array_equal(got, expected)
