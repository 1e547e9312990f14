"""Plot a table of trained flows."""

from __future__ import annotations

from matplotlib.figure import Figure

from benchmarks.plotting import label_one_two_five
from experiments.result import Result
from experiments.trained.tasks import SEED, SPEED


def draw(result: Result) -> Figure:
    """Plot bits per dimension and times.

    Args:
        result: of a table of trained flows.
    """
    figure = Figure(figsize=(9, 1.2 + 0.34 * len(result.names)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    names = result.names[::-1]
    for index, name in enumerate(names):
        bits = [row.values["bits_per_dim"] for row in result.parts(name, SEED)]
        left.plot(bits, [index] * len(bits), "o", color="tab:blue", markersize=5)
        for what, color in (("sample", "tab:orange"), ("forward", "tab:green"), ("training", "tab:red")):
            timing = result.value(name, SPEED, what)
            if timing is not None:
                right.plot([timing["low"], timing["high"]], [index, index], color=color, linewidth=1)
                label = {"sample": "ST", "forward": "FT", "training": "step"}[what]
                right.plot(timing["median"], index, "o", color=color, markersize=4, label=None if index else label)
    left.set_yticks(range(len(names)), names)
    left.set(xlabel="test bits/dim, each seed", title=result.parts(names[0], SEED)[0].values["title"])
    right.set(xscale="log", xlabel="ms, median and quartiles")
    label_one_two_five(right.xaxis)
    right.legend(fontsize="small")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    return figure
