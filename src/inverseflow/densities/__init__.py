"""Density models: the contract `Density`, the registry, saving and loading, and the view as a torch distribution."""

from inverseflow.densities.density import Density
from inverseflow.densities.distribution import DensityDistribution
from inverseflow.densities.pretrained import load, save
from inverseflow.densities.registry import create, density_class, names, register

__all__ = ["Density", "DensityDistribution", "create", "density_class", "load", "names", "register", "save"]
