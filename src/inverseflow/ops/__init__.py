"""Pure tensor functions: no parameters, no modules, no state."""

from inverseflow.ops._corner import CORNERS, Corner, corners
from inverseflow.ops.dense_solve import dense_solve
from inverseflow.ops.dispatch import Backend, available_backends, backend, register_backend
from inverseflow.ops.fixed_point import (
    FixedPoint,
    fixed_point,
    invert_residual,
    invert_triangular,
    triangular_fixed_point,
)
from inverseflow.ops.inv_conv import (
    Growth,
    causal_conv1d,
    causal_conv2d,
    causal_conv3d,
    explain,
    growth,
    inv_conv1d,
    inv_conv2d,
    inv_conv3d,
)
from inverseflow.ops.mmd import median_width, mmd, multiquadric_kernel
from inverseflow.ops.root import Root, monotone_root
from inverseflow.ops.same_conv import (
    same_conv2d,
    same_conv2d_factor_numel,
    same_conv2d_log_det,
    same_conv2d_solve,
    same_conv2d_transposed,
)
from inverseflow.ops.spectral_norm import SpectralNorm, conv2d_spectral_norm, conv_spectral_norm_bound
from inverseflow.ops.spline import rational_quadratic_spline

__all__ = [
    "CORNERS",
    "Backend",
    "Corner",
    "FixedPoint",
    "Growth",
    "Root",
    "SpectralNorm",
    "available_backends",
    "backend",
    "causal_conv1d",
    "causal_conv2d",
    "causal_conv3d",
    "conv2d_spectral_norm",
    "conv_spectral_norm_bound",
    "corners",
    "dense_solve",
    "explain",
    "fixed_point",
    "growth",
    "inv_conv1d",
    "inv_conv2d",
    "inv_conv3d",
    "invert_residual",
    "invert_triangular",
    "median_width",
    "mmd",
    "monotone_root",
    "multiquadric_kernel",
    "rational_quadratic_spline",
    "register_backend",
    "same_conv2d",
    "same_conv2d_factor_numel",
    "same_conv2d_log_det",
    "same_conv2d_solve",
    "same_conv2d_transposed",
    "triangular_fixed_point",
]
