"""Per-synapse derivatives of spike times, carried forward: a three-factor rule."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._conditions.fields import smooth_drift
from .._misc import entry, one_hot, where_tree
from .._model.equation import Spike, received
from .._model.network import SpikingNetwork
from .._model.projection import Projection
from .._model.state import NetworkState
from .._path.base import AbstractGridPath
from .._path.brownian import Brownian
from .._random import RandomKey
from .._results import RESULTS, Failure
from .._solve.engine import EventByEvent, as_event_by_event
from .._solve.failure import failure_of, result_of
from .._solve.recursion import event_or_stop
from .._solve.setup import Equation, compact, set_up
from .._train.spike_train import SpikeTrain
from .._types import Drive
from .._window import Window
from .event_by_event import equation_of
from .problem import Problem, pose


class Eligibility(eqx.Module):
    r"""What [`roughsnn.eligibility`][] returns.

    **Attributes:**

    - `spikes`: the [`roughsnn.SpikeTrain`][].
    - `time_derivatives`: shape `(max_spikes, neurons)`; entry `[n, j]` is
        $\partial\tau_n/\partial w_{jk}$ for the neuron $k$ that fired spike n, padded with 0.
    - `result`: a [`roughsnn.RESULTS`][].
    """

    spikes: SpikeTrain
    time_derivatives: Float[Array, "spikes neurons"]
    result: RESULTS


def eligibility(
    network: SpikingNetwork,
    drive: Drive,
    window: Window,
    *,
    key: RandomKey,
    max_spikes: int,
    engine: EventByEvent | None = None,
    initial: Mapping[str, Any] | None = None,
    noise: AbstractGridPath | Brownian | None = None,
    throw: bool = True,
) -> Eligibility:
    r"""Spike trains and, as each spike happens, its derivative in the weights onto its neuron.

    Each synapse j → k carries an eligibility trace $a^{jk}$, the derivative of the state of
    neuron $k$ in $w_{jk}$ with the spike times of all other neurons held fixed. It follows the
    linearised flow of neuron $k$; a spike of $j$ adds 1 to its current; at a spike of $k$

    $$\frac{\partial\tau}{\partial w_{jk}} = -\frac{\nabla E_k\,a^{jk}}{\dot E_k}, \qquad
    a^{jk} \to \nabla\mathcal T_k\,a^{jk} - \bigl(\mu(Y_\tau) - \nabla\mathcal T_k\,
    \mu(Y_{\tau-})\bigr)\frac{\partial\tau}{\partial w_{jk}} .$$

    For a LIF neuron with a hard threshold the second is the jump of v by
    $v_\text{reset}\,a_v/(i + c - v)$. (Section 4.4 of Holberg & Salvi 2024 prints $1/\mu_1$ for
    this factor, which is a misprint.)

    So $\sum_{n: k_n = k} \frac{\partial L}{\partial\tau_n}\,
    \frac{\partial\tau_n}{\partial w_{jk}}$, a sum over the neuron's own spikes of a learning
    signal times an eligibility, is a local learning rule. It is the gradient of $L$ in the
    weights onto neurons whose spikes reach no others that could act back on them or on $L$
    (the last layer of a feed-forward network), as `dt0` → 0; for others it leaves out what
    goes by way of other neurons, unless the learning signal holds it. All derivatives at
    once: [`roughsnn.online_gradient`][].

    Costs neurons² per step; memory does not grow with time.

    **Arguments:** as for [`roughsnn.simulate`][] with a [`roughsnn.EventByEvent`][], of which
    solver and root finder are used; the network must be one population with a matrix of weights.

    **Returns:** an [`roughsnn.Eligibility`][].

    **Raises:** as [`roughsnn.simulate`][].
    """
    engine = as_event_by_event(engine)
    if engine.adaptive or engine.saveat is not None:
        raise ValueError(
            "`eligibility` makes steps of the length of a cell and saves no states: leave out "
            "`controller` and `saveat` of the engine."
        )
    problem = pose(
        network,
        drive,
        window,
        key=key,
        max_spikes=max_spikes,
        engine=engine,
        initial=initial,
        noise=noise,
    )
    _projection(problem.network)
    found, failure = _eligibility(problem, engine)
    found = failure.raised(found) if throw else found
    spikes = found.spikes.in_frame(window)
    spikes = dataclasses.replace(spikes, populations=problem.network.sizes)
    return dataclasses.replace(found, spikes=spikes)


def _projection(network: SpikingNetwork) -> Projection:
    """The only projection, and its mask."""
    projections = network.projections
    if len(network.parts) != 1 or len(projections) != 1 or projections[0].mask is None:
        raise ValueError(
            "`network` must be one population with a matrix of weights onto itself: the "
            "derivatives are with respect to them, and one is kept for each pair of neurons. Use "
            "`SparseWeights.to_dense()`."
        )
    if network.waits or projections[0].plasticity is not None:
        raise ValueError(
            "`network` must have no delays, no refractory times and no plasticity: what is to "
            "come, and what a spike leaves behind at synapses, has no eligibility traces."
        )
    return projections[0]


@eqx.filter_jit
def _eligibility(problem: Problem, engine: EventByEvent) -> tuple[Eligibility, Failure]:
    """What [`roughsnn.eligibility`][] returns, compiled once for functions and shapes."""
    problem = problem.grouped()
    window, neurons, projection = problem.window, problem.neurons, _projection(problem.network)
    max_spikes = problem.max_spikes
    equation, engine, _ = equation_of(problem, engine)
    stepper, start, length = set_up(equation, engine, window=window, max_events=max_spikes)
    traces = jax.tree.map(lambda x: jnp.zeros((neurons, *x.shape), x.dtype), equation.y0)

    def body(carry, _):
        carry, traces = carry
        new, emitted = stepper(carry)
        t, local = event_or_stop(stepper, carry, new, emitted)
        fires, k = emitted.mark >= 0, jnp.maximum(emitted.mark, 0)
        # Neurons are uncoupled between spikes, so row j moves all synapses of j at once.
        left, push = jax.linearize(lambda y: stepper.flow(carry, y, local), carry.y)
        # That of the step: the drift there may differ, where the noise is not resolved.
        event_at = lambda r: equation.event.fn(t, stepper.flow(carry, carry.y, r), None)
        speed = entry(jax.jvp(event_at, (local,), (jnp.ones_like(local),))[1], k)
        speed = jnp.where(fires, speed, 1)
        traces = jax.vmap(push)(traces)
        u = stepper.labels.of(k, entry(new.counts, k), local.dtype)
        dtau, after = _at_spike(equation, projection, t, left, speed, traces, k, u)
        traces = where_tree(fires, after, traces)
        return (new, traces), (emitted.time, emitted.mark, jnp.where(fires, dtau, 0))

    (final, _), (times, marks, dtaus) = jax.lax.scan(body, (start, traces), length=length)
    times, dtaus, marks = compact(marks, max_spikes, (times, jnp.inf), (dtaus, 0.0), (marks, -1))
    result = result_of(final)
    train = SpikeTrain(
        times=times,
        marks=marks,
        count=final.num_events,
        overflow=result != RESULTS.successful,
        t0=0.0,
        t1=window.t1,
        num_neurons=neurons,
    )
    found = Eligibility(train, dtaus, result)
    return found, failure_of(result, stepper, final)


def _at_spike(
    p: Equation,
    projection: Projection,
    t: Array,
    left: NetworkState,
    speed: Array,
    traces: NetworkState,
    k: Array,
    u: Array,
):
    """The derivatives of the time of a spike of `k`, and the traces just after it; just before it
    the event function rises with `speed`."""
    assert projection.mask is not None
    fired = one_hot(k, projection.mask.shape[0])
    zero, one = jnp.zeros_like(t), jnp.ones_like(t)

    def level(t, y):
        return jnp.sum(jnp.where(fired, p.event.fn(t, y, None), 0))

    def jump(t, y):
        return p.event.transition(t, y, None, k, u)

    _, slope = jax.linearize(level, t, left)
    dtau = -jax.vmap(lambda a: slope(zero, a))(traces) / speed
    mu = smooth_drift(p.terms, t, left, None)
    right, push = jax.linearize(jump, t, left)
    after = jax.vmap(lambda a: push(zero, a))(traces)
    gap = jax.tree.map(jnp.subtract, smooth_drift(p.terms, t, right, None), push(one, mu))
    # The spike moves with the weights onto its own neuron; to the others it is given.
    own = lambda a, g: a - jnp.where(fired[None], dtau[:, None] * g[None], 0)
    after = jax.tree.map(own, after, gap)
    # A unit more of the weights of k arrives at its targets.
    assert isinstance(p.event.transition, Spike) and projection.port is not None
    layout, name = p.event.transition.layout, projection.port
    unit = jnp.ones_like(fired, dtau.dtype)
    arrive = lambda w: received(layout, left, 0, name, w)
    came = jax.jvp(arrive, (jnp.zeros_like(unit),), (unit,))[1].groups[0].ports[name]
    delivered = fired[:, None] & projection.mask
    port = jax.tree.map(
        lambda a, c: a + delivered.astype(a.dtype) * c[None],
        after.groups[0].ports[name],
        came,
    )
    return dtau, eqx.tree_at(lambda y: y.groups[0].ports[name], after, port)
