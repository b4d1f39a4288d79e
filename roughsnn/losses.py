"""Losses on batches of spike trains."""

from ._loss.boundary import binned_counts as binned_counts
from ._loss.boundary import counts as counts
from ._loss.boundary import filtered as filtered
from ._loss.boundary import with_boundary as with_boundary
from ._loss.expected_signature import expected_signature as expected_signature
from ._loss.mmd import mmd_of as mmd_of
from ._loss.mmd import signature_mmd as signature_mmd
from ._loss.spike_times import first_spike_mae as first_spike_mae
from ._loss.spike_times import first_spike_mse as first_spike_mse
