"""How a coupling builds its network and calls it: with the context if the network takes one, or behind the input."""

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
    build: Builder, in_channels: int, out_channels: int, context_channels: int | None, **about: Any
) -> nn.Module:
    """Build the network of a layer; in_channels are without the context's. Arguments that it lacks are left out."""
    known = inspect.signature(build).parameters
    about = {name: value for name, value in about.items() if name in known}
    if "context_channels" in known:
        return build(in_channels, out_channels, context_channels=context_channels, **about)
    return build(in_channels + (context_channels or 0), out_channels, **about)


def takes_context(net: nn.Module) -> bool:
    """Return whether a network is called as ``net(x, context)``: its ``forward`` has an argument of that name."""
    return "context" in inspect.signature(net.forward).parameters


def append(x: Tensor, context: Tensor) -> Tensor:
    """Put a context, ``(B, K)`` or ``(B, K, *spatial)``, behind the channels of x."""
    return torch.cat([x, spread(context, x).expand(-1, -1, *x.shape[2:])], dim=1)


def spread(context: Tensor, x: Tensor) -> Tensor:
    """Give a context the dtype of x, and as many axes; a vector is the same everywhere."""
    return context.reshape(*context.shape, *[1] * (x.ndim - context.ndim)).to(x.dtype)
