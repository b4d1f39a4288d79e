"""What a gradient check found: a table, a picture, an exception."""

import dataclasses
from typing import Any, Literal

import numpy as np

# agrees: automatic differentiation and the reference are the same to the tolerance.
# kink: the differences do not settle as their step shrinks: something jumps inside them.
# disagrees: the reference is settled, and elsewhere.
# diverges: the derivative grows without bound as dt -> 0.
# unresolved: rounding or too few samples leave nothing to compare with.
Verdict = Literal["agrees", "kink", "disagrees", "diverges", "unresolved"]

_GOOD: tuple[Verdict, ...] = ("agrees",)
_BAD: tuple[Verdict, ...] = ("disagrees", "diverges")


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One line of the table: one leaf of the output under one check."""

    check: str
    output: str
    dt: float | None
    verdict: Verdict
    # How many numbers were compared, and how many of them had each verdict.
    compared: int
    derivative: float
    reference: float
    error: float
    tolerance: float
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Curve:
    """The error of the differences against their step, for one output and dt."""

    output: str
    dt: float | None
    steps: np.ndarray
    error: np.ndarray
    rounding: np.ndarray


@dataclasses.dataclass(frozen=True)
class GradientReport:
    """The result of [`roughsnn.testing.check_gradients`][]; prints as a table.

    **Attributes:**

    - `comparisons`: one for each output leaf, check and dt.
    - `curves`: the errors of the differences on the same noise against their step.
    """

    comparisons: tuple[Comparison, ...]
    curves: tuple[Curve, ...]

    @property
    def passed(self) -> bool:
        """Whether every check agreed, and something was compared in each."""
        return bool(self.comparisons) and all(c.verdict in _GOOD for c in self.comparisons)

    @property
    def verdict(self) -> Verdict:
        """The gravest verdict of all."""
        order: tuple[Verdict, ...] = ("diverges", "disagrees", "unresolved", "kink", "agrees")
        found = {c.verdict for c in self.comparisons}
        for verdict in order:
            if verdict in found:
                return verdict
        return "unresolved"

    def raise_if_failed(self) -> None:
        """`AssertionError` with the table, unless every check agreed."""
        if not self.passed:
            raise AssertionError(f"The gradient check did not pass: {self.verdict}.\n{self}")

    def __str__(self) -> str:
        head = ("check", "output", "dt", "derivative", "reference", "error", "allowed", "verdict")
        rows = [
            (
                c.check,
                c.output,
                "" if c.dt is None else f"{c.dt:g}",
                f"{c.derivative:.5g}",
                f"{c.reference:.5g}",
                f"{c.error:.2g}",
                f"{c.tolerance:.2g}",
                c.verdict + (f" ({c.note})" if c.note else ""),
            )
            for c in self.comparisons
        ]
        widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
        line = lambda row: "  ".join(x.ljust(w) for x, w in zip(row, widths, strict=True)).rstrip()
        return "\n".join([line(head), line(tuple("-" * w for w in widths)), *map(line, rows)])

    def plot(self, ax: Any = None) -> Any:
        """Draws the error of the differences against their step; returns the axes.

        A right derivative falls along the square of the step down to the rounding (grey).
        Needs matplotlib.
        """
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots(figsize=(5.5, 4), layout="constrained")
        for n, curve in enumerate(self.curves):
            label = curve.output + ("" if curve.dt is None else f", dt = {curve.dt:g}")
            ax.loglog(curve.steps, np.maximum(curve.error, 1e-17), "o-", ms=4, label=label)
            bound = "rounding allowed for" if n == 0 else None
            ax.loglog(curve.steps, curve.rounding, "--", color="0.6", lw=1, label=bound)
        ax.set_xlabel("step of the difference")
        ax.set_ylabel("|difference − derivative|, relative")
        ax.set_title(f"gradient check: {self.verdict}")
        ax.legend(fontsize=8)
        return ax


def nothing(check: str, name: str, dt: float | None) -> Comparison:
    """A line that compared nothing."""
    nan = float("nan")
    return Comparison(check, name, dt, "unresolved", 0, nan, nan, nan, nan, "nothing finite")


def combine(verdicts: np.ndarray) -> tuple[Verdict, str]:
    """One verdict for many numbers, and how often it was another one.

    One number that disagrees condemns; kinks are forgiven where most numbers agree.
    """
    total = len(verdicts)
    count = {v: int(np.sum(verdicts == v)) for v in np.unique(verdicts)}
    for bad in _BAD:
        if bad in count:
            return bad, f"{count[bad]} of {total}"
    agreed = count.get("agrees", 0)
    others = ", ".join(f"{n} {v}" for v, n in count.items() if v != "agrees")
    if 2 * agreed >= total and agreed > 0:
        return "agrees", f"{others} of {total}" if others else ""
    return ("kink" if count.get("kink", 0) >= count.get("unresolved", 0) else "unresolved"), others
