"""Figure 1 of the Inverse-Flow paper: errors of images after encoding and decoding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from benchmarks.markdown import table
from experiments.embedded_png import embedded, pixels_of
from experiments.experiment import Experiment, Settings, Task
from experiments.result import Result, Values
from experiments.speed import reconstruction_errors
from experiments.trained.paper import TABLE_2, TABLE_5
from experiments.trained.table import Line, TrainedTable
from experiments.trained.training import fixed, images, train_line
from inverseflow.flows import Flow
from inverseflow.training.options import TrainOptions
from inverseflow.training.run import Run

_SHOWN = 64
_PICTURED = 8
_LINES = (Line("Inverse-Flow", {"name": "inverse-flow"}), Line("Glow (no k×k layer)", {"name": "glow"}))


def _definitions(settings: Settings) -> Mapping[str, TrainedTable]:
    """Return the tables whose trained flows are used; their run folders are reused if they exist."""
    return {"MNIST": TABLE_2} if settings.budget == "smoke" else {"MNIST": TABLE_2, "CIFAR-10": TABLE_5}


def _tasks(settings: Settings) -> list[Task]:
    tasks = []
    for data, definition in _definitions(settings).items():
        for line in _LINES:
            options = _options(definition, line, settings)
            test_images = definition.test_images(settings.budget)
            name = f"{line.name}, {data}"
            measured = {**fixed(options), "test_images": test_images, "shown": _SHOWN, "pictured": _PICTURED}
            tasks.append(Task("reconstruction", {name: measured}, partial(_measure, name, definition, line, settings)))
    return tasks


def _options(definition: TrainedTable, line: Line, settings: Settings) -> TrainOptions:
    """Return the training options of the table, without its `overwrite`."""
    return replace(definition.options(line, 0, settings), resume=True, overwrite=False)


def _measure(name: str, definition: TrainedTable, line: Line, settings: Settings) -> dict[str, Values]:
    options, test_images = _options(definition, line, settings), definition.test_images(settings.budget)
    trained = train_line(options, test_images)
    assert options.out is not None
    run = Run(options.out)
    data = images(options.data, options.data_dir, test_images)
    some = data.test.__getitems__(range(min(_SHOWN, len(data.test)))).to(settings.device)
    flow = Flow.from_pretrained(run.model).to(settings.device).eval()
    with torch.no_grad():
        reconstructed = flow.decode(flow.encode(some))
    wrong = (reconstructed != some).sum()
    return {
        name: {
            "title": trained["title"],
            "bits_per_dim": trained["bits_per_dim"],
            "errors": reconstruction_errors(flow, some).tolist(),
            "wrong_pixels": int(wrong),
            "pixels": some.numel(),
            "originals": embedded(strip(some[:_PICTURED], data.levels)),
            "reconstructions": embedded(strip(reconstructed[:_PICTURED], data.levels)),
        }
    }


def _parts(result: Result) -> list[str]:
    lines = [
        [
            row.name.partition(", ")[0],
            row.values["title"],
            f"{row.values['bits_per_dim']:.3f}",
            f"{max(row.values['errors']):.0e}",
            f"{sum(row.values['errors']) / len(row.values['errors']):.0e}",
            f"{row.values['wrong_pixels']} of {row.values['pixels']:,}",
        ]
        for row in result.rows
    ]
    wrong = sum(row.values["wrong_pixels"] for row in result.rows)
    verdict = "every pixel is recovered" if wrong == 0 else f"{wrong} pixels are NOT recovered"
    return [
        table(["flow", "images", "bits/dim", "largest error", "mean of an image's largest", "wrong pixels"], lines),
        f"After rounding to gray levels, {verdict}.",
    ]


def strip(images: Tensor, levels: int) -> Tensor:
    """Return gray levels ``(N, 1 or 3, H, W)`` side by side in one image ``(H, N W, 3)``.

    Example:
        >>> strip(torch.tensor([0, 16]).reshape(2, 1, 1, 1), levels=17).tolist()
        [[[0, 0, 0], [255, 255, 255]]]
    """
    row = torch.cat(list(images.double().expand(-1, 3, -1, -1)), dim=2) * (255 / (levels - 1))
    return row.round().to(torch.uint8).permute(1, 2, 0)


def _draw(result: Result) -> Figure:
    count = len(result.rows)
    figure = Figure(figsize=(8, 1.4 + 2 * count), layout="constrained")
    *pictures, axes = figure.subplots(count + 1, 1, height_ratios=[2.2] * count + [0.6 + 0.4 * count])
    names = [f"{row.name.partition(', ')[0]}, {row.values['title']}" for row in result.rows]
    for picture, row, name in zip(pictures, result.rows, names, strict=True):
        original, reconstruction = (pixels_of(row.values[what]) for what in ("originals", "reconstructions"))
        side = len(original)
        gap = np.full((max(1, side // 10), *original.shape[1:]), 255, np.uint8)
        picture.imshow(np.concatenate([original, gap, reconstruction]), interpolation="nearest")
        picture.set_yticks([side / 2, 3 * side / 2 + len(gap)], ["original", "reconstruction"])
        picture.set_xticks([])
        picture.set_title(name, fontsize="medium")
    for index, row in enumerate(result.rows[::-1]):
        axes.plot(row.values["errors"], [index] * len(row.values["errors"]), "|", color="tab:blue")
    axes.axvline(0.5, color="grey", linewidth=1)
    axes.set_yticks(range(count), names[::-1])
    axes.set(
        ylim=(-0.6, count - 0.4),
        xscale="log",
        xlabel="largest error of each image, in gray levels (line: rounds to a wrong one)",
    )
    axes.grid(alpha=0.3)
    return figure


EXPERIMENTS = (
    Experiment(
        name="figure1",
        title="Figure 1: reconstructions",
        about=f"""
The trained flows of tables 2 and 5 encode and decode the first {_SHOWN} test images in float32. Errors are in gray
levels before rounding. The plot shows the first {_PICTURED} images, originals above and reconstructions below.""",
        tasks=_tasks,
        parts=_parts,
        draw=_draw,
    ),
)
