"""Invertible convolutions."""

from inverseflow.bijections.convolution.butterfly import Butterfly
from inverseflow.bijections.convolution.causal import CausalConv2d, InverseConv2d
from inverseflow.bijections.convolution.emerging import EmergingConv2d
from inverseflow.bijections.convolution.exact import ExactConv2d
from inverseflow.bijections.convolution.exponential import ExponentialConv2d
from inverseflow.bijections.convolution.finc import FInCConv2d
from inverseflow.bijections.convolution.macow import MaCow, MaskedConvFlow
from inverseflow.bijections.convolution.mintnet import MintNet
from inverseflow.bijections.convolution.periodic import PeriodicConv2d
from inverseflow.bijections.convolution.rational import RationalConv2d
from inverseflow.bijections.convolution.self_normalizing import SelfNormalizingConv2d
from inverseflow.bijections.convolution.woodbury import MemoryEfficientWoodbury, Woodbury

__all__ = [
    "Butterfly",
    "CausalConv2d",
    "EmergingConv2d",
    "ExactConv2d",
    "ExponentialConv2d",
    "FInCConv2d",
    "InverseConv2d",
    "MaCow",
    "MaskedConvFlow",
    "MemoryEfficientWoodbury",
    "MintNet",
    "PeriodicConv2d",
    "RationalConv2d",
    "SelfNormalizingConv2d",
    "Woodbury",
]
