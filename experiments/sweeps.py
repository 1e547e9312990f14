"""Tables 7 to 10 of the Inverse-Flow paper: time and memory by image size, batch size and kernel size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
from matplotlib.figure import Figure

from benchmarks.markdown import table
from benchmarks.plotting import label_one_two_five
from benchmarks.summary import growth_exponent
from experiments.experiment import Budget, Experiment, Settings, Task
from experiments.formatting import milliseconds
from experiments.result import Result, Values
from experiments.speed import EFFORTS, measure_speed
from inverseflow import flows
from inverseflow.utils.seeding import seeded

_DEPTHS: dict[Budget, Mapping[str, int]] = {
    "smoke": {"scales": 1, "steps": 1, "width": 8},
    "quick": {"scales": 2, "steps": 4, "width": 64},
    "full": {"scales": 2, "steps": 32, "width": 512},
}
_FOOTNOTE = """In the public repository, the script for these tables builds a flow of 1×1 convolutions without any k×k
layer. Its K = 2, L = 32 is impossible, since an image of 256 pixels can be halved only eight times. The two numbers are
probably swapped, and we read them so."""


@dataclass(frozen=True)
class Point:
    """One measurement of a sweep."""

    size: int
    """Position on the axis."""
    side: int
    batch: int
    options: Mapping[str, Any]


@dataclass(frozen=True)
class SweptTable:
    """A table along one axis."""

    name: str
    title: str
    axis: str
    """Name of the quantity that changes."""
    flows: Mapping[str, str]
    """Registered names by printed name."""
    points: Mapping[Budget, tuple[Point, ...]]
    published: str
    """The printed numbers of the paper, in a sentence."""


def _sides(*sides: int, batch: int) -> tuple[Point, ...]:
    return tuple(Point(side, side, batch, {}) for side in sides)


def _batches(*batches: int, side: int) -> tuple[Point, ...]:
    return tuple(Point(batch, side, batch, {}) for batch in batches)


def _kernels(*kernels: int, side: int, batch: int) -> tuple[Point, ...]:
    return tuple(Point(kernel, side, batch, {"kernel_size": kernel}) for kernel in kernels)


_INVERSE_FLOW, _FINC = {"Inverse-Flow": "inverse-flow"}, {"FInC Flow": "finc"}
_SIZES: dict[Budget, tuple[Point, ...]] = {
    "smoke": _sides(8, 16, batch=2),
    "quick": _sides(16, 32, 64, 128, 256, batch=4),
    "full": _sides(16, 32, 64, 128, 256, batch=4),
}

TABLES = (
    SweptTable(
        "table7",
        "Table 7: Inverse-Flow by image size",
        "side of the image",
        {**_INVERSE_FLOW, "Glow": "glow"},
        _SIZES,
        "From 16 to 256 pixels the paper prints ST 15.55–16.54 ms, FT 211–427 ms and 0.131–8.025 GB.",
    ),
    SweptTable(
        "table8",
        "Table 8: FInC Flow by image size",
        "side of the image",
        {**_FINC, **_INVERSE_FLOW},
        _SIZES,
        "From 16 to 256 pixels the paper prints ST 17.21–23.08 ms, FT 255–285 ms and 0.129–8.016 GB.",
    ),
    SweptTable(
        "table9",
        "Table 9: Inverse-Flow by batch size",
        "images",
        {**_INVERSE_FLOW, **_FINC},
        {
            "smoke": _batches(1, 2, side=8),
            "quick": _batches(1, 2, 4, 8, 16, 32, 64, 128, side=32),
            "full": _batches(1, 2, 4, 8, 16, 32, 64, 128, side=64),
        },
        "From 1 to 128 images the paper prints ST 16–20 ms and FT 235–487 ms.",
    ),
    SweptTable(
        "table10",
        "Table 10: Inverse-Flow by kernel size",
        "side of the kernel",
        {**_INVERSE_FLOW, **_FINC},
        {
            "smoke": _kernels(2, 3, side=8, batch=2),
            "quick": _kernels(2, 3, 5, 7, 9, 11, side=32, batch=32),
            "full": _kernels(2, 3, 4, 5, 6, 7, 8, 9, 10, 11, side=64, batch=4),
        },
        "From 2×2 to 11×11 the paper prints FT 364–2428 ms and 3.372–6.068 M parameters.",
    ),
)
"""In the order of the paper."""


def measure(definition: SweptTable, point: Point, settings: Settings) -> dict[str, Values]:
    """Measure the flows of a table at one point, in turn.

    Args:
        definition: the table.
        point: the point.
        settings: settings of the experiment.
    """
    shape = (3, point.side, point.side)
    images = torch.randint(256, (point.batch, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    built = {}
    for name, registered in definition.flows.items():
        with seeded(0, "weights"):
            built[name] = flows.create(registered, shape, **_DEPTHS[settings.budget], **point.options)
            built[name].initialize(images)
    effort = replace(EFFORTS[settings.budget], batch=point.batch)
    return measure_speed(built, images, effort, settings.device)


def _tasks(definition: SweptTable, settings: Settings) -> list[Task]:
    return [
        Task(
            f"{definition.axis} {point.size}",
            {
                name: {**asdict(point), **_DEPTHS[settings.budget], "flow": registered, "device": settings.device}
                for name, registered in definition.flows.items()
            },
            partial(measure, definition, point, settings),
        )
        for point in definition.points[settings.budget]
    ]


def _parts(definition: SweptTable, result: Result) -> list[str]:
    some = result.rows[0].settings
    head = ["flow", definition.axis, "batch", "ST, ms", "FT, ms", "step, ms", "peak, MiB", "parameters", "error"]
    lines = [
        [
            row.name,
            str(row.settings["size"]),
            str(row.settings["batch"]),
            *(milliseconds(row.values[what]["median"]) for what in ("sample", "forward", "training")),
            f"{row.values['memory']['tensors'] / 2**20:.1f}",
            f"{row.values['parameters']:,}",
            f"{row.values['round_trip_error']:.0e}",
        ]
        for name in result.names
        for row in result.parts(name)
    ]
    growth = [
        f"{name} ST {_exponent(result, name, 'sample'):.2f}, FT {_exponent(result, name, 'forward'):.2f}, "
        f"step {_exponent(result, name, 'training'):.2f}"
        for name in result.names
    ]
    return [
        f"{some['scales']} scales of {some['steps']} steps, width {some['width']}.",
        table(head, lines),
        f"Exponents of the growth with the {definition.axis}, over the upper half of the sweep: {'; '.join(growth)}.",
    ]


def _exponent(result: Result, name: str, what: str) -> float:
    rows = result.parts(name)
    upper = rows[min(len(rows) // 2, len(rows) - 2) :]
    return growth_exponent([(row.settings["size"], row.values[what]["median"]) for row in upper])


def _draw(definition: SweptTable, result: Result) -> Figure:
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    for axes, (what, label) in zip(
        figure.subplots(1, 4),
        (("sample", "ST, ms"), ("forward", "FT, ms"), ("training", "step, ms"), ("memory", "peak, MiB")),
        strict=True,
    ):
        for name in result.names:
            rows = result.parts(name)
            values = [
                row.values["memory"]["tensors"] / 2**20 if what == "memory" else row.values[what]["median"]
                for row in rows
            ]
            axes.plot([row.settings["size"] for row in rows], values, "o-", markersize=3, label=name)
        axes.set(xscale="log", yscale="log", xlabel=definition.axis, title=label)
        label_one_two_five(axes.xaxis, axes.yaxis)
        axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return figure


EXPERIMENTS = tuple(
    Experiment(
        name=each.name,
        title=each.title,
        about=f"""
Untrained flows on random images of three channels take turns in one process at each size. ST is the time to draw as
many samples as the batch has images, and FT the time of their log-likelihood. A step is log-likelihood, backward and
Adam, and peak is its memory in tensors. {each.published} {_FOOTNOTE}""",
        tasks=partial(_tasks, each),
        parts=partial(_parts, each),
        draw=partial(_draw, each),
    )
    for each in TABLES
)
