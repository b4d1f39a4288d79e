"""What a call came to: whether an error is one of the package's own sentences."""

import inspect
import linecache
import traceback
from pathlib import Path
from typing import NamedTuple

import roughsnn

PACKAGE = str(Path(inspect.getfile(roughsnn)).parent)
# What the docstrings announce.
ANNOUNCED = (ValueError, TypeError, RuntimeError, OSError, ModuleNotFoundError)


class Outcome(NamedTuple):
    """`kind` is "accepted", "clear" or "obscure"."""

    kind: str
    error: str = ""
    place: str = ""


def outcome_of(call) -> Outcome:
    """Calls, and judges what comes out."""
    try:
        call()
    except Exception as error:  # noqa: BLE001
        return judged(error)
    return Outcome("accepted")


def judged(error: Exception) -> Outcome:
    """Clear is an error that the package raises itself, as it is announced."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if f.filename.startswith(PACKAGE)]
    last = frames[-1]
    place = own[-1] if own else last
    where = f"{place.filename.removeprefix(PACKAGE)}:{place.lineno} {place.name}"
    line = linecache.getline(last.filename, last.lineno or 0).strip()
    raised = last.filename.startswith(PACKAGE) and line.startswith("raise ")
    # A check in a program is raised by equinox, with the package's sentence.
    in_program = type(error).__name__ == "EquinoxRuntimeError"
    clear = isinstance(error, ANNOUNCED) and (raised or in_program)
    text = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
    return Outcome("clear" if clear else "obscure", text, where)
