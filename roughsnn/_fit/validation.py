"""When a fit stops early, and which of its models is the best."""

import equinox as eqx
from jaxtyping import PyTree

from .._misc import check_positive_int


class Validation(eqx.Module):
    """Data that a fit is not trained on, by which its best model is chosen.

    After every so many updates the loss of [`roughsnn.fit`][] is evaluated on `data`, each time
    with the same key, so that it differs only where the model does. The fit returns the model with
    the lowest value, and may stop where it no longer falls. A value that is not finite is no
    improvement.

    **Arguments:**

    - `data`: all of it is passed to the losses, also where the fit is in batches.
    - `every`: updates from one evaluation to the next.
    - `patience`: stop after so many evaluations in a row without a new lowest value; by default
        never.

    **Raises:** `ValueError` if `every` or `patience` is not a positive integer.
    """

    data: PyTree
    every: int
    patience: int | None

    def __init__(self, data: PyTree, *, every: int = 10, patience: int | None = None):
        self.data = data
        self.every = check_positive_int("every", every)
        self.patience = None if patience is None else check_positive_int("patience", patience)
