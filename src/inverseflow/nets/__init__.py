"""Ordinary networks that parameterize bijections."""

from inverseflow.nets.conv import ConvNet, ZeroConv, ZeroConv2d
from inverseflow.nets.mlp import MLP
from inverseflow.nets.resnet import ResNet

__all__ = ["MLP", "ConvNet", "ResNet", "ZeroConv", "ZeroConv2d"]
