"""Densities without an inverse: one element after another, each given those before it."""

from inverseflow.densities.autoregressive.base import AutoregressiveDensity

__all__ = ["AutoregressiveDensity"]
