"""Per-synapse derivatives of spike times, carried forward: a three-factor rule."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from .._conditions.fields import smooth_drift
from .._misc import one_hot, where_tree
from .._model.connectivity import SparseWeights
from .._model.dale import DaleWeights
from .._model.equation import Spike
from .._model.layout import Layout
from .._model.links import links_of
from .._model.network import SpikingNetwork
from .._model.population import Source
from .._model.state import NetworkState
from .._model.stdp import PairSTDP
from .._model.waiting import Agenda
from .._path.base import AbstractGridPath
from .._path.brownian import Brownian
from .._random import RandomKey
from .._results import RESULTS, Failure
from .._solve.engine import EventByEvent, by_cells
from .._solve.recursion import Happening, happening
from .._solve.setup import Equation, compact, set_up
from .._train.spike_train import SpikeTrain
from .._types import Drive
from .._window import Window
from .event_by_event import ended, equation_of
from .known import event_of
from .problem import Problem, as_network, pose


class Eligibility(eqx.Module):
    r"""What [`roughsnn.eligibility`][] returns.

    **Attributes:**

    - `spikes`: the [`roughsnn.SpikeTrain`][].
    - `time_derivatives`: shape `(max_spikes, neurons)`; entry `[n, j]` is
        $\partial\tau_n/\partial w_{jk}$ for the neuron $k$ that fired spike n, padded with 0.
        Neurons are numbered as in the network, population after population.
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
    goes by way of other neurons, unless the learning signal holds it. Along one
    direction, with all of that: [`roughsnn.simulate_online`][].

    Costs neurons² per step; memory does not grow with time.

    **Arguments:** as for [`roughsnn.simulate`][] with a [`roughsnn.EventByEvent`][], of which
    solver and root finder are used. The network may have several populations, delays and
    refractory times; its projections hold matrices of weights, at most one for each pair of
    populations, and no [`roughsnn.Source`][] sends spikes.

    **Returns:** an [`roughsnn.Eligibility`][].

    **Raises:** as [`roughsnn.simulate`][]; `ValueError` for other networks.
    """
    engine = by_cells(engine, "eligibility")
    _check_network(as_network(network))
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
    found, failure = _eligibility(problem, engine)
    found = failure.raised(found) if throw else found
    spikes = found.spikes.in_frame(window)
    spikes = dataclasses.replace(spikes, populations=problem.network.sizes)
    return dataclasses.replace(found, spikes=spikes)


def _check_network(network: SpikingNetwork) -> None:
    """Refuses networks whose synapses are not pairs of neurons."""
    projections = network.projections
    held = [p.weights.raw if isinstance(p.weights, DaleWeights) else p.weights for p in projections]
    dense = [not isinstance(weights, SparseWeights) for weights in held]
    if not projections or not all(dense):
        raise ValueError(
            "`network` must have matrices of weights: the derivatives are with respect to them, "
            "and one is kept for each pair of neurons. Use `SparseWeights.to_dense()`."
        )
    for name, population in network.populations.items():
        if isinstance(population, Source):
            raise ValueError(
                f"`network` must have no roughsnn.Source, got {name!r}: its neurons have no "
                "number. Let a population that is simulated send its spikes, or use jax.jvp."
            )
    pairs = [(p.pre, p.post) for p in projections]
    for n, (pair, p) in enumerate(zip(pairs, projections, strict=True)):
        if pair in pairs[:n]:
            raise ValueError(
                f"`projections[{n}]` is the second from {p.pre!r} to {p.post!r}: a derivative is "
                "known by its pair of neurons, so there may be one."
            )
        if isinstance(p.plasticity, PairSTDP):
            raise ValueError(
                f"`projections[{n}]` learns, by a PairSTDP: derivatives are with respect to "
                "weights that stay as they are."
            )


@eqx.filter_jit
def _eligibility(problem: Problem, engine: EventByEvent) -> tuple[Eligibility, Failure]:
    """What [`roughsnn.eligibility`][] returns, compiled once for functions and shapes."""
    problem = problem.grouped()
    layout, room = problem.layout, problem.max_spikes
    equation, engine, _ = equation_of(problem, engine)
    stepper, start, length = set_up(equation, engine, window=problem.window, max_events=room)
    traces = jax.tree.map(lambda x: jnp.zeros((layout.size, *x.shape), x.dtype), equation.y0)
    sent = _Sent.of(problem, equation)

    def body(carry, _):
        carry, traces = carry
        new, emitted = stepper(carry)
        here = happening(stepper, carry, new, emitted)
        # Neurons are uncoupled between spikes, so row j moves all synapses of j at once.
        left, push = jax.linearize(lambda y: stepper.flow(carry, y, here.local), carry.y)
        traces = jax.vmap(push)(traces)
        dtau, after = _at_event(equation, sent, here, left, traces)
        traces = where_tree(here.event, after, traces)
        return (new, traces), (emitted.time, emitted.mark, jnp.where(emitted.mark >= 0, dtau, 0))

    (final, _), (times, marks, dtaus) = jax.lax.scan(body, (start, traces), length=length)
    times, dtaus, marks = compact(marks, room, (times, jnp.inf), (dtaus, 0.0), (marks, -1))
    train, result, failure = ended(problem, stepper, final, times, marks)
    return Eligibility(train, layout.numbered(dtaus), result), failure


def _at_event(
    p: Equation, sent: "_Sent", here: Happening, left: NetworkState, traces: NetworkState
) -> tuple[Float[Array, " neurons"], NetworkState]:
    """The derivatives of the time of an event, and the traces just after it."""
    t, zero, one = here.t, jnp.zeros_like(here.t), jnp.ones_like(here.t)

    def level(t, y):
        values = p.event.fn(t, y, None)
        return jnp.sum(jnp.where(one_hot(here.k, values.shape[0]), values, 0))

    def jump(t, y, numbers):
        return eqx.combine(numbers, sent.rest)(t, y, None, here.k, here.u)

    still = jax.tree.map(jnp.zeros_like, (left, sent.numbers))
    _, slope = jax.linearize(level, t, left)
    dtau = -jax.vmap(lambda a: slope(zero, a))(traces) / here.speed
    mu = smooth_drift(p.terms, t, left, None)
    right, push = jax.linearize(jump, t, left, sent.numbers)
    after = jax.vmap(lambda a: push(zero, a, still[1]))(traces)
    carried = push(one, mu, still[1])
    gap = jax.tree.map(jnp.subtract, smooth_drift(p.terms, t, right, None), carried)

    def own(a, gap, mask):
        rows = dtau.reshape(-1, *(1,) * gap.ndim)
        return a - jnp.where(mask[None], rows * gap[None], 0)

    # The event moves with the weights onto its own neuron; to the others it is given.
    after = jax.tree.map(own, after, gap, sent.own(here.k, left))
    # A unit more of the weights of its neuron arrives at its targets.
    came = push(zero, still[0], sent.unit)
    row = one_hot(sent.sender(here.k, left), dtau.shape[0])

    def arrive(a, came):
        return a + jnp.where(row.reshape(-1, *(1,) * came.ndim), came[None], 0)

    return dtau, jax.tree.map(arrive, after, came)


class _Sent(eqx.Module):
    """What events do, by the numbers in it and the rest, and the derivative of the numbers in all
    weights that there are."""

    numbers: PyTree
    unit: PyTree
    rest: PyTree
    agenda: Agenda | None
    layout: Layout

    @staticmethod
    def of(problem: Problem, equation: Equation) -> "_Sent":
        network, layout, spike = problem.network, problem.layout, equation.event.transition
        assert isinstance(spike, Spike)
        weights: list[Array] = []
        for p in network.projections:
            own = p.effective()
            assert not isinstance(own, SparseWeights)
            weights.append(own)

        def jumps(weights):
            changed = eqx.tree_at(lambda x: [p.weights for p in x.projections], network, weights)
            moved = None
            if spike.agenda is not None:
                moved = dataclasses.replace(
                    spike.agenda, links=links_of(changed, layout, "delayed")
                )
            return eqx.filter(event_of(changed, layout, moved).transition, eqx.is_inexact_array)

        # Those that a mask leaves out have no derivative.
        ones = list(map(jnp.ones_like, weights))
        numbers, unit = jax.jvp(jumps, (weights,), (ones,))
        rest = eqx.filter(spike, eqx.is_inexact_array, inverse=True)
        return _Sent(numbers, unit, rest, spike.agenda, layout)

    def own(self, k: Int[Array, ""], y: NetworkState) -> NetworkState:
        """What belongs to the neuron of an event: its state, and the end of its refractory time."""
        releases = 0 if self.agenda is None else self.agenda.releases
        number = jnp.where(k < self.layout.size, k, k - self.layout.size)
        fired = one_hot(number, self.layout.size) & (k < self.layout.size + releases)
        groups = [
            jax.tree.map(lambda x, f=f: jnp.broadcast_to(_behind(f, x), x.shape), group)
            for group, f in zip(y.groups, self.layout.split(fired), strict=True)
        ]
        masks = jax.tree.map(lambda x: jnp.zeros(x.shape, bool), y).with_groups(groups)
        if y.waiting is None or releases == 0:
            return masks
        ends = jnp.pad(fired, (0, y.waiting.left.shape[0] - releases))
        return eqx.tree_at(lambda y: y.waiting.left, masks, ends)

    def sender(self, k: Int[Array, ""], y: NetworkState) -> Int[Array, ""]:
        """The neuron whose spike an event is or brings."""
        if self.agenda is None or y.waiting is None:
            return k
        return self.agenda.sender(y.waiting, k)


def _behind(mask: Array, x: Array) -> Array:
    """A mask over neurons for an array with neurons first."""
    return mask.reshape(-1, *(1,) * (x.ndim - 1))
