"""Invertible networks in PyTorch: the invertible k×k convolution, its exact inverse, and layers and flows around it."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inverseflow import (
        bijections,
        data,
        densities,
        distributions,
        estimators,
        flows,
        inference,
        interop,
        nets,
        ops,
        training,
    )
    from inverseflow.bijections import CausalConv2d, InverseConv2d
    from inverseflow.densities import Density
    from inverseflow.flows import Flow, Glow, InverseFlow
    from inverseflow.ops import causal_conv2d, inv_conv2d
    from inverseflow.training import fit

__version__ = version("inverseflow")

__all__ = [
    "CausalConv2d",
    "Density",
    "Flow",
    "Glow",
    "InverseConv2d",
    "InverseFlow",
    "__version__",
    "bijections",
    "causal_conv2d",
    "data",
    "densities",
    "distributions",
    "estimators",
    "fit",
    "flows",
    "inference",
    "interop",
    "inv_conv2d",
    "nets",
    "ops",
    "training",
]

# Importing torch takes seconds, so names are fetched when they are first used: the command line's help needs none.
_FLOORS = (
    "bijections",
    "data",
    "densities",
    "distributions",
    "estimators",
    "flows",
    "inference",
    "interop",
    "nets",
    "ops",
    "training",
)
_HOMES = {
    "CausalConv2d": "bijections",
    "InverseConv2d": "bijections",
    "Density": "densities",
    "Flow": "flows",
    "Glow": "flows",
    "InverseFlow": "flows",
    "causal_conv2d": "ops",
    "fit": "training",
    "inv_conv2d": "ops",
}


def __getattr__(name: str) -> Any:
    if name in _FLOORS:
        return import_module(f"inverseflow.{name}")
    if name in _HOMES:
        return getattr(import_module(f"inverseflow.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'inverseflow' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
