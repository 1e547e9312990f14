"""The table of `inverseflow doctor --speed`: times of the inverse convolution and of conv2d on this machine."""

import math
from collections.abc import Callable
from functools import partial
from statistics import geometric_mean

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from inverseflow.ops import explain, inv_conv2d
from inverseflow.utils.timing import time_in_turn

SHAPES = ((100, 1, 28), (100, 4, 14), (50, 12, 16), (8, 12, 64), (16, 48, 16), (2, 32, 64))
"""Batches of square images as (number, channels, side), typical of flows on MNIST and CIFAR-10, and larger ones."""

_KERNEL = 3
_ROUNDS = 15


def speed_table(device: torch.device, shapes: tuple[tuple[int, int, int], ...] = SHAPES, budget_ms: float = 900) -> str:
    """Time `inv_conv2d` and `conv2d`, each for about `budget_ms` on a batch, and return a table of times and ratios."""
    lines = [
        f"speed of the inverse {_KERNEL}×{_KERNEL} convolution on {device}, float32, median ms",
        f"  {'':<15}{'':<10}{'forward':^24}  {'with gradient':^24}",
        f"  {'images':<15}{'backend':<10}" + "  ".join(2 * [f"{'conv2d':>8}{'inverse':>8}{'ratio':>8}"]),
    ]
    ratios: tuple[list[float], list[float]] = ([], [])  # forward, with gradient
    for shape in shapes:
        backend, forward, training = _measure(shape, device, budget_ms)
        line = f"  {'×'.join(map(str, (*shape, shape[-1]))):<15}{backend:<10}"
        for times, column in zip((forward, training), ratios, strict=True):
            column.append(times["inverse"] / times["conv2d"])
            line += f"{times['conv2d']:>8.2f}{times['inverse']:>8.2f}{column[-1]:>8.2f}  "
        lines.append(line.rstrip())
    forward_mean, training_mean = map(geometric_mean, ratios)
    lines.append(
        f"  The inverse takes {forward_mean:.2f} times as long as conv2d, {training_mean:.2f} times with gradient "
        "(geometric means)."
    )
    return "\n".join(lines)


def _measure(
    shape: tuple[int, int, int], device: torch.device, budget_ms: float
) -> tuple[str, dict[str, float], dict[str, float]]:
    """Return the backend, and the median milliseconds of both functions: forward, and with gradient."""
    batch, channels, side = shape
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, channels, side, side, generator=generator).to(device)
    weight = torch.randn(channels, channels, _KERNEL, _KERNEL, generator=generator).to(device)
    weight *= 0.2 / (_KERNEL * math.sqrt(channels))  # small taps, so that the inverse does not grow
    functions: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "conv2d": lambda x, weight: conv2d(x, weight, padding=_KERNEL // 2),
        "inverse": lambda x, weight: inv_conv2d(x, weight, unitriangular=True),
    }

    def medians(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
        timings = time_in_turn(calls, rounds=_ROUNDS, at_least_ms=3, at_most_ms=budget_ms, device=device)
        return {name: timing.median for name, timing in timings.items()}

    with torch.no_grad():
        forward = medians({name: partial(function, x, weight) for name, function in functions.items()})
    training = medians({name: _training_step(function, x, weight) for name, function in functions.items()})
    return explain(x, weight).partition(":")[0], forward, training


def _training_step(function: Callable[[Tensor, Tensor], Tensor], x: Tensor, weight: Tensor) -> Callable[[], object]:
    """Return a function that runs forward and backward. It changes the kernel first, as each step of training does."""
    x, weight = x.clone().requires_grad_(), weight.clone().requires_grad_()

    def step() -> object:
        with torch.no_grad():
            weight.neg_()
        return torch.autograd.grad(function(x, weight).sum(), (x, weight))

    return step
