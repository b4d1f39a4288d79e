"""A pytest fixture for gradient checks.

    pytest_plugins = ["roughsnn.pytest_plugin"]

in a `conftest.py` gives the fixture `check_gradients`.
"""

from collections.abc import Callable

import pytest

from ._testing.gradients import check_gradients as _check_gradients
from ._testing.report import GradientReport


@pytest.fixture
def check_gradients() -> Callable[..., GradientReport]:
    """[`roughsnn.testing.check_gradients`][] that raises if the check does not pass."""

    def check(*args, **kwargs) -> GradientReport:
        report = _check_gradients(*args, **kwargs)
        report.raise_if_failed()
        return report

    return check
