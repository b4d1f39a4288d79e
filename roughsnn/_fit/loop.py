"""What a fit does beside its steps: progress, callbacks, checkpoints."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from jaxtyping import PyTree

from .._check import check_flag, check_function
from .._misc import described
from .checkpoint import Checkpoint


@dataclasses.dataclass(frozen=True)
class Loop:
    """What [`roughsnn.fit`][] does beside its steps.

    **Arguments:**

    - `callback`: `callback(step, model, metrics)` after each step, with the metrics as floats;
        ends the fit by returning `True`. With a callback the fit waits for the device at each
        step, without one only about every quarter of a second.
    - `checkpoint`: a [`roughsnn.Checkpoint`][]: go on from there if there is one, and write one
        every so many steps.
    - `progress`: show a progress bar; by default if the output is a terminal. It says when the fit
        compiles.
    - `check_step`: compare the loss with what it is in cells of half the length, before the first
        step and after the last one, and warn if it depends on `dt0`; see
        [`roughsnn.testing.check_step`][]. Costs two programs without gradients, each called eight
        times; nothing if the losses simulate nothing.

    **Raises:** `TypeError` for a callback that is not callable, another checkpoint, or switches
    that are none.
    """

    callback: Callable[[int, PyTree, Mapping[str, float]], Any] | None = None
    checkpoint: Checkpoint | None = None
    progress: bool | None = None
    check_step: bool = True

    def __post_init__(self):
        if self.callback is not None:
            check_function("callback", self.callback, "callback(step, model, metrics)")
        if self.checkpoint is not None and not isinstance(self.checkpoint, Checkpoint):
            raise TypeError(
                f"`checkpoint` must be a roughsnn.Checkpoint, got {described(self.checkpoint)}. "
                "For a folder: rs.Checkpoint(folder)."
            )
        for name, value in (("progress", self.progress), ("check_step", self.check_step)):
            if value is not None or name == "check_step":
                check_flag(name, value)
