"""What was done about data that could not be taken as they are."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from .._check import check_choice
from .._misc import warn

Invalid = Literal["repair", "drop", "raise"]
_SHOWN = 5


class DataWarning(UserWarning):
    """A reader repaired or left out some of the data, or a writer's format cannot hold them."""


def check_invalid(invalid: str) -> None:
    """`ValueError` unless it is one of the three choices."""
    check_choice("invalid", invalid, ("repair", "drop", "raise"))


def listed(names: Sequence[str]) -> str:
    """Names in a sentence; of many the first few."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


@dataclasses.dataclass(frozen=True)
class Finding:
    """One kind of thing that was not taken as it is.

    **Attributes:**

    - `what`: what was found, such as `"spikes that are not finite"`.
    - `kind`: what `names` are the names of, such as `"unit"`, `"trial"` or `"column"`.
    - `names`: where it was found: names of units, columns or tables, numbers of trials.
    - `count`: how many there were.
    - `done`: what was done about them, such as `"left out"`.
    """

    what: str
    kind: str
    names: tuple[str, ...]
    count: int
    done: str

    def __str__(self) -> str:
        kind = self.kind if len(self.names) == 1 else f"{self.kind}s"
        return f"{self.what} ({kind} {listed(self.names)}): {self.count} {self.done}"

    @classmethod
    def column(cls, table: str, name: str, why: str, done: str = "not kept") -> "Finding":
        """A column of a table."""
        return cls(f"columns of the {table} {why}", "column", (name,), 1, done)


@dataclasses.dataclass(frozen=True)
class Report:
    """What was repaired or left out of a [`roughsnn.io.Session`][]; true if anything was.

    `print` it for one line for each kind of thing.

    **Attributes:**

    - `findings`: a tuple of [`roughsnn.io.Finding`][].
    """

    findings: tuple[Finding, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.findings)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __add__(self, other: Iterable[Finding]) -> "Report":
        return Report((*self.findings, *other))

    def __str__(self) -> str:
        return "\n".join(map(str, self.findings)) or "Nothing was repaired or left out."

    def warn(self, why: str) -> None:
        """One warning of everything, if there is anything, at the caller of this package."""
        if self:
            message = "; ".join(map(str, self.findings))
            warn(f"{why}: {message}.", DataWarning)
