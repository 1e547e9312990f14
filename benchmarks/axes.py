"""The layers of sequences and volumes beside torch's convolution layers of the same size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.machine import Machine, machine
from benchmarks.markdown import table
from inverseflow.bijections import CausalConv1d, CausalConv3d, InverseConv1d, InverseConv3d
from inverseflow.ops import explain
from inverseflow.utils.timing import Timing, time_in_turn

_SHAPES = {
    "smoke": [(2, 3, 20), (2, 3, 4, 5, 6)],
    "default": [(16, 64, 16000), (2, 8, 32, 32, 32), (8, 16, 1000), (1, 32, 24, 24, 24), (4, 1, 32, 32, 32)],
}
_ROUNDS = {"smoke": 2, "default": 15}
_CONVOLUTIONS = {1: nn.Conv1d, 3: nn.Conv3d}
_LAYERS = {1: (InverseConv1d, CausalConv1d), 3: (InverseConv3d, CausalConv3d)}


@dataclass(frozen=True)
class AxesRow:
    """One shape: the three layers with kernels of side 3."""

    shape: list[int]
    how: str
    """How the inverse is solved."""
    forward: dict[str, Timing]
    """By layer: ``"conv"``, ``"inverse"`` and ``"causal"``."""
    training: dict[str, Timing]
    """Forward, and backward to the event and all parameters."""


@dataclass(frozen=True)
class AxesBenchmark:
    """Result of `bench_axes`."""

    machine: Machine
    rows: list[AxesRow]

    def to_json(self) -> dict[str, Any]:
        """Return a mapping for JSON."""
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> AxesBenchmark:
        """Read what `to_json` returned."""

        def timings(part: dict[str, Any]) -> dict[str, Timing]:
            return {name: Timing(**timing) for name, timing in part.items()}

        rows = [
            AxesRow(row["shape"], row["how"], timings(row["forward"]), timings(row["training"])) for row in data["rows"]
        ]
        return AxesBenchmark(data["machine"], rows)


def bench_axes(budget: str = "default", device: str = "cpu") -> AxesBenchmark:
    """Time the layers of sequences and volumes in turn with ``nn.Conv1d`` and ``nn.Conv3d``.

    Args:
        budget: ``"smoke"`` for seconds, ``"default"`` for about two minutes.
        device: where, ``"cpu"`` or ``"cuda"``.
    """
    where = torch.device(device)
    here = machine(where)
    return AxesBenchmark(here, [_bench_shape(shape, _ROUNDS[budget], where) for shape in _SHAPES[budget]])


def _bench_shape(shape: Sequence[int], rounds: int, device: torch.device) -> AxesRow:
    channels, axes = shape[1], len(shape) - 2
    torch.manual_seed(0)
    inverse, causal = (kind(channels) for kind in _LAYERS[axes])
    layers: dict[str, nn.Module] = {
        "conv": _CONVOLUTIONS[axes](channels, channels, 3, padding=1, bias=False),
        "inverse": inverse,
        "causal": causal,
    }
    x = torch.randn(shape, device=device)
    forward, training = {}, {}
    for name, layer in layers.items():
        forward[name], training[name] = _calls(layer.to(device), x)
    measure = partial(time_in_turn, rounds=rounds, at_least_ms=5, at_most_ms=20_000, device=device)
    with torch.no_grad():
        timed = measure(forward)
    return AxesRow(list(shape), explain(x, inverse.kernel()), timed, measure(training))


def _calls(layer: nn.Module, x: Tensor) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return the forward pass and a training step of a layer, with other parameters in each step."""
    leaf = x.clone().requires_grad_()
    leaves, upstream = [leaf, *layer.parameters()], torch.ones_like(x)

    def apply(x: Tensor) -> Tensor:
        result = layer(x)
        image: Tensor = result[0] if isinstance(result, tuple) else result
        return image

    def step() -> object:
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.neg_()
        return torch.autograd.grad(apply(leaf), leaves, upstream)

    return lambda: apply(x), step


def axes_table(benchmark: AxesBenchmark) -> str:
    """Return the times of the convolution layers, and the ratios of ours to them."""

    def cells(timings: dict[str, Timing]) -> list[str]:
        conv = timings["conv"].median
        return [f"{conv:.2f}", *(f"{timings[name].median / conv:.2f}" for name in ("inverse", "causal"))]

    head = ["N×C×*spatial", "conv, ms", "inverse", "causal", "training: conv, ms", "inverse", "causal", "how"]
    return table(
        head,
        [["×".join(map(str, row.shape)), *cells(row.forward), *cells(row.training), row.how] for row in benchmark.rows],
    )
