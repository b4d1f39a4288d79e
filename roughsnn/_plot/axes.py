"""Axes to draw on."""

from typing import Any

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#bbbbbb"
# Colours of several things that the colour-blind can tell apart (Okabe & Ito, 2008).
SEVERAL = (BLUE, ORANGE, "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


def make_axes(ax: Any, **options: Any) -> Any:
    """The given axes, or those of a new figure."""
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ModuleNotFoundError as e:
        raise ModuleNotFoundError(
            "Pictures need matplotlib: install it with `pip install 'roughsnn[examples]'`."
        ) from e
    return plt.subplots(figsize=(5.0, 3.4), layout="constrained", **options)[1]
