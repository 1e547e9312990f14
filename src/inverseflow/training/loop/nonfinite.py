"""Finds where a number that is not finite came from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from inverseflow.bijections import Compose


def first_non_finite_layer(model: nn.Module, run: Callable[[], object]) -> str | None:
    """Names the first place in `model` that holds or gives a number that is not finite.

    Parameters are looked at before `run()` is called, then the outputs of the layers in the order in which they are
    ready, so inner layers before those that contain them.

    Args:
        model: The model that `run` uses.
        run: Calls the model on the batch in question, with the random state that it had.

    Returns:
        For instance "the output of bijection.scales.0.layers.1.layers.2 (ActNorm), scale 1, step 1", or None if all is
        finite.

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
    """Names the last parameter whose gradient is not finite: the one nearest to the loss, where backward met it first.

    >>> layer = nn.Linear(1, 1)
    >>> layer.bias.grad = torch.tensor([float("nan")])
    >>> last_non_finite_gradient(layer.named_parameters())
    'bias'
    """
    names = [name for name, value in parameters if value.grad is not None and not _is_finite(value.grad)]
    return names[-1] if names else None


def _position(model: nn.Module, name: str) -> str:
    """Where in a flow of several scales a layer is, as a reader counts."""
    match = re.match(r"(.*\bscales\.(\d+)\.layers)\.(\d+)", name)
    if match is None:
        return ""
    scale, place = int(match[2]) + 1, int(match[3])
    steps = [
        number for number, layer in enumerate(model.get_submodule(match[1]).children()) if isinstance(layer, Compose)
    ]
    return f", scale {scale}, step {steps.index(place) + 1}" if place in steps else f", scale {scale}"


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
