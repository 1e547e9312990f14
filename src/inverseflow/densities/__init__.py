"""Density models: the contract `Density`, the registry, saving, export, and the view as a torch distribution."""

from inverseflow.densities.density import BITS_PER_DIM, NATS, Density, Metric
from inverseflow.densities.distribution import DensityDistribution
from inverseflow.densities.export import export_onnx, exportable
from inverseflow.densities.pretrained import load, save
from inverseflow.densities.registry import create, density_class, names, register

__all__ = [
    "BITS_PER_DIM",
    "NATS",
    "Density",
    "DensityDistribution",
    "Metric",
    "create",
    "density_class",
    "export_onnx",
    "exportable",
    "load",
    "names",
    "register",
    "save",
]
