"""A call that may be changed."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Call(NamedTuple):
    """A function and arguments that it takes."""

    fn: Callable
    arguments: dict[str, Any]

    def __call__(self, **changed: Any) -> Any:
        return self.fn(**(self.arguments | changed))
