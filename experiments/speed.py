"""Time, memory and round-trip errors of whole flows."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from benchmarks.memory import peak_memory
from benchmarks.model import training_step
from experiments.experiment import Budget
from experiments.result import Values
from inverseflow.bijections import Compose
from inverseflow.flows import Flow
from inverseflow.utils.timing import time_in_turn


@dataclass(frozen=True)
class Effort:
    """Amount of timing."""

    batch: int
    """Number of images in a forward pass and a training step, and of samples."""
    rounds: int
    """Measurements of each function."""
    at_most_ms: float
    """Approximate limit for all measurements of one function."""


EFFORTS: dict[Budget, Effort] = {
    "smoke": Effort(4, 2, 100),
    "quick": Effort(100, 7, 5_000),
    "full": Effort(100, 20, 30_000),
}


def measure_speed(flows: Mapping[str, Flow], images: Tensor, effort: Effort, device: str) -> dict[str, Values]:
    """Measure flows in turn, so that a change of the machine's speed affects all of them.

    Args:
        flows: flows by name, which are not changed.
        images: gray levels, at least `effort.batch` images.
        effort: amount of timing.
        device: device to measure on.

    Returns:
        By name: times in milliseconds of sampling (``sample``), of the log-likelihood (``forward``) and of a training
        step (``training``), the peak memory of a training step, the results of `round_trip`, and the number of
        parameters.
    """
    where = torch.device(device)
    images = images[: effort.batch].to(where)
    flows = {name: copy.deepcopy(flow).to(where) for name, flow in flows.items()}
    values: dict[str, Values] = {
        name: {"parameters": sum(parameter.numel() for parameter in flow.parameters()), **round_trip(flow, images)}
        for name, flow in flows.items()
    }

    def in_turn(what: str, functions: dict[str, Callable[[], object]]) -> None:
        timings = time_in_turn(
            functions, rounds=effort.rounds, at_least_ms=0, at_most_ms=effort.at_most_ms, device=where
        )
        for name, timing in timings.items():
            values[name][what] = asdict(timing)

    for flow in flows.values():
        flow.eval()
    in_turn("sample", {name: _sampling(flow, effort.batch) for name, flow in flows.items()})
    with torch.no_grad():
        in_turn("forward", {name: _forward(flow, images) for name, flow in flows.items()})
    steps = {name: training_step(flow.train(), images) for name, flow in flows.items()}
    in_turn("training", steps)
    for name, step in steps.items():
        values[name]["memory"] = asdict(peak_memory(step, where))
    return values


@torch.no_grad()
def round_trip(flow: Flow, images: Tensor) -> Values:
    """Measure the error of gray levels after encoding and decoding.

    Args:
        flow: the flow.
        images: gray levels.

    Returns:
        ``round_trip_error``, the largest error of a pixel in gray levels before rounding, and ``wrong_pixels``, the
        number of pixels that differ after rounding.

    Example:
        >>> flow = Glow((1, 4, 4), levels=17, scales=1, steps=1, width=4).eval()
        >>> round_trip(flow, torch.randint(17, (3, 1, 4, 4), dtype=torch.uint8))["wrong_pixels"]
        0
    """
    wrong = flow.decode(flow.encode(images)) != images
    return {"round_trip_error": float(reconstruction_errors(flow, images).max()), "wrong_pixels": int(wrong.sum())}


@torch.no_grad()
def reconstruction_errors(flow: Flow, images: Tensor) -> Tensor:
    """Return the largest error of a pixel of each image after encoding and decoding, in gray levels before rounding.

    Args:
        flow: a flow of gray levels.
        images: gray levels, ``(N, C, H, W)``.

    Example:
        >>> flow = Glow((1, 4, 4), levels=17, scales=1, steps=1, width=4).eval()
        >>> bool((reconstruction_errors(flow, torch.randint(17, (3, 1, 4, 4))) < 1e-3).all())
        True
    """
    assert flow.dequantize is not None and flow.levels is not None
    whole = Compose(flow.preprocessing, flow.bijection).eval()
    x = flow.dequantize.center(images)
    back, _ = whole.inverse(whole(x)[0])
    return (back - x).abs().flatten(1).amax(1) * flow.levels


def _sampling(flow: Flow, count: int) -> Callable[[], object]:
    return lambda: flow.sample(count)


def _forward(flow: Flow, images: Tensor) -> Callable[[], object]:
    return lambda: flow.log_prob(images)
