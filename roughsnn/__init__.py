"""Stochastic spiking networks as event SDEs, with exact gradients through the spikes."""

from importlib.metadata import version as _version

# ground
from ._refine import StepWarning as StepWarning
from ._results import RESULTS as RESULTS
from ._results import SelectionWarning as SelectionWarning
from ._results import drop_failed as drop_failed
from ._results import check as check

# time and random numbers
from ._random import antithetic as antithetic
from ._window import Window as Window

# paths and spike trains
from ._path.base import AbstractCellPath as AbstractCellPath
from ._path.base import AbstractGridPath as AbstractGridPath
from ._path.base import AbstractJumpPath as AbstractJumpPath
from ._train.boundary import Boundary as Boundary
from ._path.brownian import Brownian as Brownian
from ._path.brownian import BrownianPath as BrownianPath
from ._path.cadlag import CadlagPath as CadlagPath
from ._path.coloured import coloured_path as coloured_path
from ._path.coloured import ornstein_uhlenbeck_path as ornstein_uhlenbeck_path
from ._path.fractional import fractional_path as fractional_path
from ._path.grid import GridPath as GridPath
from ._path.grid import coarsened as coarsened
from ._path.grid import correlated as correlated
from ._path.jumps import JumpPath as JumpPath
from ._path.jumps import compound_poisson_path as compound_poisson_path
from ._train.poisson import poisson_spikes as poisson_spikes
from ._train.marcus import marcus_lift as marcus_lift
from ._train.spike_train import SpikeTrain as SpikeTrain
from ._path.step import StepPath as StepPath

# events
from ._event.chandrupatla import Chandrupatla as Chandrupatla
from ._conditions.conditions import ConditionReport as ConditionReport
from ._conditions.conditions import check_event as check_event
from ._event.crossing import AbstractCrossing as AbstractCrossing
from ._event.crossing import BracketedCrossing as BracketedCrossing
from ._event.crossing import QuadraticCrossing as QuadraticCrossing
from ._event.event import Event as Event

# the solve
from ._solve.adjoint import AbstractAdjoint as AbstractAdjoint
from ._solve.adjoint import CheckpointAdjoint as CheckpointAdjoint
from ._solve.adjoint import DirectAdjoint as DirectAdjoint
from ._solve.engine import EventByEvent as EventByEvent
from ._solve.eventsolve import eventsolve as eventsolve
from ._solve.recursion import OnlineGradient as OnlineGradient
from ._solve.recursion import online_gradient as online_gradient
from ._solve.reference import reference_solve as reference_solve
from ._solve.solution import Solution as Solution

# neurons, synapses, networks
from . import connectors as connectors
from . import neurons as neurons
from . import synapses as synapses
from ._model.connectivity import SparseWeights as SparseWeights
from ._model.constrained import constrained as constrained
from ._model.dale import DaleWeights as DaleWeights
from ._model.domain import Bound as Bound
from ._model.firing import AbstractFiring as AbstractFiring
from ._model.firing import AbstractHazard as AbstractHazard
from ._model.firing import HardThreshold as HardThreshold
from ._model.firing import StochasticFiring as StochasticFiring
from ._model.intensity import AbstractIntensity as AbstractIntensity
from ._model.intensity import ExponentialIntensity as ExponentialIntensity
from ._model.intensity import SoftplusIntensity as SoftplusIntensity
from ._model.network import SpikingNetwork as SpikingNetwork
from ._model.neuron import AbstractLinearNeuron as AbstractLinearNeuron
from ._model.neuron import AbstractNeuron as AbstractNeuron
from ._model.plasticity import AbstractPlasticity as AbstractPlasticity
from ._model.population import Poisson as Poisson
from ._model.population import Population as Population
from ._model.population import Source as Source
from ._model.projection import Projection as Projection
from ._model.reset import AbstractReset as AbstractReset
from ._model.reset import ResetTo as ResetTo
from ._model.reset import Subtract as Subtract
from ._model.state import NetworkState as NetworkState
from ._model.state import PopulationState as PopulationState
from ._model.synapse import AbstractConductance as AbstractConductance
from ._model.synapse import AbstractLinearSynapse as AbstractLinearSynapse
from ._model.synapse import AbstractSynapse as AbstractSynapse

# simulation
from ._engine.base import Lockstep as Lockstep
from ._engine.base import Simulation as Simulation
from ._engine.clamp import Clamped as Clamped
from ._engine.clamp import clamp as clamp
from ._engine.eligibility import Eligibility as Eligibility
from ._engine.eligibility import eligibility as eligibility
from ._engine.final import FinalState as FinalState
from ._engine.online import OnlineSimulation as OnlineSimulation
from ._engine.online import simulate_online as simulate_online
from ._engine.simulate import simulate as simulate

# kernels
from ._kernel.base import AbstractTrainKernel as AbstractTrainKernel
from ._kernel.combine import ProductKernel as ProductKernel
from ._kernel.combine import SumKernel as SumKernel
from ._kernel.gram import gram_matrix as gram_matrix
from ._kernel.lag import LagKernel as LagKernel
from ._kernel.ordered import OrderedKernel as OrderedKernel
from ._kernel.point import PointKernel as PointKernel
from ._signature.kernel import SignatureKernel as SignatureKernel
from ._signature.lift import AbstractLift as AbstractLift
from ._signature.lift import ItoLift as ItoLift
from ._signature.lift import MarcusLift as MarcusLift
from ._signature.lift import RampLift as RampLift
from ._signature.path_kernel import AbstractStaticKernel as AbstractStaticKernel
from ._signature.path_kernel import LinearStatic as LinearStatic
from ._signature.path_kernel import PathKernel as PathKernel
from ._signature.path_kernel import RBFStatic as RBFStatic
from ._signature.per_neuron import PerNeuronKernel as PerNeuronKernel

# losses
from . import losses as losses

# checks
from . import testing as testing

# data, scores and pictures
from . import io as io
from . import plot as plot
from . import scores as scores
from . import tasks as tasks

# fitting
from ._fit.checkpoint import Checkpoint as Checkpoint
from ._fit.checkpoint import CheckpointWarning as CheckpointWarning
from ._fit.fit import Fit as Fit
from ._fit.fit import fit as fit
from ._fit.loop import Loop as Loop
from ._fit.objective import Objective as Objective
from ._fit.validation import Validation as Validation
from ._fit.likelihood import LogLikelihood as LogLikelihood
from ._fit.likelihood import log_likelihood as log_likelihood
from ._fit.multilevel import Multilevel as Multilevel
from ._fit.multilevel import multilevel_mean as multilevel_mean

# files
from ._save.save import Saved as Saved
from ._save.save import load as load
from ._save.save import save as save

__version__ = _version("roughsnn")
