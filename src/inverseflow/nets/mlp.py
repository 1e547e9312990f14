"""Fully connected conditioner."""

from __future__ import annotations

from itertools import pairwise

from torch import nn


class MLP(nn.Sequential):
    """Fully connected network with ReLU between its layers, the last one starting at zero.

    Args:
        in_features: length of the input vector.
        out_features: length of the output vector.
        width: hidden units in each layer.
        depth: number of hidden layers.

    Shape:
        x: ``(B, in_features)``; y: ``(B, out_features)``.

    Example:
        >>> MLP(2, 4, width=16)(torch.randn(3, 2)).shape
        torch.Size([3, 4])
    """

    def __init__(self, in_features: int, out_features: int, width: int, depth: int = 2) -> None:
        if width < 1:
            raise ValueError(f"width counts hidden units and is at least 1, got {width}")
        if depth < 0:
            raise ValueError(f"depth counts hidden layers and is not negative, got {depth}")
        sizes = [in_features, *[width] * depth]
        hidden: list[nn.Module] = []
        for size, following in pairwise(sizes):
            hidden += [nn.Linear(size, following), nn.ReLU()]
        last = nn.Linear(sizes[-1], out_features)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        super().__init__(*hidden, last)
