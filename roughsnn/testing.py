"""Checks for gradients and for models, of this package or not."""

from ._testing.gradients import check_gradients as check_gradients
from ._testing.report import GradientReport as GradientReport
