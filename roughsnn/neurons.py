"""Neurons: how the state of one moves between spikes, and at its own."""

from ._model.adaptive import AdaptiveLIF as AdaptiveLIF
from ._model.adaptive import AdaptiveState as AdaptiveState
from ._model.adex import AdEx as AdEx
from ._model.adex import AdExState as AdExState
from ._model.eif import EIF as EIF
from ._model.glif import GLIF as GLIF
from ._model.glif import AfterSpikeCurrent as AfterSpikeCurrent
from ._model.glif import GLIFState as GLIFState
from ._model.glif import SpikeThreshold as SpikeThreshold
from ._model.glif import VoltageThreshold as VoltageThreshold
from ._model.history import ExponentialBasis as ExponentialBasis
from ._model.history import HistoryFilter as HistoryFilter
from ._model.history import HistoryState as HistoryState
from ._model.history import LaguerreBasis as LaguerreBasis
from ._model.izhikevich import Izhikevich as Izhikevich
from ._model.izhikevich import IzhikevichState as IzhikevichState
from ._model.lif import LIF as LIF
from ._model.lif import LIFState as LIFState
from ._model.multiplicative import MultiplicativeLIF as MultiplicativeLIF
from ._model.qif import QIF as QIF
from ._model.resonator import ResonateAndFire as ResonateAndFire
from ._model.resonator import ResonatorState as ResonatorState
