"""Base densities of flows, heads of autoregressive models, and their contracts."""

from inverseflow.distributions.base import Base
from inverseflow.distributions.heads import (
    Bernoulli,
    Categorical,
    Gaussian,
    GaussianMixture,
    Head,
    LogisticMixture,
    head_for,
)
from inverseflow.distributions.logistic import StandardLogistic
from inverseflow.distributions.normal import StandardNormal

__all__ = [
    "Base",
    "Bernoulli",
    "Categorical",
    "Gaussian",
    "GaussianMixture",
    "Head",
    "LogisticMixture",
    "StandardLogistic",
    "StandardNormal",
    "head_for",
]
