"""What all plots have in common."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from inverseflow.utils.files import atomic_write


def label_one_two_five(*axes: Axis) -> None:
    """Label logarithmic axes at 1, 2 and 5 times the powers of ten, in plain numbers.

    Args:
        axes: the x or y axes of plots, already logarithmic.
    """
    for axis in axes:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:,g}")
        axis.set_minor_formatter(NullFormatter())


def save_figure(path: Path, figure: Figure) -> None:
    """Write a figure as a PNG file that holds no version of matplotlib.

    Args:
        path: the file. Missing parent folders are created.
        figure: the figure.
    """
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png", metadata={"Software": None})
