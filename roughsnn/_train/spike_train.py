"""Spike trains: padded arrays of times and marks on a window."""

import dataclasses
import operator
from collections.abc import Iterable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32

from .._check import as_tuple, check_kind
from .._misc import (
    as_array,
    as_numbers,
    check_positive_int,
    check_window,
    described,
    is_concrete,
    one_hot,
    static_float,
)
from .._origin import origin_bits, origin_of
from .._types import IntScalar, RealScalar
from .._window import Window, as_window
from .borders import before
from .boundary import Boundary
from .lists import flattened
from .marks import count_by_mark, find_first
from .neurons import Sizes, check_neurons, check_sizes, groups_of, numbers_of


class SpikeTrain(eqx.Module):
    """The spikes of several neurons on a window, in time order, padded to a fixed length.

    All methods work on one train; `jax.vmap` them over a batch, a train whose arrays have
    a leading samples axis. Make trains from lists with [`roughsnn.SpikeTrain.from_lists`][].

    Times are counted from `origin`, and the window is half-open, $[t_0, t_1)$, where a train is
    cut: a spike on the border of two windows belongs to the later one. Only where recording
    itself ends, at t1, a spike is in.

    **Arguments:**

    - `times`: shape `(spikes,)`, increasing, padded with inf.
    - `marks`: shape `(spikes,)`, the neuron of each spike, padded with -1.
    - `count`: scalar, how many spikes there are.
    - `overflow`: scalar, true if spikes are missing: there was no room for them, or a simulation
        with `throw=False` failed. The losses refuse such trains.
    - `t0`, `t1`: the window; concrete numbers.
    - `num_neurons`: the number of neurons.
    - `boundary`: for a simulated train a [`roughsnn.Boundary`][], which
        [`roughsnn.losses.with_boundary`][] needs; else `None`.
    - `bits`: the origin, a float64 on the clock of the recording, as two words for each sample;
        by default 0. Read it as `origin`.
    - `populations`: names and sizes, `(("exc", 80), ("inh", 20))`, in the order in which neurons
        are numbered; a simulated train has those of its network. `train["exc"]` is the train of a
        population.
    """

    times: Float[Array, "*samples spikes"]
    marks: Int[Array, "*samples spikes"]
    count: Int[Array, "*samples"]
    overflow: Bool[Array, "*samples"]
    t0: float = eqx.field(static=True)
    t1: float = eqx.field(static=True)
    num_neurons: int = eqx.field(static=True)
    boundary: Boundary | None
    bits: UInt32[Array, "*samples 2"]
    populations: Sizes = eqx.field(static=True, default=())

    def __init__(
        self,
        times: Float[Array, "*samples spikes"],
        marks: Int[Array, "*samples spikes"],
        count: Int[Array, "*samples"],
        overflow: Bool[Array, "*samples"],
        t0: float,
        t1: float,
        num_neurons: int,
        boundary: Boundary | None = None,
        bits: UInt32[Array, "*samples 2"] | None = None,
        populations: Sizes = (),
    ):
        self.times, self.marks, self.count, self.overflow = times, marks, count, overflow
        self.t0, self.t1, self.num_neurons, self.boundary = t0, t1, num_neurons, boundary
        self.bits = jnp.zeros((*jnp.shape(count), 2), jnp.uint32) if bits is None else bits
        self.populations = check_sizes(populations, num_neurons)

    def __getitem__(self, name: str) -> "SpikeTrain":
        """The train of the neurons of a population, numbered from 0 on, with as much room as there
        is now; of a batch, too. Raises `KeyError` for a name that is none."""
        index = numbers_of(name, self.populations, self.num_neurons)
        part = lambda train: train.only(index)
        for _ in range(self.times.ndim - 1):
            part = jax.vmap(part)
        return part(self)

    @property
    def origin(self) -> np.ndarray:
        """Where time 0 lies on the clock of the recording, a float64 for each sample.

        `TypeError` inside of `jit`, `vmap` and `grad`, where float64 may not exist.
        """
        return origin_of(self.bits)

    @classmethod
    def from_lists(
        cls,
        times: Sequence[Sequence[float] | np.ndarray],
        *,
        t0: RealScalar,
        t1: RealScalar,
        max_spikes: int | None = None,
        origin: RealScalar = 0.0,
    ) -> "SpikeTrain":
        """A train from one list of spike times for each neuron.

        **Arguments:**

        - `times`: for each neuron its spike times, increasing, in [t0, t1], counted from `origin`.
        - `t0`, `t1`: the window, counted from `origin`.
        - `max_spikes`: the room; by default as many as there are spikes (at least one).
        - `origin`: where time 0 lies on the clock of the recording.

        **Raises:** `ValueError` for times that are unordered, outside of the window or not
        finite, if `max_spikes` is too small, and for spikes of a neuron that JAX's default dtype
        cannot tell apart.
        """
        t0, t1, _ = check_window(t0, t1, 1.0, "dt")
        dtype = jnp.result_type(float)
        flat = flattened(times, t0, t1, max_spikes, dtype)
        return cls(
            times=jnp.asarray(flat.times, dtype),
            marks=jnp.asarray(flat.marks, jnp.int32),
            count=jnp.asarray(flat.total, jnp.int32),
            overflow=jnp.array(False),
            t0=t0,
            t1=t1,
            num_neurons=flat.neurons,
            bits=jnp.asarray(origin_bits(static_float("origin", origin))),
        )

    @classmethod
    def stack(cls, trains: Iterable["SpikeTrain"]) -> "SpikeTrain":
        """A batch from single trains of the same window and neurons, padded alike; with the names
        of populations on which all of them agree."""
        trains = as_tuple("trains", trains, "spike trains")
        if not trains:
            raise ValueError("`trains` must hold at least one train.")
        for n, train in enumerate(trains):
            check_kind(f"trains[{n}]", train, SpikeTrain, "a roughsnn.SpikeTrain")
        kinds = {(t.t0, t.t1, t.num_neurons) for t in trains}
        if len(kinds) > 1:
            raise ValueError(f"The trains must share t0, t1 and num_neurons, got {sorted(kinds)}.")
        room = max(t.times.shape[-1] for t in trains)
        shared = len({t.populations for t in trains}) == 1
        populations = trains[0].populations if shared else ()
        padded = [dataclasses.replace(t.with_room(room), populations=populations) for t in trains]
        return jax.tree.map(lambda *x: jnp.stack(x), *padded)

    def to_lists(self) -> list:
        """For each neuron a NumPy array of its spike times, counted from `origin`; a list of those
        for a batch."""
        times, marks = np.asarray(self.times), np.asarray(self.marks)
        if times.ndim > 1:
            samples = [jax.tree.map(operator.itemgetter(b), self) for b in range(len(times))]
            return [sample.to_lists() for sample in samples]
        return [times[marks == n] for n in range(self.num_neurons)]

    def in_frame(self, window: Window) -> "SpikeTrain":
        """The train of a window that was counted from its start, counted as the window says."""
        window = as_window(window)
        times = self.times + window.t0
        # A spike of the last cell is not brought beyond the end by rounding.
        beyond = jax.lax.stop_gradient(times) - jnp.asarray(window.t1, times.dtype)
        beyond = jnp.where((beyond > 0) & (self.marks >= 0), beyond, 0)
        times = times - beyond
        boundary = self.boundary
        if boundary is not None:
            boundary = dataclasses.replace(boundary, ts=(*window.edges, window.t1))
        bits = as_array(origin_bits(window.origin), jnp.uint32)
        return dataclasses.replace(
            self, times=times, t0=window.t0, t1=window.t1, boundary=boundary, bits=bits
        )

    def local(self) -> "SpikeTrain":
        """The same spikes counted from the start of the window, without boundary, origin and names
        of populations."""
        held = _not_before(self, self.t0)
        return SpikeTrain(
            held.times - self.t0,
            self.marks,
            self.count,
            self.overflow,
            0.0,
            self.t1 - self.t0,
            self.num_neurons,
        )

    def with_room(self, max_spikes: int) -> "SpikeTrain":
        """The same train with room for `max_spikes` spikes, at least as many as now."""
        extra = check_positive_int("max_spikes", max_spikes) - self.times.shape[-1]
        if extra < 0:
            raise ValueError(
                f"`max_spikes` must be at least the present room, {self.times.shape[-1]}, "
                f"got {max_spikes}."
            )
        width = [(0, 0)] * (self.times.ndim - 1) + [(0, extra)]
        times = jnp.pad(self.times, width, constant_values=jnp.inf)
        marks = jnp.pad(self.marks, width, constant_values=-1)
        return eqx.tree_at(lambda s: (s.times, s.marks), self, (times, marks))

    def counts(self) -> Int[Array, " neurons"]:
        """The number of spikes of each neuron."""
        return count_by_mark(self.marks, self.num_neurons)

    def window(self, a: RealScalar, b: RealScalar) -> "SpikeTrain":
        """The spikes in [a, b), as a train on that window.

        A spike that is a rounding away from a border lies on it. `b = t1` includes a spike at t1.
        Raises `ValueError` unless t0 <= a < b <= t1.
        """
        a, b, _ = check_window(a, b, 1.0, "dt")
        if a < self.t0 or b > self.t1:
            raise ValueError(
                f"The window [{a}, {b}] must lie inside of [t0, t1] = [{self.t0}, {self.t1}]."
            )
        inside = ~before(self.times, a) & (before(self.times, b) | (b == self.t1))
        inside = inside & (self.marks >= 0)
        # What a rounding is before the border is on it.
        return _not_before(self, a)._select(inside, a, b)

    def first(self, n: int) -> "SpikeTrain":
        """The train of its first `n` spikes (of all neurons), on purpose; no overflow.

        Of a train that was cut off after at least `n` spikes these are known, so it may be
        used where the whole train may not.
        """
        n = check_positive_int("n", n)
        train = self.with_room(max(n, self.times.shape[-1]))
        count = jnp.minimum(self.count, n)
        overflow = self.overflow & (self.count < n)
        return dataclasses.replace(
            train,
            times=train.times[..., :n],
            marks=train.marks[..., :n],
            count=count,
            overflow=overflow,
            boundary=None,
        )

    def only(
        self, neurons: Sequence[int] | Int[Array, " n"], max_spikes: int | None = None
    ) -> "SpikeTrain":
        """The train of some neurons, in the order given: of those that were observed, say.

        It has room for `max_spikes` spikes, by default as much as now; where that does not hold
        them, the train overflows. `neurons` may be traced (a random subset in each step of a
        fit); unless it is, they must be different numbers of neurons of the train.
        """
        index = check_neurons(neurons, self.num_neurons)
        size, room = index.shape[0], self.times.shape[-1]
        if max_spikes is not None:
            room = check_positive_int("max_spikes", max_spikes)
        number = jnp.full(self.num_neurons, -1, jnp.int32)
        number = number.at[index].set(jnp.arange(size, dtype=jnp.int32))
        marks = jnp.where(self.marks >= 0, number[self.marks], -1)
        boundary = None if self.boundary is None else self.boundary.only(index)
        part = dataclasses.replace(
            self, marks=marks, num_neurons=size, boundary=boundary, populations=()
        )
        part = part._select(marks >= 0, self.t0, self.t1)
        if room >= part.times.shape[-1]:
            return part.with_room(room)
        return dataclasses.replace(
            part,
            times=part.times[:room],
            marks=part.marks[:room],
            count=jnp.minimum(part.count, room),
            overflow=part.overflow | (part.count > room),
        )

    def merged(self, groups: Sequence[int] | np.ndarray | None = None) -> "SpikeTrain":
        """The spikes of each group of neurons as those of one: multi-unit activity.

        `groups` holds the number of the group of each neuron, from 0 on; by default each population
        is a group, and gives it its name.
        """
        index, populations = groups_of(groups, self.populations, self.num_neurons)
        group, number = jnp.asarray(index), int(index.max()) + 1
        marks = jnp.where(self.marks >= 0, group[self.marks], -1)
        boundary = None if self.boundary is None else self.boundary.merged(index, number)
        return dataclasses.replace(
            self, marks=marks, num_neurons=number, boundary=boundary, populations=populations
        )

    def with_spike(self, neuron: IntScalar) -> "SpikeTrain":
        """The train with one more spike of `neuron`, at t1, and room for it."""
        number = as_numbers("neuron", neuron)
        if number.shape != () or not jnp.issubdtype(number.dtype, jnp.integer):
            raise ValueError(f"`neuron` must be an integer, got {described(neuron)}.")
        if is_concrete(number) and not 0 <= int(number) < self.num_neurons:
            raise ValueError(
                f"`neuron` must be in 0 ... {self.num_neurons - 1}, got {int(number)}."
            )
        train = self.with_room(self.times.shape[-1] + 1)
        here = one_hot(self.count, train.times.shape[-1])
        return dataclasses.replace(
            train,
            times=jnp.where(here, jnp.asarray(self.t1, self.times.dtype), train.times),
            marks=jnp.where(here, number.astype(jnp.int32), train.marks),
            count=self.count + 1,
        )

    def ties(self) -> Int[Array, ""]:
        """How many spikes are at the time of the one before, to within a rounding or two.

        In a simulation with hard thresholds neurons may reach them together; all of them fire then,
        and only then act on one another. There a spike time has no derivative in what tells the
        neurons apart.
        """
        self._check_single()
        rounding = 4 * float(jnp.finfo(self.times.dtype).eps)
        near = jnp.diff(self.times) <= rounding * jnp.abs(self.times[1:])
        return jnp.sum(near & (self.marks[1:] >= 0), dtype=jnp.int32)

    def per_neuron(self, n: int) -> Float[Array, "neurons {n}"]:
        """The first `n` spike times of each neuron, shape `(neurons, n)`, inf-padded."""
        self._check_single()
        n = check_positive_int("n", n)
        own = jnp.arange(self.num_neurons, dtype=self.marks.dtype)[:, None] == self.marks[None]
        index, there = find_first(own, n)
        return jnp.where(there, self.times[index], jnp.inf)

    def _select(self, keep: Bool[Array, " spikes"], t0: float, t1: float) -> "SpikeTrain":
        self._check_single()
        index, there = find_first(keep, keep.shape[0])
        return dataclasses.replace(
            self,
            times=jnp.where(there, self.times[index], jnp.inf),
            marks=jnp.where(there, self.marks[index], -1),
            count=jnp.sum(keep).astype(self.count.dtype),
            t0=t0,
            t1=t1,
            boundary=None if self.boundary is None else self.boundary.until(t1),
        )

    def _check_single(self) -> None:
        if self.times.ndim != 1:
            raise ValueError(
                f"This is for one train, got a batch of shape {self.times.shape}: use jax.vmap."
            )

    def equals(self, other: "SpikeTrain") -> Bool[Array, ""]:
        """Whether both hold the same spikes on the same window, whatever their padding."""
        same_kind = (self.t0, self.t1, self.num_neurons) == (other.t0, other.t1, other.num_neurons)
        if not same_kind:
            return jnp.array(False)
        room = max(self.times.shape[-1], other.times.shape[-1])
        a, b = self.with_room(room), other.with_room(room)
        same = jnp.all(a.times == b.times) & jnp.all(a.marks == b.marks)
        same = same & jnp.all(a.bits == b.bits)
        return same & jnp.all(a.count == b.count) & jnp.all(a.overflow == b.overflow)

    def complete(self) -> "SpikeTrain":
        """The train, once it is known that no spike is missing; raises if one is.

        What a loss calls first: a train that was cut off silently would bias it.
        """
        message = (
            "A spike train has spikes missing: it had no room for them, or its simulation failed "
            "(`overflow`). Raise `max_spikes`, take the first n spikes on purpose with "
            "`.first(n)`, or simulate with `throw=True` to see what is wrong."
        )
        if is_concrete(self.overflow):
            if bool(np.any(np.asarray(self.overflow))):
                raise ValueError(message)
            return self
        return eqx.error_if(self, jnp.any(self.overflow), message)


def _not_before(train: SpikeTrain, t0: float) -> SpikeTrain:
    """The train with times of at least t0."""
    times = train.times
    short = jnp.asarray(t0, times.dtype) - jax.lax.stop_gradient(times)
    return dataclasses.replace(train, times=times + jnp.where(short > 0, short, 0))
