"""Ordinary networks that parameterize bijections."""

from inverseflow.nets.conv import ConvNet, ZeroConv2d
from inverseflow.nets.mlp import MLP

__all__ = ["MLP", "ConvNet", "ZeroConv2d"]
