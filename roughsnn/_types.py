"""Array aliases shared by the package; one name for each axis.

Axis names: `neurons`, `spikes`, `times`, `channels`, `samples`, `cells`, `events`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import diffrax as dfx
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree, Real, Shaped

Scalar: TypeAlias = Float[Array, ""]
RealScalar: TypeAlias = float | int | np.ndarray | Real[Array, ""]
IntScalar: TypeAlias = int | Int[Array, ""]
PRNGKey: TypeAlias = Key[Array, ""] | Shaped[Array, "2"]

# What a parameter of a model may be given as.
Numeric: TypeAlias = float | np.ndarray | Shaped[Array, "..."] | Sequence[Any]

State: TypeAlias = PyTree[Shaped[Array, "..."]]
Args: TypeAlias = Any
# The input of a network as a function of time, and what it may be given as.
DriveFunction: TypeAlias = Callable[[Any], Float[Array, " neurons"]] | dfx.AbstractPath
# A drive by population, or one of all neurons.
Drive: TypeAlias = DriveFunction | Numeric | Mapping[str, DriveFunction | Numeric]
