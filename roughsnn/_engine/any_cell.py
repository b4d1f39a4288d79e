"""The maps of a group of neurons, whatever they are, over cells of one length."""

from .._model.layout import Group
from .._types import Scalar
from .exact_cell import Exact, ExactGroupCell
from .general_cell import GeneralGroupCell
from .group_cell import AbstractGroupCell
from .linear import Affine, Matrices
from .linear_cell import LinearGroupCell


def group_cell_of(
    group: Group,
    equations: Matrices | dict[str, Affine],
    length: Scalar,
    dt0: float,
    hurst: float,
    exact: Exact | None,
) -> AbstractGroupCell:
    """For cells of this length, by the equations of `linear.equations_of`, under noise as rough as
    `hurst` says; that moves exactly if that is wanted."""
    if exact is not None:
        assert isinstance(equations, Matrices)
        return ExactGroupCell.of(group, equations, length, dt0, exact.bent)
    if isinstance(equations, Matrices):
        return LinearGroupCell.of(group, equations, length, dt0, hurst)
    return GeneralGroupCell.of(group, equations, length, dt0, hurst)
