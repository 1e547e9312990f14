"""Invertible networks in PyTorch: the invertible k×k convolution, its exact inverse, and image flows built on it."""

from importlib.metadata import version

from inverseflow import bijections, distributions, flows, nets, ops
from inverseflow.bijections import CausalConv2d, InverseConv2d
from inverseflow.flows import Flow, Glow, InverseFlow
from inverseflow.ops import causal_conv2d, inv_conv2d

__version__ = version("inverseflow")

__all__ = [
    "CausalConv2d",
    "Flow",
    "Glow",
    "InverseConv2d",
    "InverseFlow",
    "__version__",
    "bijections",
    "causal_conv2d",
    "distributions",
    "flows",
    "inv_conv2d",
    "nets",
    "ops",
]
