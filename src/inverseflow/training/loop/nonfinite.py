"""Find the origin of a value that is not finite."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from inverseflow.bijections import Compose, Multiscale


def first_non_finite_layer(model: nn.Module, run: Callable[[], object]) -> str | None:
    """Return the name of the first parameter or layer output in `model` that is not finite.

    Parameters are checked before `run()` is called, then the outputs of the layers in the order in which they are
    computed, so inner layers before the layers that contain them.

    Args:
        model: the model that `run` uses.
        run: calls the model on the batch in question, with the random state that it had.

    Returns:
        For instance "the output of bijection.scales.0.layers.1.layers.2 (ActNorm), scale 1, step 1", or None if all
        values are finite.

    Example:
        >>> class Root(nn.Module):
        ...     def forward(self, x):
        ...         return x.sqrt()
        >>> model = nn.Sequential(nn.Identity(), Root(), nn.Identity())
        >>> first_non_finite_layer(model, lambda: model(torch.tensor([-1.0])))
        'the output of 1 (Root)'
    """
    for name, parameter in model.named_parameters():
        if not _is_finite(parameter):
            return f"the parameter {name}{_position(model, name)}"
    found: list[str] = []

    def look(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, _: Any, output: Any) -> None:
            if found:
                return
            for place, tensor in enumerate(_tensors(output)):
                if not _is_finite(tensor):
                    what = "log-det" if place == 1 and isinstance(output, tuple) and len(output) == 2 else "output"
                    found.append(
                        f"the {what} of {name or 'the flow'} ({type(module).__name__}){_position(model, name)}"
                    )
                    return

        return hook

    handles = [module.register_forward_hook(look(name)) for name, module in model.named_modules()]
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else None


def last_non_finite_gradient(parameters: Iterable[tuple[str, nn.Parameter]]) -> str | None:
    """Return the name of the last parameter whose gradient is not finite: the first one that backward reached.

    Args:
        parameters: parameters by name, in the order of the forward pass.

    Example:
        >>> layer = nn.Linear(1, 1)
        >>> layer.bias.grad = torch.tensor([float("nan")])
        >>> last_non_finite_gradient(layer.named_parameters())
        'bias'
    """
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
