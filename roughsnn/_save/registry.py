"""The classes and functions that a file may name, and what their names are.

A file names nothing else, so that no code runs that a file has chosen. The names are a part of the
format: a class that gets another name keeps its old one here.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import paramax

from .._engine.coming import Coming
from .._engine.final import FinalState, Past
from .._kernel.combine import ProductKernel, SumKernel
from .._kernel.gram import Lifted
from .._kernel.lag import LagKernel
from .._kernel.ordered import OrderedKernel
from .._kernel.point import PointKernel
from .._kernel.whitening import Whitening
from .._loss.distance import Mean
from .._loss.expected_signature import Settings, SignatureMean
from .._loss.matching import TrialFeatures
from .._loss.mmd import Reference
from .._loss.moments import Moments
from .._model.adaptive import AdaptiveLIF, AdaptiveState
from .._model.adex import AdEx, AdExState
from .._model.alpha import Alpha, AlphaState, DoubleExponential, DoubleState
from .._model.conductance import NMDA, Conductance
from .._model.connectivity import SparseWeights
from .._model.dale import DaleWeights
from .._model.drive import Constant, Rows
from .._model.eif import EIF
from .._model.exponential import Exponential
from .._model.firing import HardThreshold, StochasticFiring
from .._model.glif import (
    GLIF,
    AfterSpikeCurrent,
    GLIFState,
    SpikeThreshold,
    VoltageThreshold,
)
from .._model.history import ExponentialBasis, HistoryFilter, HistoryState, LaguerreBasis
from .._model.intensity import ExponentialIntensity, SoftplusIntensity
from .._model.izhikevich import Izhikevich, IzhikevichState
from .._model.lif import LIF, LIFState
from .._model.multiplicative import MultiplicativeLIF, Proportional
from .._model.network import SpikingNetwork
from .._model.plasticity import Plastic
from .._model.population import ConstantRate, Population, Source, Still
from .._model.projection import Projection
from .._model.qif import QIF
from .._model.reset import ResetTo, Subtract
from .._model.resonator import ResonateAndFire, ResonatorState
from .._model.state import Member, NetworkState, PopulationState, Waiting
from .._model.stdp import Learned, PairSTDP, Trace
from .._model.tsodyks_markram import TsodyksMarkram, TsodyksMarkramState
from .._path.brownian import Brownian
from .._path.grid import GridPath
from .._path.jumps import JumpPath
from .._path.step import StepPath
from .._signature.kernel import SignatureKernel
from .._signature.lift import ItoLift, MarcusLift, RampLift
from .._signature.path_kernel import LinearStatic, PathKernel, RBFStatic
from .._signature.per_neuron import PerNeuronKernel
from .._train.boundary import Boundary
from .._train.spike_train import SpikeTrain
from .._window import Clock, Window

_LIBRARY = (
    *(SpikingNetwork, Population, Source, Projection),
    *(NetworkState, PopulationState, Waiting, Member, FinalState, Past, Clock, Window),
    *(LIF, LIFState, MultiplicativeLIF, Proportional, Still, Subtract, ResetTo),
    *(AdaptiveLIF, AdaptiveState, ResonateAndFire, ResonatorState),
    *(HistoryFilter, HistoryState, ExponentialBasis, LaguerreBasis),
    *(GLIF, GLIFState, AfterSpikeCurrent, SpikeThreshold, VoltageThreshold),
    *(QIF, EIF, AdEx, AdExState, Izhikevich, IzhikevichState),
    *(TsodyksMarkram, TsodyksMarkramState, Plastic, Coming),
    *(PairSTDP, Learned, Trace),
    *(Exponential, Alpha, AlphaState, DoubleExponential, DoubleState, Conductance, NMDA),
    *(StochasticFiring, HardThreshold, ConstantRate, ExponentialIntensity, SoftplusIntensity),
    *(SparseWeights, DaleWeights, SpikeTrain, Boundary, Constant, Rows),
    *(Brownian, GridPath, JumpPath, StepPath),
    *(LagKernel, OrderedKernel, PointKernel, Whitening, ProductKernel, SumKernel),
    *(SignatureKernel, ItoLift, MarcusLift, RampLift, PerNeuronKernel),
    *(PathKernel, LinearStatic, RBFStatic),
    *(Reference, Lifted, Moments, Mean, SignatureMean, Settings, TrialFeatures),
)
_PARAMAX = (
    *(paramax.Parameterize, paramax.NonTrainable, paramax.WeightNormalization),
    paramax.RealToIncreasingOnInterval,
)
CLASSES: dict[str, type] = {
    **{f"roughsnn.{cls.__name__}": cls for cls in _LIBRARY},
    **{f"paramax.{cls.__name__}": cls for cls in _PARAMAX},
}
# Of one array, so that they can do nothing but calculate.
_NUMPY = (
    "abs arctan arcsinh cos cosh exp exp2 expm1 log log1p negative reciprocal sign sin sinh sqrt "
    "square tan tanh"
)
_NN = (
    "celu elu gelu hard_sigmoid hard_silu hard_tanh identity leaky_relu log_sigmoid log_softmax "
    "mish relu relu6 selu sigmoid silu soft_sign softmax softplus squareplus"
)
FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{f"jax.numpy.{name}": getattr(jnp, name) for name in _NUMPY.split()},
    **{f"jax.nn.{name}": getattr(jax.nn, name) for name in _NN.split()},
}
# Fields that a class has got since its files were first written, and what they were before.
LATER_FIELDS: dict[str, dict[str, dict[str, Any]]] = {
    "roughsnn.SpikeTrain": {"static": {"populations": ()}},
    "roughsnn.GridPath": {"static": {"hurst": 0.5}},
    "roughsnn.Population": {"fields": {"refractory": None}},
    "roughsnn.Projection": {
        "fields": {"delay": None, "plasticity": None},
        "static": {"max_delay": 0.0},
    },
    "roughsnn.FinalState": {"fields": {"past": None, "coming": {}}},
    "roughsnn.NetworkState": {"fields": {"waiting": None, "plastic": {}}},
    "roughsnn.Past": {"fields": {"amplitudes": {}}},
    "roughsnn.Waiting": {"fields": {"scale": None}},
}
_NAMES = {cls: name for name, cls in CLASSES.items()}


def name_of_class(cls: type) -> str:
    """What a file calls a class: those that it does not know by its own name."""
    return _NAMES.get(cls, cls.__name__)


def name_of_function(x: Any) -> str | None:
    """What a file calls a function, if it knows it."""
    return next((name for name, known in FUNCTIONS.items() if known is x), None)


def is_record(cls: Any) -> bool:
    """Whether objects of a class are made of fields: modules and named tuples."""
    return isinstance(cls, type) and (issubclass(cls, eqx.Module) or is_named_tuple(cls))


def is_named_tuple(cls: type) -> bool:
    """Whether a class was made by `typing.NamedTuple`."""
    return issubclass(cls, tuple) and hasattr(cls, "_fields")


def with_types(types: Any) -> Mapping[str, type]:
    """The classes by name, with those of a user."""
    if not isinstance(types, tuple | list):
        raise TypeError(f"`types` must be a tuple of classes, as (MyNeuron,), got {types!r}.")
    known = dict(CLASSES)
    for cls in types:
        if not is_record(cls) or inspect.isabstract(cls):
            raise TypeError(
                "`types` must hold classes of equinox modules that are not abstract, or named "
                f"tuples, got {cls!r}."
            )
        if known.setdefault(name_of_class(cls), cls) is not cls:
            raise ValueError(f"`types` holds two classes of the name {cls.__name__}.")
    return known
