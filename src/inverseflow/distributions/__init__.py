"""Base densities of flows, and their contract."""

from inverseflow.distributions.base import Base
from inverseflow.distributions.normal import StandardNormal

__all__ = ["Base", "StandardNormal"]
