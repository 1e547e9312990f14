"""Invertible convolutions."""

from inverseflow.bijections.convolution.causal import CausalConv2d, InverseConv2d
from inverseflow.bijections.convolution.emerging import EmergingConv2d
from inverseflow.bijections.convolution.exact import ExactConv2d
from inverseflow.bijections.convolution.exponential import ExponentialConv2d
from inverseflow.bijections.convolution.finc import FInCConv2d
from inverseflow.bijections.convolution.periodic import PeriodicConv2d
from inverseflow.bijections.convolution.rational import RationalConv2d
from inverseflow.bijections.convolution.self_normalizing import SelfNormalizingConv2d

__all__ = [
    "CausalConv2d",
    "EmergingConv2d",
    "ExactConv2d",
    "ExponentialConv2d",
    "FInCConv2d",
    "InverseConv2d",
    "PeriodicConv2d",
    "RationalConv2d",
    "SelfNormalizingConv2d",
]
