"""Pictures of a run: grids of images, reconstructions, and curves."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from inverseflow.densities import Density, Metric
from inverseflow.utils.files import atomic_write

matplotlib.use("Agg", force=False)

CORNER = 8  # columns of a table that a picture shows, at most
_LABEL = 20  # characters of a line of a label
_LATENTS = 64
_BINS, _PIT_BINS = 40, 20
_COLORS = {"data": "tab:blue", "samples": "tab:orange"}
_DOTS: dict[str, Any] = {"s": 3, "alpha": 0.4, "linewidths": 0}
_TRUTH: dict[str, Any] = {"color": "black", "linewidth": 1, "linestyle": "--"}
_WINDOW = 256  # samples of a window of a spectrogram
_VISIBLE = 720  # pixels that a grid is enlarged to, at most, in whole multiples


def image_grid(images: Tensor, levels: int, columns: int) -> Image.Image:
    """Return a picture with gray levels ``(N, 1 or 3, H, W)`` in rows, enlarged so that each pixel can be seen."""
    count, _, height, width = images.shape
    rows = -(-count // columns)
    cells = torch.zeros(rows * columns, 3, height, width)
    cells[:count] = images.float().cpu() * (255 / (levels - 1))
    scale = max(1, _VISIBLE // (max(rows * height, columns * width)))
    gap = 2 if scale * width > 16 else 1
    cells = cells.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    cells = torch.nn.functional.pad(cells, (gap, gap, gap, gap), value=96)
    height, width = cells.shape[2:]
    sheet = cells.reshape(rows, columns, 3, height, width).permute(0, 3, 1, 4, 2).reshape(rows * height, -1, 3)
    return Image.fromarray(sheet.round().to(torch.uint8).numpy())


def save_grid(path: Path, images: Tensor, levels: int, columns: int | None = None) -> None:
    """Write `image_grid` as a PNG file, about square unless `columns` are given."""
    if columns is None:
        columns = max(1, round(len(images) ** 0.5))
    with atomic_write(path) as temporary:
        image_grid(images, levels, columns).save(temporary, format="PNG")


def save_reconstructions(path: Path, originals: Tensor, reconstructions: Tensor, levels: int, title: str) -> None:
    """Write originals, reconstructions and their differences side by side as a PNG file."""
    from matplotlib.figure import Figure

    columns = max(1, round(len(originals) ** 0.5))
    difference = (originals.int() - reconstructions.int()).abs()
    worst = int(difference.max())
    panels = {
        "original": (originals, levels),
        "reconstruction": (reconstructions, levels),
        f"difference (at most {worst} of {levels - 1} gray levels)": (difference, max(2, worst + 1)),
    }
    figure = Figure(figsize=(13.5, 5), layout="constrained")
    figure.suptitle(title)
    for axes, (name, (images, brightest)) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        axes.imshow(np.asarray(image_grid(images, brightest, columns)), interpolation="nearest")
        axes.set_title(name, fontsize=11)
        axes.set_axis_off()
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def save_curves(
    path: Path, rows: Sequence[Mapping[str, float]], baselines: Mapping[str, float], metric: Metric, title: str
) -> None:
    """Write the rows of metrics.csv as curves over the steps, with the baselines as lines, as a PNG file."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    train, validation = curve(rows, f"train_{metric.name}"), curve(rows, f"val_{metric.name}")
    if train:
        axes.plot(*zip(*train, strict=True), color="tab:blue", linewidth=0.8, alpha=0.6, label="training batch")
    if validation:
        marker = "o" if len(validation) < 40 else None
        axes.plot(*zip(*validation, strict=True), color="tab:orange", marker=marker, markersize=4, label="validation")
    measured = [value for _, value in train + validation] or list(baselines.values()) or [0.0]
    low, high = min(measured), float(np.quantile(measured, 0.98))  # the first steps can be far above all others
    high = max([high, *(bits for bits in baselines.values() if bits < low + 2 * (high - low))])
    for (name, bits), style in zip(baselines.items(), ("--", ":", "-."), strict=False):
        label = f"{name.replace('_', ' ')} ({bits:.2f}{'' if bits <= high else ', off the top'})"
        axes.axhline(bits, color="gray", linestyle=style, linewidth=1, label=label)
    axes.set_ylim(min([low, *baselines.values()]) - 0.05 * (high - low) - 0.01, high + 0.05 * (high - low) + 0.01)
    axes.set(title=title, xlabel="step", ylabel=metric.unit)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def save_points(
    path: Path,
    data: Tensor | None,
    samples: Tensor,
    columns: Sequence[str],
    title: str,
    density: Density | None = None,
) -> None:
    """Write points ``(N, D)`` as a PNG file: two columns side by side, or each pair of columns in a corner plot.

    A corner plot shows the data above its diagonal and the samples below. The axes leave out the outermost half per
    cent of the first points, so that a few extreme values don't hide the others.

    Args:
        path: the file.
        data: points of the data, None for samples alone.
        samples: points of the model.
        columns: names of the columns; by default their numbers.
        title: title of the picture.
        density: its level lines are drawn over two columns of data.
    """
    from matplotlib.figure import Figure

    shown = {"samples": samples} if data is None else {"data": data, "samples": samples}
    shown = {name: points[:, :CORNER].cpu() for name, points in shown.items()}
    size, first = min(samples.shape[1], CORNER), next(iter(shown.values()))
    names = [columns[place] if place < len(columns) else str(place) for place in range(size)]
    bounds = [axis_bounds(values) for values in first.T]
    figure = Figure(figsize=(4.5 * len(shown), 4.5) if size == 2 else (max(5, 2 + 1.5 * size), 2 + 1.5 * size))
    figure.set_layout_engine("constrained")
    figure.suptitle(title)
    if size == 2:
        panels = figure.subplots(1, len(shown), sharex=True, sharey=True, squeeze=False)[0]
        for axes, (name, points) in zip(panels, shown.items(), strict=True):
            axes.scatter(*points.T.numpy(), color=_COLORS[name], **_DOTS)
            axes.set(title=name, xlabel=names[0], ylabel=names[1] if axes is panels[0] else "")
            if name == "data" and density is not None:
                _contours(axes, density, bounds)
            axes.set(xlim=bounds[0], ylim=bounds[1])
    else:
        draw_corner(figure, shown, names, bounds)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def save_spectrograms(path: Path, recordings: Mapping[str, Tensor], sampling_rate: int, title: str) -> None:
    """Write spectrograms of 16-bit samples ``(N, T)``, in one row for each name, as a PNG file; all share one scale."""
    from matplotlib.figure import Figure

    columns = max(len(samples) for samples in recordings.values())
    figure = Figure(figsize=(3 * columns + 1, 2.5 * len(recordings) + 0.5), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(len(recordings), columns, sharex=True, sharey=True, squeeze=False)
    for panels, (name, samples) in zip(grid, recordings.items(), strict=True):
        for axes, recording in zip(panels, samples.double().cpu(), strict=False):
            window = min(_WINDOW, len(recording))
            power = torch.stft(
                recording / 2**15,
                window,
                hop_length=max(1, window // 4),
                window=torch.hann_window(window, dtype=torch.float64),
                center=False,
                return_complex=True,
            ).abs()
            decibels = 20 * power.clamp_min(1e-5).log10()
            extent = (0, len(recording) / sampling_rate, 0, sampling_rate / 2)
            axes.imshow(decibels.numpy(), origin="lower", aspect="auto", extent=extent, vmin=-60, vmax=30, cmap="magma")
        panels[0].set_ylabel(f"{name}, Hz")
    for axes in grid[-1]:
        axes.set_xlabel("s")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def draw_corner(
    figure: Any,
    shown: Mapping[str, Tensor],
    names: Sequence[str],
    bounds: Sequence[tuple[float, float]],
    truth: Sequence[float] | None = None,
) -> None:
    """Draw each pair of columns: the first points above the diagonal, the last below, all in histograms on it.

    Args:
        figure: a figure of matplotlib.
        shown: one or two sets of points ``(N, D)`` by their names, which are the legend.
        names: names of the columns.
        bounds: ends of each axis.
        truth: a point that lines are drawn through.
    """
    from matplotlib.lines import Line2D

    size, one = len(names), len(shown) == 1
    colors = dict(zip(shown, list(_COLORS.values())[-len(shown) :], strict=True))
    grid = figure.subplots(size, size, sharex="col", squeeze=False)
    for row, column in product(range(size), repeat=2):
        axes = grid[row][column]
        axes.set_xlim(bounds[column])
        if row == column:
            edges = _edges(next(iter(shown.values()))[:, row], *bounds[row])
            for name, points in shown.items():
                heights = np.histogram(points[:, row], edges)[0] / (len(points) * np.diff(edges))
                axes.stairs(heights, edges, color=colors[name])
            axes.set_yticks([])
        elif one and column > row:
            axes.set_axis_off()
            continue
        else:
            name = list(shown)[0 if column > row else -1]
            axes.scatter(shown[name][:, column].numpy(), shown[name][:, row].numpy(), color=colors[name], **_DOTS)
            axes.set_ylim(bounds[row])
            at_side = column == 0 or (column == size - 1 and not one)
            axes.tick_params(left=column == 0, labelleft=column == 0)
            axes.tick_params(right=at_side and column > 0, labelright=at_side and column > 0)
        if truth is not None:
            axes.axvline(truth[column], **_TRUTH)
            if row != column:
                axes.axhline(truth[row], **_TRUTH)
        if row == size - 1:
            axes.set_xlabel(textwrap.fill(names[column], _LABEL))
        if column == 0:
            axes.set_ylabel(textwrap.fill(names[row], _LABEL) if size > 1 else "density")
        axes.tick_params(labelsize=8)
    places = ("",) if one else (" (above)", " (below)")
    handles = [
        Line2D([], [], color=colors[name], label=name + place) for name, place in zip(shown, places, strict=True)
    ]
    if truth is not None:
        handles.append(Line2D([], [], label="truth", **_TRUTH))
    figure.legend(handles=handles, loc="outside lower right", ncols=len(handles))


def axis_bounds(values: Tensor) -> tuple[float, float]:
    """Return the ends of an axis: all values but the outermost half per cent, and a margin."""
    finite = values[values.isfinite()].double().numpy()
    low, high = np.quantile(finite, [0.005, 0.995]) if len(finite) else (0.0, 1.0)
    if low == high:
        low, high = finite.min(initial=low), finite.max(initial=high)
    margin = 0.1 * (high - low) or 0.5
    return float(low - margin), float(high + margin)


def _edges(values: Tensor, low: float, high: float) -> Any:
    """Return the edges of a histogram's bins: one for each value if they are few and repeat, else 40 of equal width."""
    distinct = np.unique(values.double().numpy())
    distinct = distinct[(distinct >= low) & (distinct <= high)]
    if not 1 < len(distinct) <= min(_BINS, len(values) / 2):  # continuous values hardly repeat
        return np.linspace(low, high, _BINS + 1)
    middles = (distinct[1:] + distinct[:-1]) / 2
    return np.concatenate([[2 * distinct[0] - middles[0]], middles, [2 * distinct[-1] - middles[-1]]])


def _contours(axes: Any, density: Density, bounds: Sequence[tuple[float, float]]) -> None:
    """Draw the level lines of a density in the plane."""
    x, y = (torch.linspace(*ends, 100) for ends in bounds)
    points = torch.cartesian_prod(x, y).to(next(density.parameters()))
    log_prob = density.log_prob(points).reshape(100, 100).T.float().cpu()
    if bool(log_prob.isfinite().all()):
        levels = log_prob.max() - torch.tensor([6.0, 4.5, 3.0, 1.5, 0.5])
        axes.contour(x, y, log_prob, levels=levels.numpy(), colors="black", linewidths=0.6, linestyles="solid")


def save_pit(path: Path, uniform: Tensor, title: str) -> None:
    """Write histograms of numbers ``(N, D)`` that are uniform on [0, 1] if a model is right, as a PNG file.

    The band holds 99 % of the bars of a right model.
    """
    from matplotlib.figure import Figure

    count, size = len(uniform), min(uniform.shape[1], _LATENTS)
    columns = math.ceil(size**0.5)
    rows = -(-size // columns)
    share = 1 / _PIT_BINS
    spread = 2.58 * math.sqrt((1 - share) / (count * share))
    figure = Figure(figsize=(2 + 1.7 * columns, 1.5 + 1.4 * rows), layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat
    for place, axes in enumerate(panels):
        if place >= size:
            axes.set_axis_off()
            continue
        heights, edges = np.histogram(uniform[:, place].cpu().numpy(), _PIT_BINS, range=(0, 1))
        axes.axhspan(1 - spread, 1 + spread, color="gray", alpha=0.25, linewidth=0)
        axes.stairs(heights / (count * share), edges, color=_COLORS["samples"])
        axes.set_title(f"z{place}", fontsize=9)
        axes.tick_params(labelsize=8)
    figure.supxlabel("Φ(z)")
    figure.supylabel("density")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def curve(rows: Sequence[Mapping[str, float]], name: str) -> list[tuple[float, float]]:
    """Return the finite values of a column of metrics.csv over the steps."""
    return [(row["step"], row[name]) for row in rows if math.isfinite(row.get(name, math.nan))]
