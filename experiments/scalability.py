"""At which sizes does the cost of the solve in training outweigh its savings in sampling?"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from functools import partial

import torch
from matplotlib.figure import Figure
from torch import Tensor

from benchmarks.markdown import table
from benchmarks.plotting import label_one_two_five
from experiments.experiment import Budget, Experiment, Settings, Task
from experiments.formatting import milliseconds
from experiments.result import Result, Row, Values
from inverseflow.bijections import Bijection, CausalConv2d, Inverse
from inverseflow.utils.seeding import seeded
from inverseflow.utils.timing import time_in_turn

_GRIDS: dict[Budget, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "smoke": ((3, 8), (8, 16)),
    "quick": ((3, 12, 48, 192, 512), (32, 64, 128, 256)),
    "full": ((3, 12, 48, 96, 192, 512), (32, 64, 128, 256)),
}
_ELEMENTS = 1 << 20  # of a batch, unless a single image has more
_LARGEST_BATCH = 32
_ROUNDS = {"smoke": 2, "quick": 5, "full": 20}
_AT_MOST_MS = {"smoke": 50, "quick": 4_000, "full": 20_000}


def measure(channels: int, side: int, settings: Settings) -> Values:
    """Time one k×k layer in the direction of Inverse-Flow and in the swapped direction, in turn.

    Args:
        channels: number of channels.
        side: height and width.
        settings: settings of the experiment.

    Returns:
        Times of a batch of ``batch`` images: ``train_solve`` and ``sample_convolution`` of the inverse convolution,
        ``train_convolution`` and ``sample_solve`` of the convolution.
    """
    device = torch.device(settings.device)
    batch = images_at_once(channels, side)
    with seeded(0, "weights"):
        layer = CausalConv2d(channels).to(device)
        x = torch.randn(batch, channels, side, side).to(device)
    functions = {
        "train_solve": _training(Inverse(layer), x),
        "train_convolution": _training(layer, x),
        "sample_convolution": _sampling(Inverse(layer), x),
        "sample_solve": _sampling(layer, x),
    }
    timings = time_in_turn(
        functions,
        rounds=_ROUNDS[settings.budget],
        at_least_ms=2,
        at_most_ms=_AT_MOST_MS[settings.budget],
        device=device,
    )
    return {"batch": batch, **{name: asdict(timing) for name, timing in timings.items()}}


def images_at_once(channels: int, side: int) -> int:
    """Return a batch size that keeps both cores busy and the memory small.

    Example:
        >>> images_at_once(12, 32), images_at_once(512, 256)
        (32, 1)
    """
    return min(_LARGEST_BATCH, max(1, _ELEMENTS // (channels * side**2)))


def break_even(values: Values) -> float:
    """Return the number of samples per training image from which the solve in training pays off.

    Args:
        values: result of `measure`.

    Returns:
        Extra training time per image divided by the time saved per sample; infinite if sampling saves nothing, 0 if
        training costs nothing extra.

    Example:
        >>> times = {"train_solve": 5, "train_convolution": 3, "sample_solve": 2, "sample_convolution": 1}
        >>> break_even({name: {"median": time} for name, time in times.items()})
        2.0
    """
    extra = values["train_solve"]["median"] - values["train_convolution"]["median"]
    saved = values["sample_solve"]["median"] - values["sample_convolution"]["median"]
    if extra <= 0:
        return 0.0
    return extra / saved if saved > 0 else math.inf


def _training(layer: Bijection, x: Tensor) -> Callable[[], object]:
    image = x.clone().requires_grad_()
    leaves = [image, *layer.parameters()]

    def step() -> object:
        z, _ = layer(image)
        return torch.autograd.grad(z, leaves, x)

    return step


def _sampling(layer: Bijection, z: Tensor) -> Callable[[], object]:
    @torch.no_grad()
    def sample() -> object:
        return layer.inverse(z)

    return sample


def _tasks(settings: Settings) -> list[Task]:
    channels, sides = _GRIDS[settings.budget]
    return [
        Task(
            f"side {side}",
            {f"{count} channels": {"channels": count, "side": side, "kernel_size": 3, "device": settings.device}},
            partial(_measure_one, count, side, settings),
        )
        for count in channels
        for side in sides
    ]


def _measure_one(channels: int, side: int, settings: Settings) -> dict[str, Values]:
    return {f"{channels} channels": measure(channels, side, settings)}


def _parts(result: Result) -> list[str]:
    keys = ("train_solve", "train_convolution", "sample_convolution", "sample_solve")
    lines = [
        [
            f"{row.settings['channels']}×{row.settings['side']}×{row.settings['side']}",
            str(row.values["batch"]),
            *(milliseconds(row.values[key]["median"]) for key in keys),
            f"{_ratio(row, 'train_solve', 'train_convolution'):.2f}",
            f"{_ratio(row, 'sample_solve', 'sample_convolution'):.2f}",
            _samples(break_even(row.values)),
        ]
        for row in result.rows
    ]
    head = ["image", "batch", "training by solve, ms", "by convolution, ms", "sampling by convolution, ms"]
    head += ["by solve, ms", "training, ratio", "sampling, ratio", "samples to break even"]
    pays = [row for row in result.rows if break_even(row.values) <= 1]
    never = [row for row in result.rows if math.isinf(break_even(row.values))]
    worst = max(result.rows, key=lambda row: _ratio(row, "train_solve", "train_convolution"))
    return [
        table(head, lines),
        f"With at most one sample per training image, the inverse pays off on {len(pays)} of {len(result.rows)} sizes; "
        f"on {len(never)} it saves nothing in sampling. The largest extra cost of training is on "
        f"{worst.settings['channels']}×{worst.settings['side']}×{worst.settings['side']}, "
        f"{_ratio(worst, 'train_solve', 'train_convolution'):.2f} times the cost of the convolution.",
    ]


def _samples(count: float) -> str:
    return "never" if math.isinf(count) else f"{count:.2f}"


def _ratio(row: Row, above: str, below: str) -> float:
    return float(row.values[above]["median"] / row.values[below]["median"])


def _draw(result: Result) -> Figure:
    figure = Figure(figsize=(9, 4), layout="constrained")
    pairs = (
        ("train_solve", "train_convolution", "training: solve / convolution"),
        ("sample_solve", "sample_convolution", "sampling: solve / convolution"),
    )
    for axes, (above, below, title) in zip(figure.subplots(1, 2, sharey=True), pairs, strict=True):
        for name in result.names:
            rows = result.parts(name)
            axes.plot(
                [row.settings["side"] for row in rows], [_ratio(row, above, below) for row in rows], "o-", label=name
            )
        axes.axhline(1, color="grey", linewidth=1)
        axes.set(xscale="log", yscale="log", xlabel="side of the image", title=title)
        label_one_two_five(axes.xaxis, axes.yaxis)
        axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize="small")
    return figure


EXPERIMENTS = (
    Experiment(
        name="scalability",
        title="Scalability of one layer",
        about="""
One 3×3 layer on images of increasing side and number of channels, in two directions. In Inverse-Flow the solve maps
image to latent, so training differentiates through the solve and sampling is a convolution. Other flows swap the
direction and sample by the solve. Training is the forward and backward pass for image and kernel. The last column is
the number of samples per training image from which the savings in sampling exceed the extra cost of training.""",
        tasks=_tasks,
        parts=_parts,
        draw=_draw,
    ),
)
