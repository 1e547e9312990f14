"""Invertible convolutions."""

from inverseflow.bijections.convolution.causal import CausalConv2d, InverseConv2d

__all__ = ["CausalConv2d", "InverseConv2d"]
