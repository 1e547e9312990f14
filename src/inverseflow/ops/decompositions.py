"""Plain PyTorch programs for the operators that export formats such as ONNX do not know."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from inverseflow.ops._corner import mirrored_axes, opposite


def export_decompositions() -> dict[Any, Callable[..., Tensor]]:
    """Return functional programs by operator, for `torch.export.ExportedProgram.run_decompositions`.

    The image size must be static, the batch size need not. The solve becomes one convolution with a kernel of the size
    of the image. That kernel depends on the weights alone, so that a runtime computes it once.
    """
    return {
        torch.ops.inverseflow.causal_conv2d.default: _convolve,
        torch.ops.inverseflow.inv_conv2d.default: _solve,
        torch.ops.aten.linalg_solve_triangular.default: _solve_triangular,
        torch.ops.aten.searchsorted.Tensor: _searchsorted,
        torch.ops.aten.linalg_vector_norm.default: _vector_norm,
    }


def _convolve(x: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str, transposed: bool) -> Tensor:
    taps, axes = _taps(weight, corner, groups, diagonal, transposed)
    return _apply(taps, x.flip(axes), groups).flip(axes)


def _solve(y: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str, transposed: bool) -> Tensor:
    r"""Solve A x = y by the impulse response of the inverse.

    With T the tap at the pixel itself, :math:`A = T (I + N)`. N moves at least one row or column on, so
    :math:`N^{H+W-1} = 0` and :math:`(I + N)^{-1} = \prod_k (I + (-N)^{2^k})`. All of these are convolutions of the kind
    of A with kernels of at most H × W, which are the images of an impulse at the starting corner.
    """
    taps, axes = _taps(weight, corner, groups, diagonal, transposed)
    channels, per_group = taps.shape[:2]
    height, width = y.shape[2:]
    inverse_tap = _inverse_triangular(taps[:, :, 0, 0].reshape(groups, per_group, per_group), upper=transposed)
    inverse_tap = inverse_tap.reshape(channels, per_group, 1, 1)
    impulse = torch.eye(per_group, dtype=y.dtype, device=y.device).repeat(1, groups)[:, :, None, None]
    impulse = F.pad(impulse, (0, width - 1, 0, height - 1))  # (C / G, C, H, W)
    power = impulse - F.conv2d(_apply(taps, impulse, groups), inverse_tap, groups=groups)
    response = impulse
    for _ in range((height + width - 2).bit_length()):
        response = response + _apply(power.transpose(0, 1), response, groups)
        power = _apply(power.transpose(0, 1), power, groups)
    x = F.conv2d(y.flip(axes), inverse_tap, groups=groups)
    return _apply(response.transpose(0, 1), x, groups).flip(axes)


def _taps(weight: Tensor, corner: str, groups: int, diagonal: str, transposed: bool) -> tuple[Tensor, list[int]]:
    """Return the taps (C, C / G, kH, kW) by their distance from the pixel, and the axes to flip the image along."""
    _, per_group, rows, columns = weight.shape
    others = (0, columns - 1, 0, rows - 1)
    identity = torch.eye(per_group, dtype=weight.dtype, device=weight.device)
    lower = torch.ones_like(identity, dtype=torch.bool).tril(0 if diagonal == "free" else -1)
    read = F.pad(lower.repeat(groups, 1)[:, :, None, None], others, value=True)
    taps = torch.where(read, weight.flip((2, 3)), torch.zeros((), dtype=weight.dtype, device=weight.device))
    if diagonal == "unit":
        taps = taps + F.pad(identity.repeat(groups, 1)[:, :, None, None], others)
    if not transposed:
        return taps, mirrored_axes(corner)
    blocks = taps.reshape(groups, per_group, per_group, rows, columns)
    return blocks.transpose(1, 2).reshape(taps.shape), mirrored_axes(opposite(corner))


def _apply(taps: Tensor, x: Tensor, groups: int) -> Tensor:
    """Convolve an image with taps that reach up and to the left."""
    rows, columns = taps.shape[2:]
    return F.conv2d(F.pad(x, (columns - 1, 0, rows - 1, 0)), taps.flip((2, 3)), groups=groups)


def _solve_triangular(matrix: Tensor, right: Tensor, *, upper: bool, left: bool = True, **options: bool) -> Tensor:
    inverse = _inverse_triangular(matrix, upper=upper, **options)
    return inverse @ right if left else right @ inverse


def _inverse_triangular(matrix: Tensor, *, upper: bool, unitriangular: bool = False) -> Tensor:
    """Invert D (I + N) with a diagonal D and a strictly triangular N, whose powers end."""
    size = matrix.shape[-1]
    diagonal = torch.ones_like(matrix[..., 0]) if unitriangular else matrix.diagonal(dim1=-2, dim2=-1)
    power = -(matrix.triu(1) if upper else matrix.tril(-1)) / diagonal[..., None]
    inverse = torch.eye(size, dtype=matrix.dtype, device=matrix.device).expand_as(matrix)
    for _ in range((size - 1).bit_length()):
        inverse = inverse + power @ inverse
        power = power @ power
    return inverse / diagonal[..., None, :]


def _searchsorted(boundaries: Tensor, values: Tensor, **options: Any) -> Tensor:
    if options.get("sorter") is not None:
        boundaries = boundaries.gather(-1, options["sorter"])
    right = options.get("right") or options.get("side") == "right"
    boundaries, values = boundaries[..., None, :], values[..., None]
    passed = boundaries <= values if right else boundaries < values
    return passed.sum(-1, dtype=torch.int32 if options.get("out_int32") else torch.int64)


def _vector_norm(
    x: Tensor,
    order: float = 2,
    dim: list[int] | None = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
) -> Tensor:
    size = (x if dtype is None else x.to(dtype)).abs()
    axes = list(range(x.ndim)) if dim is None else dim
    if math.isinf(order):
        return size.amax(axes, keepdim) if order > 0 else size.amin(axes, keepdim)
    if order == 2:
        return size.square().sum(axes, keepdim).sqrt()
    return size.pow(order).sum(axes, keepdim).pow(1 / order)
