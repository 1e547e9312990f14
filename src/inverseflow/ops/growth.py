"""How much a triangular solve can amplify."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from inverseflow.ops.inv_conv import inv_conv2d


@dataclass(frozen=True)
class Growth:
    r"""Largest ratio of the solution of `inv_conv2d` to its right-hand side, in the maximum norm."""

    actual: float
    r""":math:`\lVert A^{-1} \rVert_\infty`: the largest value of x over all y with values in [-1, 1], attained."""
    bound: float
    r""":math:`\lVert T^{-1} \rVert_\infty / (1 - \rho)`, which holds for images of any size; infinite unless ρ < 1.

    ρ is the largest sum of absolute weights of an output channel, after dividing by the last tap T.
    """


@torch.no_grad()
def growth(weight: Tensor, size: tuple[int, int], *, unitriangular: bool = False, groups: int = 1) -> Growth:
    r"""Measure the growth of the inverse convolution on images of a size, and bound it for all sizes.

    The inverse of a convolution is again shift-invariant, so its norm is the sum of the absolute impulse responses that
    reach the last pixel. A growth above about 1e5 leaves few correct digits in float32.

    Args:
        weight: kernel, ``(C, C / groups, kH, kW)``, read as by `inv_conv2d`.
        size: height and width of the image.
        unitriangular: take the diagonal of the last tap as ones.
        groups: number of channel groups.

    Raises:
        ValueError: if the size is empty, or the kernel does not fit `inv_conv2d`.

    Returns:
        The actual growth, computed in float64, and the bound.

    Reference:
        Ahlberg and Nilson, 1963, for the bound, which holds for any diagonally dominant matrix.

    Example:
        >>> growth(torch.tensor([[[[-0.5, 1.0]]]]), (1, 50))
        Growth(actual=2.0, bound=2.0)
        >>> growth(torch.tensor([[[[-2.0, 1.0]]]]), (1, 50)).actual > 1e15
        True
    """
    if min(size) < 1:
        raise ValueError(f"size must be at least (1, 1), got {size}")
    channels, per_group = weight.shape[:2]
    kernel = weight.detach().to(torch.float64)
    impulses = kernel.new_zeros(per_group, channels, *size)
    impulses[:, :, 0, 0] = torch.eye(per_group, dtype=kernel.dtype, device=kernel.device).repeat(1, groups)
    responses = inv_conv2d(impulses, kernel, unitriangular=unitriangular, groups=groups)  # (C / groups, C, H, W)
    actual = float(responses.abs().sum((0, 2, 3)).max()) if responses.numel() else 0.0

    last = kernel[:, :, -1, -1].unflatten(0, (groups, per_group)).tril()
    eye = torch.eye(per_group, dtype=kernel.dtype, device=kernel.device).expand_as(last)
    inverse = torch.linalg.solve_triangular(last, eye, upper=False, unitriangular=unitriangular)
    others = kernel.clone()
    others[:, :, -1, -1] = 0
    divided = torch.einsum("gpo,goiab->gpiab", inverse, others.unflatten(0, (groups, per_group)))
    rho = float(divided.abs().sum((2, 3, 4)).max())
    bound = float(inverse.abs().sum(2).max()) / (1 - rho) if rho < 1 else math.inf
    return Growth(actual=actual, bound=bound)
