"""How good a fit is: activity of model and data, weights, held-out spikes."""

from ._scores.activity import Explosions as Explosions
from ._scores.activity import explosions as explosions
from ._scores.activity import fano_factor as fano_factor
from ._scores.activity import intervals as intervals
from ._scores.activity import isi_cv as isi_cv
from ._scores.activity import local_variation as local_variation
from ._scores.activity import mean_rates as mean_rates
from ._scores.activity import psth_correlation as psth_correlation
from ._scores.recovery import ConnectivityRecovery as ConnectivityRecovery
from ._scores.recovery import bits_per_spike as bits_per_spike
from ._scores.recovery import connectivity_recovery as connectivity_recovery
from ._scores.rescaling import rescaled_quantiles as rescaled_quantiles
