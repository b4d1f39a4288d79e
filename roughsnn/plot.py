"""Pictures, on matplotlib axes."""

from ._plot.fits import ks as ks
from ._plot.fits import matrix as matrix
from ._plot.fits import qq as qq
from ._plot.fits import training as training
from ._plot.fits import weights as weights
from ._plot.spikes import psth as psth
from ._plot.spikes import raster as raster
