"""How a layer builds its network and calls it, with the context as an argument of its own or behind the channels."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Builder = Callable[..., nn.Module]
"""Builds a network from its numbers of input and output channels, such as ``functools.partial(ConvNet, width=64)``.

A builder with an argument ``context_channels`` gets it by name, and its network is called as ``net(x, context)``.
For any other the context's channels count as input channels, and its network is called as ``net(x)`` with the context
behind the channels of x.
"""


def build_network(
    conditioner: nn.Module | Builder, in_channels: int, out_channels: int, context_channels: int | None, **about: Any
) -> nn.Module:
    """Return a conditioner that is a network, or the network that it builds; in_channels are without the context's.

    Arguments that the builder lacks are left out.

    Raises:
        TypeError: if it is neither a network nor a function that returns one.
    """
    if isinstance(conditioner, nn.Module):
        return conditioner
    if not callable(conditioner):
        raise TypeError(f"a conditioner is a network, or a function that builds one, got {conditioner!r}")
    known = inspect.signature(conditioner).parameters
    about = {name: value for name, value in about.items() if name in known}
    if "context_channels" in known:
        net = conditioner(in_channels, out_channels, context_channels=context_channels, **about)
    else:
        net = conditioner(in_channels + (context_channels or 0), out_channels, **about)
    if not isinstance(net, nn.Module):
        raise TypeError(f"the builder of a conditioner must return a torch.nn.Module, got {net!r}")
    return net


def takes_context(net: nn.Module) -> bool:
    """Return whether a network is called as ``net(x, context)``: its ``forward`` has an argument of that name."""
    return "context" in inspect.signature(net.forward).parameters


def call_network(net: nn.Module, x: Tensor, context: Tensor | None, *, context_apart: bool) -> Tensor:
    """Evaluate a network on x and the context, which stands in an argument of its own or behind the channels of x."""
    if context is None:
        prediction: Tensor = net(x)
    else:
        prediction = net(x, context.to(x.dtype)) if context_apart else net(append(x, context))
    return prediction


def append(x: Tensor, context: Tensor) -> Tensor:
    """Put a context, ``(B, K)`` or ``(B, K, *spatial)``, behind the channels of x."""
    return torch.cat([x, spread(context, x).expand(-1, -1, *x.shape[2:])], dim=1)


def spread(context: Tensor, x: Tensor) -> Tensor:
    """Give a context the dtype of x, and as many axes; a vector is the same everywhere."""
    return context.reshape(*context.shape, *[1] * (x.ndim - context.ndim)).to(x.dtype)
