"""Methods by name: each builds a model of p(x | y) and says how it is trained."""

from inverseflow.inference.methods import autoencoder, flows, inn, invauto, reverse, vae
from inverseflow.inference.methods.base import (
    Conditional,
    Method,
    Training,
    build_method,
    method,
    method_entry,
    method_names,
)

__all__ = [
    "Conditional",
    "Method",
    "Training",
    "autoencoder",
    "build_method",
    "flows",
    "inn",
    "invauto",
    "method",
    "method_entry",
    "method_names",
    "reverse",
    "vae",
]
