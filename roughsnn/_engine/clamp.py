"""A network whose recorded neurons spike when they did."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Unpack

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from .._check import as_integers
from .._misc import at_most
from .._model.connectivity import SparseWeights
from .._model.layout import Group
from .._model.links import Link
from .._model.network import SpikingNetwork
from .._model.plasticity import Plastic
from .._model.stdp import PairSTDP
from .._random import RandomKey
from .._results import RESULTS, Failure
from .._solve.step import Grid
from .._train.check import check_trains
from .._train.spike_train import SpikeTrain
from .._types import Drive
from .._window import Window, as_window
from .approach import SpikeCells, densities
from .base import Lockstep
from .cells import run_cells
from .delivery import add_to
from .feed import Feed
from .final import FinalState, Past
from .group_cell import LATE
from .initial import draws
from .lockstep import (
    cell_map_of,
    check_lockstep,
    delays_outside,
    failure_of,
    marked,
    result_of,
    train_of,
)
from .past_spikes import check_history, joined_trains, with_history
from .problem import Given, Problem, as_network, pose
from .record import Plan
from .sources import Arriving, in_cells
from .spike_density import log_likelihood_of, quantiles_of, survived_by


class GivenBefore(Given, total=False):
    """What a clamped network may be given besides; see [`roughsnn.clamp`][]."""

    history: SpikeTrain | None


class Clamped(eqx.Module):
    r"""What [`roughsnn.clamp`][] returns.

    Let $\Lambda$ be the hazard of a neuron integrated since its last spike (at the start: since
    t0), and $\alpha$ its refractoriness.

    **Attributes:**

    - `log_likelihood`: shape `(observed,)`: for each observed neuron the logarithm of the density
        of its spikes, given its own past and that of all others, the noise and the hidden spikes,
        and the spikes of a `history`.
        In units of one over time for each spike.
    - `hazards`: shape `(spikes,)`: $\Lambda$ just before each observed spike, in the order of the
        train; 0 for padding.
    - `quantiles`: shape `(spikes,)`: $1 - e^{\alpha - \Lambda}$, uniform if the model is right
        (behind a `history` given that there was none until t0; time rescaling,
        [`roughsnn.scores.rescaled_quantiles`][] for trials); NaN for padding.
    - `log_intensities`: shape `(spikes,)`: $\log\lambda$ just before each observed spike, as
        $\lambda$ is in a cell of the simulation, a parabola; -inf in a refractory time.
    - `last_hazards`: shape `(observed,)`: $\Lambda$ at t1.
    - `spikes`: the train of all neurons of the network, the hidden ones as simulated.
    - `states`, `result`: as in a [`roughsnn.Simulation`][].
    """

    log_likelihood: Float[Array, " observed"]
    hazards: Float[Array, " spikes"]
    quantiles: Float[Array, " spikes"]
    log_intensities: Float[Array, " spikes"]
    last_hazards: Float[Array, " observed"]
    spikes: SpikeTrain
    states: PyTree
    result: RESULTS


def clamp(
    network: SpikingNetwork,
    drive: Drive,
    train: SpikeTrain,
    window: Window,
    *,
    observed: Sequence[int] | None = None,
    key: RandomKey | None = None,
    max_spikes: int | None = None,
    engine: Lockstep | None = None,
    throw: bool = True,
    **given: Unpack[GivenBefore],
) -> Clamped:
    r"""Runs a network whose observed neurons spike when they did, and the density of that.

    An observed neuron does not fire by itself: at each of its spikes it is reset and acts on
    its targets. Given the past its next spike has the density $\lambda\,e^{-(\Lambda - \alpha)}$
    where $\Lambda > \alpha$, and none below, so its log-likelihood is
    (Daley & Vere-Jones, *An introduction to the theory of point processes*, Prop. 7.2.III)

    $$\sum_n \bigl[\log\lambda(v_{\tau_n-}) - (\Lambda_n - \alpha)\bigr] - (\Lambda_T - \alpha)_+,$$

    $-\infty$ if a spike is in a refractory part. With $\alpha = 0$ that is
    $\sum_n\log\lambda(v_{\tau_n-}) - \int_0^T\lambda\,dt$. Hidden neurons and noise are simulated,
    by the lockstep engine ([`roughsnn.simulate`][]). All of it is differentiable, in the
    spike times too; the error is of second order in `dt0`. The density is that of the simulation in
    these cells: $\lambda$ and $\Lambda$ are read as it reads them. So the mean of
    $\partial_\theta\log p$ over simulated trains is 0 at every `dt0`, with $\alpha = 0$ and
    where a neuron fires once in a cell and spikes arrive in later cells (a delay, a refractory
    time of `dt0` or more).

    **Arguments:**

    - `network`: of any neurons and synapses; it fires by random thresholds, an
        [`roughsnn.AbstractHazard`][] like [`roughsnn.StochasticFiring`][].
    - `drive`: as for [`roughsnn.simulate`][].
    - `train`: one train, of the observed neurons, on the window of the simulation; for a batch
        `jax.vmap` over it.
    - `window`: a [`roughsnn.Window`][], that of the train. Cells should be shorter than the
        intervals between spikes of a neuron: a second spike in a cell is exact only to first order.
    - `observed`: which neurons of the network those of the train are, in its order; by default all.
    - `key`: of the noise, of the hidden spikes and of initial states that are drawn, where there
        are any.
    - `max_spikes`: the capacity for spikes of all neurons together, needed if some are hidden.
    - `engine`: a [`roughsnn.Lockstep`][]; it records at the borders of cells only.
    - `throw`: as for [`roughsnn.simulate`][].
    - `given`: `initial` (its `"s"` is for hidden neurons), `noise` and `inputs`, as for
        [`roughsnn.simulate`][]; and `history`, the spikes of the observed neurons before the
        window, a train that ends where it begins. The network runs through them, and only what
        comes behind them counts: given them, and that a neuron has not fired since its last one. It
        begins where the history does: rows of the drive, `noise`, `inputs`, hidden neurons and
        recorded states do, too. By default nothing was before the window, and neurons are at rest
        or at `initial`.

    **Returns:** a [`roughsnn.Clamped`][].

    **Raises:** `TypeError` for hard thresholds; `ValueError` for a train that does not fit the
    network, a `history` that overlaps the window or is shorter than a delay, a missing `key` or
    `max_spikes`, and as [`roughsnn.simulate`][] in lockstep; a runtime error for bursts of more
    spikes than there are cells.
    """
    network = as_network(network)
    for n, p in enumerate(network.projections):
        if isinstance(p.plasticity, PairSTDP):
            raise TypeError(
                f"`projections[{n}]` learns, by a PairSTDP: a clamped network has to have weights "
                "that stay as they are."
            )
    for name, population in network.simulated.items():
        if population.hazard is None:
            raise TypeError(
                "Spikes have a density only with random thresholds: the firing of a clamped "
                "network must be a roughsnn.AbstractHazard like roughsnn.StochasticFiring, got "
                f"{type(population.firing).__name__} in {name!r}."
            )
    check_trains("train", train)
    train = train.complete()
    window, engine = as_window(window), Lockstep() if engine is None else engine
    _check_window(train, window, engine)
    room = train.times.shape[-1] if max_spikes is None else max_spikes
    inside, before, history = window, 0, given.pop("history", None)
    if history is not None:
        history = check_history(history, train, network)
        window, before = with_history(window, history)
        room += history.times.shape[-1] if max_spikes is None else 0
        history = history.local()
    placeholder = jr.key(0) if key is None else key
    if isinstance(given.get("initial"), FinalState):
        raise TypeError(
            "`initial` of a clamped network must be a dictionary of parts of the state: its "
            "hazards start with the window."
        )
    problem = pose(network, drive, window, key=placeholder, max_spikes=room, engine=engine, **given)
    index = _check_observed(train, observed, problem.neurons)
    free = len(index) < problem.neurons
    random = problem.noise is None and any(problem.channels)
    started = draws(given.get("initial"))
    if key is None and (random or free or started):
        what = "noise" if random else "hidden neurons" if free else "random initial states"
        raise ValueError(f"The network has {what}, which must be drawn: give a `key`.")
    if free and max_spikes is None:
        raise ValueError(
            f"Only {len(index)} of {problem.neurons} neurons are observed: give `max_spikes`, "
            "the capacity for the spikes of all of them."
        )
    check_lockstep(problem, engine, window)
    past = None if history is None else (history, before)
    clamped, failure = _clamp(problem, train.local(), engine, past, index=tuple(index.tolist()))
    clamped = failure.raised(clamped) if throw else clamped
    # On the clock of the train.
    spikes = clamped.spikes.in_frame(window)
    spikes = spikes if history is None else spikes.window(inside.t0, inside.t1)
    spikes = dataclasses.replace(spikes, bits=train.bits, populations=network.sizes)
    return dataclasses.replace(clamped, spikes=spikes)


def _check_window(train: SpikeTrain, window: Window, engine: Lockstep) -> None:
    if not isinstance(engine, Lockstep):
        raise TypeError(f"`engine` must be a roughsnn.Lockstep here, got {type(engine).__name__}.")
    if (train.t0, train.t1) != (window.t0, window.t1):
        raise ValueError(
            f"The train must be on the window [{window.t0}, {window.t1}], got "
            f"[{train.t0}, {train.t1}]. Cut it with SpikeTrain.window."
        )
    if window.stop_after is not None:
        raise ValueError("`stop_after` of the window goes with a simulation: leave it out.")
    if any(not isinstance(how, str) for how in jax.tree.leaves(engine.record)):
        raise ValueError(
            "`record` of a clamped network asks for 'cells', 'mean', 'max' or 'last', got times."
        )


@eqx.filter_jit
def _clamp(
    problem: Problem,
    train: SpikeTrain,
    engine: Lockstep,
    past: tuple[SpikeTrain, int] | None,
    *,
    index: tuple[int, ...],
) -> tuple[Clamped, Failure]:
    """What [`roughsnn.clamp`][] returns, compiled once for functions and shapes; `past` are the
    spikes before, and their number of cells."""
    wanted, places = train, None
    if past is not None:
        train, places = joined_trains(past[0], train)
    problem = problem.grouped()
    window, neurons, layout = problem.window, problem.neurons, problem.layout
    observed, room = np.array(index), problem.max_spikes
    y0, key = problem.start()
    dtype, cells, grid = problem.dtype, window.cells, problem.grid
    free, known = len(index) < neurons, np.isin(np.arange(neurons), observed)
    plan = Plan.of(engine.record, layout.members)
    is_known = jnp.asarray(known)
    of_groups = lambda x: tuple(group.of_network(x) for group in layout.groups)
    cell_map = cell_map_of(
        problem, key, plan, emit_s=past is not None, observed=of_groups(is_known), free=free
    )
    # Those with delays read what all neurons did.
    links = (*cell_map.upward, *cell_map.loops)
    silent = is_known[layout.indices]
    if free:
        hidden = tuple(_hidden_rows(link, silent) for link in links)
        number = len(cell_map.upward)
        upward, loops = hidden[:number], hidden[number:]
    else:
        upward, loops = (), ()
    cell_map = dataclasses.replace(cell_map, upward=upward, loops=loops)
    groups = tuple(
        dataclasses.replace(y, s=None if y.s is None else jnp.where(own, 0, y.s))
        for own, y in zip(of_groups(is_known), y0.groups, strict=True)
    )
    y0 = y0.with_groups(groups)
    outside = problem.outside | delays_outside(cell_map)
    carry = cell_map.start(y0, layout.split(problem.counts), outside, Past())
    feed = Feed.of(problem, problem.arriving(y0), cell_map)
    inputs = feed.cells(0, cells, feed.given())

    marks = jnp.where(train.marks >= 0, jnp.asarray(observed, jnp.int32)[train.marks], -1)
    begin = jnp.append(inputs.begin, jnp.full(LATE, grid.t1, dtype))
    cell, given, burst = _given(train, marks, begin, grid, (cells + LATE, neurons))
    arrivals = tuple(dict(own) for own in inputs.arrivals)
    # By the places of the neurons, group after group.
    place = jnp.where(marks >= 0, jnp.asarray(np.argsort(layout.indices))[marks], -1)
    in_layout = dataclasses.replace(train, marks=place.astype(jnp.int32), num_neurons=neurons)
    for link in links:
        start = y0.plastic.get(link.name)
        start = start if isinstance(start, Plastic) else None
        came = Arriving.of(link, in_layout, start)
        add_to(arrivals[link.group], link.port, came.moments(grid, inputs.length))
    given = of_groups(given)
    inputs = dataclasses.replace(inputs, arrivals=arrivals, given=tuple(x[:cells] for x in given))

    final, emitted = run_cells(cell_map, carry, inputs, adjoint=engine.adjoint, room=room)
    late = jnp.asarray(LATE * grid.dt0, dtype)
    clock = grid.clock.start(grid.cells, dtype)
    final, last = cell_map.finish(final, late, clock, tuple(x[cells:] for x in given))
    states = plan.states(cell_map, inputs, emitted, final, feed)
    emitted = jax.tree.map(lambda x, y: jnp.concatenate([x, y]), emitted, last)
    total = jnp.sum(jnp.isfinite(emitted.offsets), dtype=jnp.int32)
    spikes = train_of(begin[:, None] + emitted.offsets, room, total, grid, layout.indices)
    result = RESULTS.where(burst, RESULTS.crowded_cell, result_of(final, total, room, None))
    spikes = marked(spikes, result)
    where = cell, jnp.maximum(place, 0)
    at = SpikeCells(
        *where,
        offset=jnp.where(marks >= 0, emitted.offsets[where], 0),
        length=jnp.pad(inputs.length, (0, LATE))[cell],
        clock=jnp.append(inputs.clock, jnp.full(LATE, clock))[cell],
    )
    density = densities(layout, emitted.approach, at, grid.dt0)
    hazards, log_intensities = (jnp.where(marks >= 0, x, 0) for x in density)
    join = lambda xs: layout.numbered(jnp.concatenate(xs))[observed]
    last = join([one.y.s for one in final.groups])
    alpha = join([_alpha(group, dtype) for group in layout.groups])
    survived = None
    if past is not None:
        assert emitted.s is not None and places is not None
        begun = layout.numbered(emitted.s[past[1] - 1])[observed] - alpha
        survived = survived_by(begun, train, cell, past[0].count, past[1])
        hazards, log_intensities, marks = (x[places] for x in (hazards, log_intensities, marks))
    train = wanted
    excess = hazards - alpha[jnp.maximum(train.marks, 0)]
    clamped = Clamped(
        log_likelihood=log_likelihood_of(train, excess, log_intensities, last - alpha, survived),
        hazards=hazards,
        quantiles=quantiles_of(train, excess, survived),
        log_intensities=log_intensities,
        last_hazards=last,
        spikes=spikes,
        states=states,
        result=result,
    )
    counts = jnp.concatenate([one.counts for one in final.groups])
    base = failure_of(result, room, total, counts, cells)
    message = (
        f"A neuron of the train has so many spikes in a few cells that the last one is {LATE} "
        "cells late: choose a smaller `dt0`, or remove spikes that are there twice."
    )
    number = jnp.where(burst, len(base.messages), base.index)
    return clamped, Failure(number, (*base.messages, message))


def _check_observed(train: SpikeTrain, observed, neurons: int) -> np.ndarray:
    """The number in the network of each neuron of the train."""
    observed_ = np.arange(neurons) if observed is None else observed
    index = as_integers("observed", observed_, "a list of integers, at least one")
    if len(index) == 0:
        raise ValueError("`observed` must name at least one neuron.")
    if len(index) != train.num_neurons:
        hint = " Name the ones that it holds by `observed`." if observed is None else ""
        raise ValueError(
            f"The train has {train.num_neurons} neurons, but {len(index)} of the network's "
            f"{neurons} are observed.{hint}"
        )
    if len(set(index.tolist())) < len(index) or index.min() < 0 or index.max() >= neurons:
        raise ValueError(
            f"`observed` must be different numbers in 0 ... {neurons - 1}, got {observed!r}."
        )
    return index


def _hidden_rows(link: Link, silent: Bool[Array, " neurons"]) -> Link:
    """The synapses without those of observed neurons."""
    mask, weights = link.of_rows(silent)[:, None], link.weights
    if isinstance(weights, SparseWeights):
        values = jnp.where(mask, 0, weights.values)
        return eqx.tree_at(lambda one: one.weights.values, link, values)
    return eqx.tree_at(lambda one: one.weights, link, jnp.where(mask, 0, weights))


def _alpha(group: Group, dtype: Any) -> Float[Array, " neurons"]:
    assert group.hazard is not None
    return jnp.broadcast_to(group.hazard.alpha, (group.size,)).astype(dtype)


def _given(
    train: SpikeTrain, marks: Array, begin: Float[Array, " cells"], grid: Grid, shape
) -> tuple[Int[Array, " spikes"], Float[Array, "cells neurons"], Bool[Array, ""]]:
    """The cell that each spike gets, the times since the starts of the cells, inf elsewhere, and
    whether one gets a cell that is too late.

    The next free one: what the n-th spike of a neuron needs is n + max(cell of the k-th - k), over
    the spikes k up to n.
    """
    wanted, _ = in_cells(train, grid, begin[: grid.cells])
    order = jnp.argsort(marks, stable=True)
    number = jnp.arange(marks.shape[0], dtype=jnp.int32)

    def latest(a, b):
        return b[0], jnp.where(a[0] == b[0], jnp.maximum(a[1], b[1]), b[1])

    _, shift = jax.lax.associative_scan(latest, (marks[order], wanted[order] - number))
    cell = jnp.zeros_like(number).at[order].set(number + shift)
    cell = jnp.where(marks >= 0, cell, 0)
    burst = jnp.any(cell - wanted > LATE)
    offset = train.times.astype(begin.dtype) - begin[cell]
    # Not behind the cell, by rounding.
    offset = at_most(offset, jnp.append(jnp.diff(begin), 0.0)[cell])
    column = jnp.where(marks >= 0, marks, shape[1])
    empty = jnp.full(shape, jnp.inf, offset.dtype)
    return cell, empty.at[cell, column].set(offset, mode="drop"), burst
