"""Print a flow as a tree of layers with their output shapes and parameters."""

import re
from contextlib import ExitStack
from itertools import groupby

import torch
from torch import Tensor, nn

from inverseflow.bijections import CheckpointedCompose, Compose, Multiscale
from inverseflow.densities.density import example_context_shape
from inverseflow.flows import Flow

_Line = tuple[str, str, str]
"""Label, shape and number of parameters."""


def architecture(flow: Flow) -> str:
    """Return the layers of a flow, one on a line. Consecutive steps that are alike are shown once."""
    shapes = _output_shapes(flow)
    parts = [
        ("context: ", flow.embedding),
        ("", flow.dequantize),
        ("", flow.preprocessing),
        ("", flow.bijection),
        ("base ", flow.base),
    ]
    lines = [("layer", "shape", "parameters"), (type(flow).__name__, str(flow.event_shape), f"{_count(flow):,}")]
    present = [(prefix, part) for prefix, part in parts if isinstance(part, nn.Module)]
    for number, (prefix, part) in enumerate(present):
        lines += _branch([part], prefix, "", number == len(present) - 1, shapes)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(f"{label:<{widths[0]}}  {shape:<{widths[1]}}  {count}".rstrip() for label, shape, count in lines)


def _branch(alike: list[nn.Module], prefix: str, indent: str, last: bool, shapes: dict[nn.Module, str]) -> list[_Line]:
    while isinstance(alike[0], CheckpointedCompose) and len(alike[0].layers) == 1:  # a step of one layer is the layer
        alike = [module.layers[0] for module in alike if isinstance(module, Compose)]
    module = alike[0]
    counts = [_count(each) for each in alike]
    count = f"{counts[0]:,}" if len({*counts}) == 1 else f"{sum(counts):,}"
    times = prefix if prefix.endswith("× ") and len({*counts}) == 1 else ""
    label = f"{indent}{'└─ ' if last else '├─ '}{prefix}{_label(alike)}"
    lines = [(label, shapes.get(module, ""), f"{times}{count}" if any(counts) else "")]
    below = indent + ("   " if last else "│  ")
    children = _children(alike)
    for number, (name, child) in enumerate(children, start=1):
        lines += _branch(child, name, below, number == len(children), shapes)
    return lines


def _children(alike: list[nn.Module]) -> list[tuple[str, list[nn.Module]]]:
    """Return the children of like modules that are shown as one, grouped in the same way."""
    if isinstance(alike[0], Multiscale):
        scales = zip(*(list(module.scales) for module in alike if isinstance(module, Multiscale)), strict=True)
        return [(f"scale {number}: ", list(scale)) for number, scale in enumerate(scales, start=1)]
    if not isinstance(alike[0], Compose):
        return []
    places = zip(*(list(module.layers) for module in alike if isinstance(module, Compose)), strict=True)
    runs = [list(run) for _, run in groupby(places, key=lambda place: _signature(place[0]))]
    return [(f"{len(run)} × " if len(run) > 1 else "", [layer for place in run for layer in place]) for run in runs]


def _signature(module: nn.Module) -> tuple[str, ...]:
    """Return the types inside a module. Modules with equal signatures are shown once."""
    return tuple(type(part).__name__ for part in module.modules())


def _label(alike: list[nn.Module]) -> str:
    name = type(alike[0]).__name__
    if isinstance(alike[0], (Compose, Multiscale)):
        return "step" if name == "CheckpointedCompose" else name
    details = [re.split(r", (?=\w+=)", module.extra_repr()) for module in alike]
    if len({*map(len, details)}) > 1:
        return name
    same = [
        values.pop() if len(values) == 1 else f"{values.pop().partition('=')[0]}=varies"
        for values in map(set, zip(*details, strict=True))
    ]
    return f"{name}({', '.join(same)})" if any(same) else name


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _output_shapes(flow: Flow) -> dict[nn.Module, str]:
    shapes: dict[nn.Module, str] = {}

    def note(module: nn.Module, _: object, output: object) -> None:
        value = output[0] if isinstance(output, tuple) else output
        if isinstance(value, Tensor):
            shapes[module] = str(tuple(value.shape[1:]))

    with ExitStack() as hooks, torch.no_grad():
        for module in flow.modules():
            hooks.enter_context(module.register_forward_hook(note))
        dtype = torch.uint8 if flow.levels is not None else next(flow.parameters()).dtype
        context = example_context_shape(flow)
        flow(torch.zeros(1, *flow.event_shape, dtype=dtype), None if context is None else torch.zeros(1, *context))
    return shapes
