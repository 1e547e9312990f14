"""Monotone maps of single elements, whose parameters a network predicts."""

from inverseflow.bijections.maps.affine import Additive, Affine, as_map
from inverseflow.bijections.maps.base import ElementwiseMap
from inverseflow.bijections.maps.bernstein import Bernstein
from inverseflow.bijections.maps.composed import ComposedMap
from inverseflow.bijections.maps.mixture import MixtureCDF
from inverseflow.bijections.maps.network import MonotoneNetwork
from inverseflow.bijections.maps.spline import RationalQuadratic, spline_bins

__all__ = [
    "Additive",
    "Affine",
    "Bernstein",
    "ComposedMap",
    "ElementwiseMap",
    "MixtureCDF",
    "MonotoneNetwork",
    "RationalQuadratic",
    "as_map",
    "spline_bins",
]
