import jax.numpy as jnp
import numpy as np
import pytest

import roughsnn as rs


def test_values_and_sides():
    path = rs.StepPath([0.5, 1.0], [[1.0], [2.0], [3.0]])
    assert [float(path.evaluate(t)[0]) for t in (0.0, 0.5, 0.7, 1.0, 2.0)] == [1, 1, 2, 2, 3]
    assert float(path.evaluate(0.5, left=False)[0]) == 2
    np.testing.assert_array_equal(path.evaluate(0.0, 2.0), [2.0])


@pytest.mark.parametrize(
    ("times", "values", "match"),
    [
        ([0.5, 0.2], jnp.zeros((3, 1)), "increasing"),
        ([0.5], jnp.zeros((3, 1)), "one row more"),
        ([0.5], jnp.zeros(2), "must have shape"),
        ([0.5], [[1.0], [np.inf]], "finite"),
    ],
)
def test_bad_input(times, values, match):
    with pytest.raises(ValueError, match=match):
        rs.StepPath(times, values)
