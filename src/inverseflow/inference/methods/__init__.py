"""Methods by name: each builds a model of p(x | y) and says how it is trained."""

from inverseflow.inference.methods import flows, inn
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
    "build_method",
    "flows",
    "inn",
    "method",
    "method_entry",
    "method_names",
]
