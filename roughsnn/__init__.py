"""Stochastic spiking networks as event SDEs, with exact gradients through the spikes."""

from importlib.metadata import version as _version

# ground
from ._results import RESULTS as RESULTS

# random numbers
from ._random import antithetic as antithetic

# paths and spike trains
from ._path.base import AbstractCellPath as AbstractCellPath
from ._path.base import AbstractGridPath as AbstractGridPath
from ._path.base import AbstractJumpPath as AbstractJumpPath
from ._path.boundary import Boundary as Boundary
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
from ._path.jumps import poisson_spikes as poisson_spikes
from ._path.marcus import marcus_lift as marcus_lift
from ._path.spike_train import SpikeTrain as SpikeTrain
from ._path.step import StepPath as StepPath

# events
from ._event.chandrupatla import Chandrupatla as Chandrupatla
from ._event.conditions import ConditionReport as ConditionReport
from ._event.conditions import check_event as check_event
from ._event.crossing import AbstractCrossing as AbstractCrossing
from ._event.crossing import BracketedCrossing as BracketedCrossing
from ._event.crossing import QuadraticCrossing as QuadraticCrossing
from ._event.event import Event as Event

# the solve
from ._solve.adjoint import AbstractAdjoint as AbstractAdjoint
from ._solve.adjoint import CheckpointAdjoint as CheckpointAdjoint
from ._solve.adjoint import DirectAdjoint as DirectAdjoint
from ._solve.eventsolve import eventsolve as eventsolve
from ._solve.recursion import OnlineGradient as OnlineGradient
from ._solve.recursion import online_gradient as online_gradient
from ._solve.reference import reference_solve as reference_solve
from ._solve.solution import Solution as Solution

# networks
from ._network.clamp import Clamped as Clamped
from ._network.clamp import clamp as clamp
from ._network.connectivity import SparseWeights as SparseWeights
from ._network.connectivity import random_targets as random_targets
from ._network.dale import DaleWeights as DaleWeights
from ._network.eligibility import Eligibility as Eligibility
from ._network.eligibility import eligibility as eligibility
from ._network.exponential import ExponentialTrapezoid as ExponentialTrapezoid
from ._network.firing import AbstractFiring as AbstractFiring
from ._network.firing import StochasticFiring as StochasticFiring
from ._network.firing import ThresholdFiring as ThresholdFiring
from ._network.inputs import SpikeInput as SpikeInput
from ._network.intensity import AbstractIntensity as AbstractIntensity
from ._network.intensity import ExponentialIntensity as ExponentialIntensity
from ._network.intensity import SoftplusIntensity as SoftplusIntensity
from ._network.membrane import LIF as LIF
from ._network.membrane import AbstractLinearMembrane as AbstractLinearMembrane
from ._network.membrane import AbstractMembrane as AbstractMembrane
from ._network.multiplicative import MultiplicativeLIF as MultiplicativeLIF
from ._network.network import SpikingNetwork as SpikingNetwork
from ._network.simulate import simulate as simulate
from ._network.state import NeuronState as NeuronState

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

# fitting
from ._fit.checkpoint import Checkpoint as Checkpoint
from ._fit.checkpoint import CheckpointWarning as CheckpointWarning
from ._fit.fit import Fit as Fit
from ._fit.fit import fit as fit
from ._fit.likelihood import LogLikelihood as LogLikelihood
from ._fit.likelihood import log_likelihood as log_likelihood
from ._fit.multilevel import Multilevel as Multilevel
from ._fit.multilevel import multilevel_mean as multilevel_mean

__version__ = _version("roughsnn")
