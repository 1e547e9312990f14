"""Find the origin of a value that is not finite."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from inverseflow.bijections import Compose, Multiscale


def first_non_finite_layer(model: nn.Module, run: Callable[[], object]) -> str | None:
    """Return the name of the first parameter or layer output in `model` that is not finite, None if there is none.

    Parameters are checked before `run()` calls the model, then the outputs of the layers in the order in which they are
    computed, so inner layers before the layers that contain them.
    """
    for name, parameter in model.named_parameters():
        if not _is_finite(parameter):
            return f"the parameter {name}{_position(model, name)}"
    found: list[str] = []

    def look(name: str, module: nn.Module, _: Any, output: Any) -> None:
        for place, tensor in enumerate(_tensors(output)):
            if not found and not _is_finite(tensor):
                what = "log-det" if place == 1 and isinstance(output, tuple) and len(output) == 2 else "output"
                layer = f"{name or 'the flow'} ({type(module).__name__}){_position(model, name)}"
                found.append(f"the {what} of {layer}")

    with ExitStack() as hooks, torch.no_grad():
        for name, module in model.named_modules():
            hooks.enter_context(module.register_forward_hook(partial(look, name)))
        run()
    return found[0] if found else None


def last_non_finite_gradient(parameters: Iterable[tuple[str, nn.Parameter]]) -> str | None:
    """Return the name of the last parameter whose gradient is not finite: the first one that backward reached."""
    names = [name for name, value in parameters if value.grad is not None and not _is_finite(value.grad)]
    return names[-1] if names else None


def _position(model: nn.Module, name: str) -> str:
    """Return the scale and the step of a layer or parameter in a flow of several scales, counted from 1."""
    path = [model]
    for part in name.split("."):
        child = getattr(path[-1], part, None)
        if not isinstance(child, nn.Module):
            break  # the name of a parameter
        path.append(child)
    within = set(path)
    for multiscale in (module for module in path if isinstance(module, Multiscale)):
        for scale, level in enumerate(multiscale.scales, start=1):
            if level not in within:
                continue
            steps = [layer for layer in getattr(level, "layers", ()) if isinstance(layer, Compose)]
            step = next((number for number, layer in enumerate(steps, start=1) if layer in within), None)
            return f", scale {scale}" + ("" if step is None else f", step {step}")
    return ""


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _is_finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())
