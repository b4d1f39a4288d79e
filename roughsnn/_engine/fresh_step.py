"""What the steps of networks have in common."""

from typing import ClassVar

import diffrax as dfx


class AbstractFreshStep(dfx.AbstractSolver):
    """A solver that starts afresh at each step, of order two unless it says otherwise."""

    term_structure: ClassVar = dfx.AbstractTerm

    def order(self, terms) -> int | None:
        """Two."""
        del terms
        return 2

    def init(self, terms, t0, t1, y0, args):
        """No state."""
        del terms, t0, t1, y0, args

    def func(self, terms, t0, y0, args):
        """The vector field."""
        return terms.vf(t0, y0, args)
