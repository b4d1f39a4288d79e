"""Checks for gradients and for models, of this package or not."""

from ._step.check import check_step as check_step
from ._step.report import StepLine as StepLine
from ._step.report import StepReport as StepReport
from ._testing.gradients import check_gradients as check_gradients
from ._testing.report import GradientReport as GradientReport
from ._testing.rescaling import RescalingTest as RescalingTest
from ._testing.rescaling import time_rescaling_test as time_rescaling_test
