"""What is refused is really biased: waived, its mean gradient is not that of the mean."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import lineax as lx
import pytest

import roughsnn as rs

from ..helpers import standard_error

T1 = 1.0


def firing(t, y, args):
    return y[1]


def stochastic(reset, synapse, sigma, key, c, dt=0.01):
    """Two neurons (v, s) that fire stochastically; v jumps at own and other's spikes."""
    weights = jnp.array([[0.0, 0.6], [0.6, 0.0]])

    def drift(t, y, args):
        v, _ = y
        return 10 * (jnp.stack([c, 1.3 + 0 * c]) - v), jnp.exp(4 * (v - 1))

    def transition(t, y, args, k, u):
        v, s = y
        fired = jnp.arange(2, dtype=jnp.int32) == k
        v = jnp.where(fired, 0.0 if reset == "constant" else v - 1.2, v)
        v = v + weights[k] if synapse else v
        return v, jnp.where(fired, jnp.log(u), s)

    def diffusion(t, y, args):
        act = lambda dx: (sigma * dx, jnp.zeros(2))  # noqa: E731
        return lx.FunctionLinearOperator(act, jax.ShapeDtypeStruct((2,), y[0].dtype))

    terms = dfx.ODETerm(drift)
    if sigma:
        path = rs.BrownianPath(0.0, T1, dt, shape=(2,), key=key, interpolation="linear")
        terms = dfx.MultiTerm(terms, dfx.ControlTerm(diffusion, path))
    levels = jnp.log(jr.uniform(jr.fold_in(key, 1), (2,), minval=1e-9))
    sol = rs.eventsolve(
        terms, dfx.Heun(), 0.0, T1, dt, (jnp.zeros(2), levels),
        event=rs.Event(firing, transition), max_events=60, key=key, conditions="waive",
    )  # fmt: skip
    train = rs.SpikeTrain(
        sol.event_times, sol.event_marks, sol.event_count, jnp.array(False), 0.0, T1, 2
    )  # fmt: skip
    times = train.per_neuron(4)[0]
    # With T1 for what is missing: continuous where spikes swap or leave.
    return jnp.sum(jnp.where(jnp.isfinite(times), times, T1))


def gap_in_standard_errors(fn, samples, h=0.02):
    keys = jr.split(jr.key(0), samples)

    @jax.jit
    def run(c):
        def one(key):
            _, slope = jax.jvp(lambda c: fn(c, key), (c,), (jnp.ones_like(c),))
            ends = [fn(c + k * h, key) for k in (-2, -1, 1, 2)]
            weights = (1 / 12, -8 / 12, 8 / 12, -1 / 12)
            return slope - sum(w * e for w, e in zip(weights, ends, strict=True)) / h

        return jax.lax.map(one, keys, batch_size=512)

    gap = run(jnp.asarray(1.3))
    return float(jnp.abs(jnp.mean(gap)) / standard_error(gap))


@pytest.mark.slow
@pytest.mark.parametrize("reset, biased", [("constant", True), ("subtract", False)])
def test_c5_the_order_of_two_spikes_matters(reset, biased):
    fn = lambda c, key: stochastic(reset, True, 0.0, key, c)  # noqa: E731
    score = gap_in_standard_errors(fn, 16_384)
    print(reset, score)
    assert (score > 6) if biased else (score < 3)


@pytest.mark.slow
@pytest.mark.parametrize("reset, grows", [("constant", True), ("subtract", False)])
def test_c3_the_reset_forgets_the_noise(reset, grows):
    """The derivative then holds the slope of the noise at the spike, which has no limit."""
    keys = jr.split(jr.key(0), 256)

    def size(dt):
        slope = lambda key: jax.grad(lambda c: stochastic(reset, False, 0.8, key, c, dt))(1.3)  # noqa: E731
        return float(jnp.sqrt(jnp.mean(jax.jit(jax.vmap(slope))(keys) ** 2)))

    sizes = [size(dt) for dt in (0.02, 0.02 / 64)]
    print(reset, sizes)
    assert (sizes[1] > 2 * sizes[0]) if grows else (sizes[1] < 1.2 * sizes[0])
