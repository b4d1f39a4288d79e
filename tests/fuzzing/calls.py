"""A small valid call of every public function, class and method that users call."""

from . import (
    data_calls,
    fit_calls,
    kernel_calls,
    loss_calls,
    model_calls,
    path_calls,
    task_calls,
)
from .call import Call

CALLS: dict[str, Call] = {
    **path_calls.CALLS,
    **model_calls.CALLS,
    **kernel_calls.CALLS,
    **loss_calls.CALLS,
    **fit_calls.CALLS,
    **data_calls.CALLS,
    **task_calls.CALLS,
}
