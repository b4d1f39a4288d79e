"""What a solve returns."""

import dataclasses
from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from .._misc import as_array
from .._origin import origin_bits
from .._path.cadlag import CadlagPath
from .._results import RESULTS
from .._train.boundary import Boundary
from .._train.spike_train import SpikeTrain
from .._types import RealScalar, State
from .._window import Window
from .dense import DenseSolution


class Solution(eqx.Module):
    """The solution of an event SDE.

    **Attributes:**

    - `event_times`: shape `(max_events,)`, increasing, padded with inf.
    - `event_marks`: shape `(max_events,)`, the coordinate that fired, padded with -1.
    - `event_count`: scalar, how many events are stored.
    - `ts`, `ys`: as asked for by `saveat`, else `None`; see [`roughsnn.eventsolve`][].
    - `y1`: the state at the end of the solve.
    - `result`: a [`roughsnn.RESULTS`][]; `sol.result == roughsnn.RESULTS.successful`.
    - `conditions`: whether gradients through it are exact: `"hold"` if the conditions of
        [`roughsnn.check_event`][] were checked or hold by construction, `"unchecked"` if the
        model's values were traced, `"waived"` if the check was switched off.
    - `dense`: what `evaluate` reads, with `SaveAt(dense=True)`, else `None`.
    - `window`: the [`roughsnn.Window`][] of the solve.
    - `num_coordinates`: how many the event function has.
    """

    event_times: Float[Array, " events"]
    event_marks: Int[Array, " events"]
    event_count: Int[Array, ""]
    ts: PyTree
    ys: PyTree
    y1: State
    result: RESULTS
    conditions: Literal["hold", "unchecked", "waived"] = eqx.field(static=True)
    window: Window
    num_coordinates: int = eqx.field(static=True)
    dense: DenseSolution | None = None

    def evaluate(self, t: RealScalar, left: bool = True) -> State:
        """The state at `t`, by the solver's dense output: its left limit, unless `left=False`.

        For solves with `SaveAt(dense=True)`; nan outside of the solve. Differentiable in `t` too.

        **Raises:** `ValueError` for solves without it.
        """
        if self.dense is None:
            raise ValueError(
                "There is no dense output: solve with EventByEvent(saveat=SaveAt(dense=True))."
            )
        return self.dense.evaluate(t, left)

    def shifted(self, window: Window) -> "Solution":
        """The same with times that were counted from the start of `window` counted as it does."""
        t0 = window.t0
        dense = None if self.dense is None else dataclasses.replace(self.dense, t0=t0)
        ts = None if self.ts is None else self.ts + t0
        times = self.event_times + t0
        return dataclasses.replace(self, event_times=times, ts=ts, dense=dense, window=window)

    def spike_train(
        self,
        hidden: Callable[[State], Float[Array, " coordinates"]] | None = None,
        *,
        at_risk: Callable[[State], Bool[Array, " coordinates"]] | None = None,
    ) -> SpikeTrain:
        r"""The events as the spikes of as many neurons as there are coordinates, for losses, scores
        and plots.

        Losses that jump where a spike leaves the window, such as [`roughsnn.losses.counts`][], need
        to know how near each coordinate is to its next event: where events come at random
        thresholds, the event function itself, $s = \int\lambda\,dt - \Theta$ with $\Theta$
        exponential (plus a refractory part $\alpha$), as a function of the state.

        **Arguments:**

        - `hidden`: $s$ of all coordinates as a function of the state, e.g. `lambda y: y["s"]`. All
            thresholds must be random, the first ones too. By default those losses refuse the train.
        - `at_risk`: with `hidden`: whether an event is possible in a state, that is whether
            $\int\lambda\,dt > \alpha$; by default always, which is right for $\alpha = 0$.

        **Returns:** a [`roughsnn.SpikeTrain`][] on the window of the solve; coordinates that are no
        neurons are left out by its `only`. A solve that failed has spikes missing (`overflow`).

        **Raises:** `ValueError` for functions that do not return one number for each coordinate,
        and with `hidden` for `edges` of the window at which no states were saved
        (`EventByEvent(saveat=SaveAt(ts=edges))`).
        """
        window, count = self.window, self.event_count
        boundary = None
        if hidden is not None:
            boundary = self._boundary(hidden, at_risk)
        elif at_risk is not None:
            raise ValueError("`at_risk` goes with `hidden`: give both, or neither.")
        return SpikeTrain(
            times=self.event_times,
            marks=self.event_marks,
            count=count,
            overflow=self.result != RESULTS.successful,
            t0=window.t0,
            t1=window.t1,
            num_neurons=self.num_coordinates,
            boundary=boundary,
            bits=as_array(origin_bits(window.origin), jnp.uint32),
        )

    def _boundary(self, hidden: Callable, at_risk: Callable | None) -> Boundary:
        window, states = self.window, jax.tree.map(lambda x: x[None], self.y1)
        if window.edges:
            if not isinstance(self.ts, jax.Array) or self.ts.shape != (len(window.edges),):
                raise ValueError(
                    "`hidden` is needed at the edges of the window too: solve with "
                    "EventByEvent(saveat=SaveAt(ts=edges))."
                )
            states = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), self.ys, states)
        excess = self._each("hidden", hidden, states)
        risk = jnp.ones(excess.shape, bool)
        if at_risk is not None:
            risk = self._each("at_risk", at_risk, states)
        boundary = Boundary(excess, risk, (*window.edges, window.t1)).where(jnp.isfinite(excess))
        if window.stop_after is None:
            return boundary
        # A solve that was ended never got there.
        return boundary.where(self.event_count < window.stop_after)

    def _each(self, name: str, fn: Callable, states: State) -> Array:
        found = jax.vmap(fn)(states)
        wanted = (len(self.window.edges) + 1, self.num_coordinates)
        if jnp.shape(found) != wanted:
            raise ValueError(
                f"`{name}` must return one number for each of the {self.num_coordinates} "
                f"coordinates, got shape {jnp.shape(found)[1:]}."
            )
        return found

    def path(self) -> CadlagPath:
        """What was saved as a càdlàg path, both limits at each stop with `SaveAt(steps=True)`.

        **Raises:** `ValueError` if no states were saved.
        """
        if self.ts is None:
            raise ValueError(
                "No states were saved: solve with EventByEvent(saveat=SaveAt(steps=True))."
            )
        return CadlagPath(self.ts, self.ys)
