"""Pictures of a run: grids of images, reconstructions, and curves."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from inverseflow.utils.files import atomic_write

matplotlib.use("Agg", force=False)

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


def save_curves(path: Path, rows: Sequence[Mapping[str, float]], baselines: Mapping[str, float], title: str) -> None:
    """Write the rows of metrics.csv as curves over the steps, with the baselines as lines, as a PNG file."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    train, validation = _curve(rows, "train_bits_per_dim"), _curve(rows, "val_bits_per_dim")
    if train:
        axes.plot(*zip(*train, strict=True), color="tab:blue", linewidth=0.8, alpha=0.6, label="training batch")
    if validation:
        marker = "o" if len(validation) < 40 else None
        axes.plot(*zip(*validation, strict=True), color="tab:orange", marker=marker, markersize=4, label="validation")
    measured = [value for _, value in train + validation] or list(baselines.values())
    low, high = min(measured), float(np.quantile(measured, 0.98))  # the first steps can be far above all others
    high = max([high, *(bits for bits in baselines.values() if bits < low + 2 * (high - low))])
    for (name, bits), style in zip(baselines.items(), ("--", ":", "-."), strict=False):
        label = f"{name.replace('_', ' ')} ({bits:.2f}{'' if bits <= high else ', off the top'})"
        axes.axhline(bits, color="gray", linestyle=style, linewidth=1, label=label)
    axes.set_ylim(min([low, *baselines.values()]) - 0.05 * (high - low) - 0.01, high + 0.05 * (high - low) + 0.01)
    axes.set(title=title, xlabel="step", ylabel="bits per dimension")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def _curve(rows: Sequence[Mapping[str, float]], name: str) -> list[tuple[float, float]]:
    return [(row["step"], row[name]) for row in rows if math.isfinite(row.get(name, math.nan))]
