"""Densities without an inverse: one element after another, each given those before it."""

from inverseflow.densities.autoregressive.base import AutoregressiveDensity
from inverseflow.densities.autoregressive.pixelcnn import PixelCNN

__all__ = ["AutoregressiveDensity", "PixelCNN"]
