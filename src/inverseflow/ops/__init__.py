"""Pure tensor functions: no parameters, no modules, no state."""

from inverseflow.ops._corner import CORNERS, Corner
from inverseflow.ops.dispatch import available_backends, backend, explain
from inverseflow.ops.growth import Growth, growth
from inverseflow.ops.inv_conv import causal_conv2d, inv_conv2d
from inverseflow.ops.spline import rational_quadratic_spline

__all__ = [
    "CORNERS",
    "Corner",
    "Growth",
    "available_backends",
    "backend",
    "causal_conv2d",
    "explain",
    "growth",
    "inv_conv2d",
    "rational_quadratic_spline",
]
