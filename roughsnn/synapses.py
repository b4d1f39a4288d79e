"""Synapses: what a port of a neuron makes of the spikes that arrive at it."""

from ._model.alpha import Alpha as Alpha
from ._model.alpha import AlphaState as AlphaState
from ._model.alpha import DoubleExponential as DoubleExponential
from ._model.alpha import DoubleState as DoubleState
from ._model.conductance import NMDA as NMDA
from ._model.conductance import Conductance as Conductance
from ._model.exponential import Exponential as Exponential
from ._model.stdp import PairSTDP as PairSTDP
from ._model.tsodyks_markram import TsodyksMarkram as TsodyksMarkram
from ._model.tsodyks_markram import TsodyksMarkramState as TsodyksMarkramState
