"""Invertible convolutions."""

from inverseflow.bijections.convolution.causal import CausalConv2d, InverseConv2d
from inverseflow.bijections.convolution.emerging import EmergingConv2d
from inverseflow.bijections.convolution.finc import FInCConv2d
from inverseflow.bijections.convolution.rational import RationalConv2d

__all__ = [
    "CausalConv2d",
    "EmergingConv2d",
    "FInCConv2d",
    "InverseConv2d",
    "RationalConv2d",
]
