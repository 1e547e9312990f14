"""Axes of plots."""

from __future__ import annotations

from matplotlib.axis import Axis
from matplotlib.ticker import LogLocator, NullFormatter


def one_two_five(*axes: Axis) -> None:
    """Label logarithmic axes at 1, 2 and 5 times the powers of ten, in plain numbers.

    Args:
        axes: the x or y axes of plots, which are logarithmic already.
    """
    for axis in axes:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:,g}")
        axis.set_minor_formatter(NullFormatter())
