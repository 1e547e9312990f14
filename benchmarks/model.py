"""Benchmark of whole flows of equal architecture, and the share of the solve in a training step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.machine import Machine, machine
from benchmarks.memory import Memory, peak_memory
from benchmarks.sequential import pixel_by_pixel, swap_direction
from inverseflow.bijections import InverseConv2d
from inverseflow.flows import Flow, Glow, InverseFlow
from inverseflow.ops import available_backends, backend
from inverseflow.utils.timing import Timing, time_in_turn

InTurn = Callable[[dict[str, Callable[[], object]]], dict[str, Timing]]


@dataclass(frozen=True)
class Architecture:
    """Image size, batch size and model size of a comparison."""

    channels: int
    side: int
    batch: int
    scales: int
    steps: int
    width: int

    @property
    def name(self) -> str:
        """Image, scales, steps, width."""
        return (
            f"{self.channels}×{self.side}×{self.side}, {self.scales} scales of {self.steps} steps, width {self.width}"
        )


@dataclass(frozen=True)
class ModelRow:
    """One flow of one architecture, on batches of `Architecture.batch` images."""

    architecture: Architecture
    flow: str
    parameters: int
    forward: Timing | None
    """FT: log-likelihood of a batch; None for a flow that differs from the previous one only in sampling."""
    sample: Timing
    """ST: as many samples."""
    training: Timing | None
    """Log-likelihood, backward and a step of Adam."""
    memory: Memory | None
    """Peak of a training step."""
    wrong_pixels: int
    """Pixels that differ after encoding and decoding a batch."""


@dataclass(frozen=True)
class Share:
    """Share of the solve in a training step of Inverse-Flow with one backend."""

    architecture: Architecture
    backend: str
    step: Timing
    """A whole training step."""
    solves: Timing
    """Forward and backward of its inverse convolutions alone, on the inputs that they receive in the step."""


@dataclass(frozen=True)
class ModelBenchmark:
    """Result of `bench_model`."""

    machine: Machine
    rows: list[ModelRow]
    shares: list[Share]

    def to_json(self) -> dict[str, Any]:
        """Return a mapping for JSON."""
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> ModelBenchmark:
        """Read what `to_json` returned."""

        def timing(value: dict[str, Any] | None) -> Timing | None:
            return Timing(**value) if value else None

        return ModelBenchmark(
            data["machine"],
            [
                ModelRow(
                    architecture=Architecture(**row["architecture"]),
                    flow=row["flow"],
                    parameters=row["parameters"],
                    forward=timing(row["forward"]),
                    sample=Timing(**row["sample"]),
                    training=timing(row["training"]),
                    memory=Memory(**row["memory"]) if row["memory"] else None,
                    wrong_pixels=row["wrong_pixels"],
                )
                for row in data["rows"]
            ],
            [
                Share(
                    Architecture(**share["architecture"]),
                    share["backend"],
                    Timing(**share["step"]),
                    Timing(**share["solves"]),
                )
                for share in data["shares"]
            ],
        )


MODEL_BUDGETS: dict[str, tuple[tuple[Architecture, ...], int, float]] = {
    "smoke": ((Architecture(1, 8, 4, 2, 2, 8),), 2, 200),
    "default": ((Architecture(1, 28, 100, 2, 4, 64), Architecture(3, 32, 100, 2, 4, 64)), 15, 10_000),
}
"""Architectures, rounds, and approximate limit in ms for all rounds of one function."""


def bench_model(
    budget: str = "default", device: str = "cpu", on_architecture: Callable[[Architecture], None] = lambda _: None
) -> ModelBenchmark:
    """Time Inverse-Flow, Glow and the sequential alternative, untrained, on random images.

    Args:
        budget: ``"smoke"`` for seconds, ``"default"`` for a few minutes.
        device: where, ``"cpu"`` or ``"cuda"``.
        on_architecture: called before each architecture, for a progress bar.
    """
    where = torch.device(device)
    architectures, rounds, at_most_ms = MODEL_BUDGETS[budget]
    rows: list[ModelRow] = []

    def in_turn(functions: dict[str, Callable[[], object]]) -> dict[str, Timing]:
        return time_in_turn(functions, rounds=rounds, at_least_ms=0, at_most_ms=at_most_ms, device=where)

    for architecture in architectures:
        on_architecture(architecture)
        rows += _bench_flows(architecture, where, in_turn)
    return ModelBenchmark(machine(where), rows, _bench_shares(architectures[0], where, in_turn))


def _bench_flows(architecture: Architecture, device: torch.device, in_turn: InTurn) -> list[ModelRow]:
    images = _images(architecture, device)
    inverse_flow = _inverse_flow(architecture)
    glow = Glow(
        inverse_flow.event_shape, scales=architecture.scales, steps=architecture.steps, width=architecture.width
    )
    swapped = swap_direction(inverse_flow)
    flows: dict[str, Flow] = {"Inverse-Flow": inverse_flow, "Glow": glow, "sequential alternative": swapped}
    for flow in flows.values():
        flow.to(device).initialize(images)
    plain = "sequential alternative, pixel by pixel"
    samplers = {**flows, plain: pixel_by_pixel(swapped)}

    with torch.no_grad():
        wrong = {name: int((flow.decode(flow.encode(images)) != images).sum()) for name, flow in samplers.items()}
    sample = in_turn({name: _sampling(flow, architecture.batch) for name, flow in samplers.items()})
    with torch.no_grad():
        forward = in_turn({name: _forward(flow, images) for name, flow in flows.items()})
    steps = {name: training_step(flow, images) for name, flow in flows.items()}
    training = in_turn(steps)
    memory = {name: peak_memory(step, device) for name, step in steps.items()}
    return [
        ModelRow(
            architecture,
            name,
            sum(parameter.numel() for parameter in flow.parameters()),
            forward.get(name),
            sample[name],
            training.get(name),
            memory.get(name),
            wrong[name],
        )
        for name, flow in samplers.items()
    ]


def _bench_shares(architecture: Architecture, device: torch.device, in_turn: InTurn) -> list[Share]:
    images = _images(architecture, device)
    flow = _inverse_flow(architecture).to(device)
    flow.initialize(images)
    step, solves = training_step(flow, images), solves_of(flow, images)
    names = [name for name, reason in available_backends().items() if reason is None and name != "dense"]
    names = [name for name in names if device.type == "cpu" or name != "native"]
    names = [name for name in names if device.type != "cpu" or name != "triton"]
    timings = in_turn(
        {f"{name} {part}": _forced(name, call) for name in names for part, call in (("step", step), ("solves", solves))}
    )
    return [Share(architecture, name, timings[f"{name} step"], timings[f"{name} solves"]) for name in names]


def training_step(flow: Flow, images: Tensor) -> Callable[[], object]:
    """Return a function that does one step of Adam on the mean bits per dimension of a batch."""
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-5)

    def step() -> None:
        optimizer.zero_grad()
        flow.bits_per_dim(images).mean().backward()
        optimizer.step()

    return step


def solves_of(flow: Flow, images: Tensor) -> Callable[[], object]:
    """Return a function that runs the inverse convolutions of a flow, forward and backward, on their actual inputs."""
    inputs: dict[InverseConv2d, Tensor] = {}
    layers = [module for module in flow.modules() if isinstance(module, InverseConv2d)]

    def keep(layer: InverseConv2d, arguments: tuple[Tensor, ...], output: object) -> None:
        inputs[layer] = arguments[0].detach().clone().requires_grad_()

    handles = [layer.register_forward_hook(keep) for layer in layers]
    with torch.no_grad():
        flow.log_prob(images)
    for handle in handles:
        handle.remove()
    gradients = [torch.ones_like(inputs[layer]) for layer in layers]

    def solves() -> None:
        outputs = [layer(inputs[layer])[0] for layer in layers]
        torch.autograd.grad(
            outputs, [*inputs.values(), *(tap for layer in layers for tap in layer.parameters())], gradients
        )

    return solves


def _inverse_flow(architecture: Architecture) -> InverseFlow:
    torch.manual_seed(0)
    shape = (architecture.channels, architecture.side, architecture.side)
    return InverseFlow(shape, scales=architecture.scales, steps=architecture.steps, width=architecture.width)


def _images(architecture: Architecture, device: torch.device) -> Tensor:
    shape = (architecture.batch, architecture.channels, architecture.side, architecture.side)
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).to(device)


def _forward(flow: Flow, images: Tensor) -> Callable[[], object]:
    return lambda: flow.log_prob(images)


def _sampling(flow: Flow, count: int) -> Callable[[], object]:
    return lambda: flow.sample(count)


def _forced(name: str, function: Callable[[], object]) -> Callable[[], object]:
    def call() -> object:
        with backend(name):
            return function()

    return call
