"""Plots of measurements."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.densities import TIMED, DensityBenchmark, ratios
from benchmarks.op import OpBenchmark, SweepRows
from benchmarks.plotting import label_one_two_five, save_figure
from benchmarks.summary import UNITS, Pair, pairs, size

_COLORS = {"conv2d": "grey", "native": "tab:blue", "triton": "tab:blue", "blocked": "tab:orange"}


def save_ratios(path: Path, benchmark: OpBenchmark) -> None:
    """Plot the time of the default relative to conv2d for each shape of the grid, forward and with gradient.

    Args:
        path: a PNG file.
        benchmark: of the grid.
    """
    chosen = sorted(pairs(benchmark.rows), key=lambda pair: pair.forward)
    figure = Figure(figsize=(8, 0.8 + 0.26 * len(chosen)), layout="constrained")
    axes = figure.subplots()
    for offset, training, label, color in (
        (0.15, False, "forward", "tab:blue"),
        (-0.15, True, "forward and backward", "tab:orange"),
    ):
        points = [(index + offset, _with_quartiles(pair, training)) for index, pair in enumerate(chosen)]
        known = [(index, ratios) for index, ratios in points if ratios is not None]
        for index, (_, low, high) in known:
            axes.plot([low, high], [index, index], color=color, linewidth=1)
        medians = [ratios[0] for _, ratios in known]
        axes.plot(medians, [index for index, _ in known], "o", color=color, markersize=4, label=label)
    axes.axvline(1, color="grey", linewidth=1)
    axes.set_yticks(range(len(chosen)), [pair.row.case.name for pair in chosen])
    axes.set(xscale="log", xlabel="time of the inverse / time of conv2d (median, quartiles of the inverse)")
    label_one_two_five(axes.xaxis)
    axes.grid(alpha=0.3, which="both", axis="x")
    axes.legend()
    save_figure(path, figure)


def save_sweeps(path: Path, benchmark: OpBenchmark) -> None:
    """Draw times along each sweep, forward above, with gradient below.

    Args:
        path: a PNG file.
        benchmark: of the sweeps.
    """
    columns = len(benchmark.sweeps)
    figure = Figure(figsize=(3.2 * columns, 6), layout="constrained")
    grid = figure.subplots(2, columns, squeeze=False)
    for column, sweep in enumerate(benchmark.sweeps):
        _draw_sweep(grid[0, column], sweep, training=False)
        _draw_sweep(grid[1, column], sweep, training=True)
        grid[0, column].set_title(sweep.name)
        grid[1, column].set_xlabel(UNITS[sweep.axis])
    grid[0, 0].set_ylabel("forward, ms")
    grid[1, 0].set_ylabel("forward and backward, ms")
    grid[0, 0].legend()
    save_figure(path, figure)


def save_densities(path: Path, benchmark: DensityBenchmark) -> None:
    """Plot our time over the fastest peer's for each model and number of columns.

    Args:
        path: a PNG file.
        benchmark: of flows of vectors, with at least one peer.
    """
    cases = list(dict.fromkeys((row.model, row.columns) for row in benchmark.times))[::-1]
    figure = Figure(figsize=(8, 0.8 + 0.26 * len(cases)), layout="constrained")
    axes = figure.subplots()
    for timed in benchmark.geometric_means:
        found = ratios(benchmark.times, timed)
        points = [
            (index, found[columns, model]) for index, (model, columns) in enumerate(cases) if (columns, model) in found
        ]
        axes.plot([ratio for _, ratio in points], [index for index, _ in points], "o", markersize=4, label=TIMED[timed])
    axes.axvline(1, color="grey", linewidth=1)
    axes.set_yticks(range(len(cases)), [f"{model}, {columns} columns" for model, columns in cases])
    axes.set(xscale="log", xlabel="our time / time of the fastest peer (medians)")
    label_one_two_five(axes.xaxis)
    axes.grid(alpha=0.3, which="both", axis="x")
    axes.legend()
    save_figure(path, figure)


def _draw_sweep(axes: Axes, sweep: SweepRows, *, training: bool) -> None:
    for name in [name for name in dict.fromkeys(row.method for row in sweep.rows) if name in _COLORS]:
        timed = [(row.case, row.training if training else row.forward) for row in sweep.rows if row.method == name]
        points = [(size(case, sweep.axis), timing.median) for case, timing in timed if timing is not None]
        axes.plot(*zip(*points, strict=True), marker="o", markersize=3, color=_COLORS[name], label=name)
    axes.set(xscale="log", yscale="log")
    axes.grid(alpha=0.3)


def _with_quartiles(pair: Pair, training: bool) -> tuple[float, float, float] | None:
    timing, limit = (pair.row.training, pair.limit.training) if training else (pair.row.forward, pair.limit.forward)
    if timing is None or limit is None:
        return None
    return timing.median / limit.median, timing.low / limit.median, timing.high / limit.median
