"""What a check of the step found: a table, a sentence, an exception."""

import dataclasses
from typing import Literal

# settled: shorter cells change nothing that counts.
# depends on dt0: they do.
# unresolved: too few samples to say.
Verdict = Literal["settled", "depends on dt0", "unresolved"]


@dataclasses.dataclass(frozen=True)
class StepLine:
    """One output, or of an array the entry that changes most.

    **Attributes:**

    - `output`: its name.
    - `values`: its mean over the samples, for each `dt0`.
    - `limit`: as `dt0` -> 0.
    - `error`: the first value less the limit.
    - `standard_error`: of `error`; samples have the same noise for each `dt0`.
    - `tolerance`: what `error` may be.
    - `verdict`: "settled", "depends on dt0" or "unresolved".
    """

    output: str
    values: tuple[float, ...]
    limit: float
    error: float
    standard_error: float
    tolerance: float
    verdict: Verdict


@dataclasses.dataclass(frozen=True)
class StepReport:
    """What [`roughsnn.testing.check_step`][] found; prints as a table.

    **Attributes:**

    - `dts`: the lengths of the cells that were compared, decreasing.
    - `lines`: a [`roughsnn.testing.StepLine`][] for each output.
    """

    dts: tuple[float, ...]
    lines: tuple[StepLine, ...]

    @property
    def passed(self) -> bool:
        """Whether every output is settled."""
        return all(line.verdict == "settled" for line in self.lines)

    @property
    def verdict(self) -> Verdict:
        """The gravest verdict of all."""
        found = {line.verdict for line in self.lines}
        order: tuple[Verdict, ...] = ("depends on dt0", "unresolved", "settled")
        return next(verdict for verdict in order if verdict in found)

    def raise_if_failed(self) -> None:
        """`AssertionError` with the table, unless every output is settled."""
        if not self.passed:
            raise AssertionError(f"The check of the step did not pass: {self.verdict}.\n{self}")

    def __str__(self) -> str:
        head = ("output", *(f"dt0={dt:.3g}" for dt in self.dts), "-> 0", "error", "allowed", "")
        rows = [
            (
                line.output,
                *(f"{value:.5g}" for value in line.values),
                f"{line.limit:.5g}",
                f"{line.error:.2g} ± {line.standard_error:.1g}",
                f"{line.tolerance:.2g}",
                line.verdict,
            )
            for line in self.lines
        ]
        widths = [max(len(row[n]) for row in (head, *rows)) for n in range(len(head))]
        line = lambda row: "  ".join(x.ljust(w) for x, w in zip(row, widths, strict=True)).rstrip()
        return "\n".join([line(head), line(tuple("-" * w for w in widths)), *map(line, rows)])
