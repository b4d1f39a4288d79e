"""What a call came to: whether an error is one of the package's own sentences."""

import inspect
import linecache
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import roughsnn

PACKAGE = str(Path(inspect.getfile(roughsnn)).parent)
# Where the functions are that the calls of the fuzz give.
GIVEN = str(Path(__file__).parent)
# What the docstrings announce.
ANNOUNCED = (ValueError, TypeError, RuntimeError, OSError, ModuleNotFoundError)


class Outcome(NamedTuple):
    """`kind` is "accepted", "clear" or "obscure"."""

    kind: str
    error: str = ""
    place: str = ""


def outcome_of(call: Callable[[], Any]) -> Outcome:
    """Calls, and judges what comes out."""
    try:
        call()
    except Exception as error:
        return judged(error)
    return Outcome("accepted")


def judged(error: Exception) -> Outcome:
    """Clear is an error that the package raises itself, as it is announced."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [n for n, f in enumerate(frames) if f.filename.startswith(PACKAGE)]
    last, place = frames[-1], frames[own[-1] if own else -1]
    line = linecache.getline(last.filename, last.lineno or 0).strip()
    clear = last.filename.startswith(PACKAGE) and line.startswith("raise ")
    # A check in a program is raised by equinox, with the package's sentence.
    clear = clear or type(error).__name__ == "EquinoxRuntimeError"
    clear = clear and isinstance(error, ANNOUNCED)
    # What a function of the caller makes of a wrong state says where in that function it is.
    inside = bool(own) and any(f.filename.startswith(GIVEN) for f in frames[own[-1] :])
    text = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
    where = f"{place.filename.removeprefix(PACKAGE)}:{place.lineno} {place.name}"
    return Outcome("clear" if clear or inside else "obscure", text, where)
