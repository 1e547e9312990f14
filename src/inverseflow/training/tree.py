"""A flow as a tree: its layers, the shape that leaves each of them, and their parameters."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor, nn

from inverseflow.bijections import Compose, Inverse, Multiscale
from inverseflow.flows import Flow


@dataclass(frozen=True)
class _Line:
    label: str
    shape: str
    parameters: str


def architecture(flow: Flow) -> str:
    """The layers of a flow, one on a line. Consecutive steps that are alike are shown once.

    Args:
        flow: A flow of images.

    Example:
        >>> from inverseflow.flows import create
        >>> print(architecture(create("glow", (1, 8, 8), scales=1, steps=3, width=8, spline="none", conv1x1="none")))
        layer                                   shape      parameters
        Glow                                    (1, 8, 8)  1,584
        ├─ Dequantize(levels=256)               (1, 8, 8)
        ├─ Logit(alpha=1e-06)                   (1, 8, 8)
        ├─ Multiscale                           (64,)      1,584
        │  └─ scale 1: Compose                  (4, 4, 4)  1,584
        │     ├─ Squeeze(factor=2)              (4, 4, 4)
        │     └─ 3 × Step                       (4, 4, 4)  3 × 528
        │        ├─ ActNorm(channels=4)         (4, 4, 4)  8
        │        └─ AffineCoupling(channels=4)  (4, 4, 4)  520
        └─ base StandardNormal(dims=64)
    """
    shapes = _output_shapes(flow)
    parts = [("", flow.dequantize), ("", flow.preprocessing), ("", flow.bijection), ("base ", flow.base)]
    lines = [_Line(type(flow).__name__, f"{tuple(flow.event_shape)}", f"{_count(flow):,}")]
    present = [(prefix, part) for prefix, part in parts if part is not None]
    for number, (prefix, part) in enumerate(present):
        lines += _branch(part, prefix, "", number == len(present) - 1, shapes)
    widths = [max(len(line.label) for line in lines), max(len(line.shape) for line in lines)]
    rows = [_Line("layer", "shape", "parameters"), *lines]
    return "\n".join(f"{row.label:<{widths[0]}}  {row.shape:<{widths[1]}}  {row.parameters}".rstrip() for row in rows)


def _branch(module: nn.Module, prefix: str, indent: str, last: bool, shapes: dict[nn.Module, str]) -> list[_Line]:
    count = _count(module)
    times = prefix if prefix.endswith("× ") else ""
    line = _Line(
        f"{indent}{'└─ ' if last else '├─ '}{prefix}{_label(module)}",
        shapes.get(module, ""),
        f"{times}{count:,}" if count else "",
    )
    children = _children(module)
    below = indent + ("   " if last else "│  ")
    lines = [line]
    for number, (name, child) in enumerate(children):
        lines += _branch(child, name, below, number == len(children) - 1, shapes)
    return lines


def _children(module: nn.Module) -> list[tuple[str, nn.Module]]:
    if isinstance(module, Multiscale):
        return [(f"scale {number}: ", level) for number, level in enumerate(module.levels, start=1)]
    if not isinstance(module, Compose):
        return []
    runs = [list(alike) for _, alike in groupby(module.layers, key=_signature)]
    return [(f"{len(alike)} × " if len(alike) > 1 else "", alike[0]) for alike in runs]


def _signature(module: nn.Module) -> tuple[str, tuple[tuple[int, ...], ...]]:
    """Layers with the same signature differ in their numbers only."""
    return type(module).__name__, tuple(tuple(value.shape) for value in module.state_dict().values())


def _label(module: nn.Module) -> str:
    own = module.bijection if isinstance(module, Inverse) else module
    assert isinstance(own, nn.Module)
    details = "" if isinstance(module, (Compose, Multiscale)) else own.extra_repr()
    return type(module).__name__ + (f"({details})" if details else "")


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _output_shapes(flow: Flow) -> dict[nn.Module, str]:
    shapes: dict[nn.Module, str] = {}

    def note(module: nn.Module, _: object, output: object) -> None:
        if isinstance(output, tuple) and isinstance(output[0], Tensor):
            shapes[module] = str(tuple(output[0].shape[1:]))

    handles = [module.register_forward_hook(note) for module in flow.modules()]
    try:
        with torch.no_grad():
            flow(torch.zeros(1, *flow.event_shape, dtype=torch.uint8))
    finally:
        for handle in handles:
            handle.remove()
    return shapes
