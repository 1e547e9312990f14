"""Small networks to invert, in double precision."""

from itertools import pairwise

import torch
from torch import Tensor, nn


def mlp(*sizes: int, activation: type[nn.Module] = nn.Tanh, scale: float = 1.0, seed: int = 0) -> nn.Sequential:
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for size, following in pairwise(sizes):
        linear = nn.Linear(size, following, dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(torch.randn(following, size, generator=generator) * scale / size**0.5)
            linear.bias.copy_(0.3 * torch.randn(following, generator=generator))
        layers += [linear, activation()]
    return nn.Sequential(*layers[:-1])


def square_norm(x: Tensor) -> Tensor:
    return x.square().sum(1)
