"""Base densities of flows."""

from inverseflow.distributions.normal import StandardNormal

__all__ = ["StandardNormal"]
