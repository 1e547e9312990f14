"""The published algorithm of Inverse-Flow compared with the correct one, on small fixed examples in float64.

Written from the indices of the public kernels (girish-lab/Inverse-Flow at 176f2c7), with torch only and without any of
their code. Images, kernels and gradients are sines, so they are equal on every machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_CORNERS = 4  # groups of channels in the public kernels


@dataclass(frozen=True)
class Gradients:
    """Gradients of a loss through the solve: by autograd through a dense matrix, and as published."""

    image: Tensor
    """The gradient of the image, ``(N, C, H, W)``."""
    kernel: Tensor
    """The gradient of the kernel, ``(C, C, k, k)``."""
    published_image: Tensor
    """The result of the public kernel for the gradient of the image."""
    published_kernel: Tensor
    """The result of the public kernel for the gradient of the kernel."""


@dataclass(frozen=True)
class WideSolve:
    """Errors of the public solve for groups of several channels."""

    round_trip_error: float
    """Largest change of an element by the public solve followed by the public convolution."""
    log_det: float
    """Logarithm of the absolute determinant of the public solve, which reports zero."""


def published_gradients(side: int = 6, kernel_size: int = 3, bound: float = 0.3) -> Gradients:
    """Differentiate the solve with one channel in each of four groups, the only width that the public kernels invert.

    Args:
        side: of the image.
        kernel_size: side of the kernel.
        bound: on the absolute value of a tap.

    Example:
        >>> gradients = published_gradients()
        >>> relative_error(gradients.published_image, gradients.image) > 0.1
        True
    """
    channels = batch = _CORNERS
    weight = bound * _sines(channels, channels, kernel_size, kernel_size)
    y, gradient = _sines(batch, channels, side, side, phase=1.0), _sines(batch, channels, side, side, phase=2.0)

    y.requires_grad_()
    weight.requires_grad_()
    matrix = _matrix(_unit(weight[:, :1]), side)
    x = torch.linalg.solve(matrix, y.flatten(1).T).T.reshape(y.shape)
    of_image, of_kernel = torch.autograd.grad(x, (y, weight), gradient)

    matrix = matrix.detach()
    published_image = torch.linalg.solve(matrix, gradient.flatten(1).T).T.reshape(y.shape)
    # The public kernel omits the gradient of the first pixel and uses the layer's input in place of its output. It
    # fills the rows of the kernel with images, its columns with channels and its taps with offsets.
    rest = gradient.clone()
    rest[:, :, 0, 0] = 0
    solved = torch.linalg.solve(matrix.T, rest.flatten(1).T).T.reshape(y.shape)
    published_kernel = torch.zeros_like(weight)
    for a in range(kernel_size):
        for b in range(kernel_size):
            shifted = y.detach()[:, :, : side - a, : side - b]
            published_kernel[:, :, a, b] = -(solved[:, :, a:, b:] * shifted).sum((2, 3))
    published_kernel[:, :, -1, -1] = 0
    return Gradients(of_image, of_kernel, published_image, published_kernel.detach())


def published_wide_solve(channels: int = 8, side: int = 6, kernel_size: int = 3, bound: float = 0.05) -> WideSolve:
    """Apply the public solve, then the public convolution, to an image of several channels in each of four groups.

    Args:
        channels: of the image, a multiple of four.
        side: of the image.
        kernel_size: side of the kernel.
        bound: on the absolute value of a tap.

    Example:
        >>> published_wide_solve(4).round_trip_error < 1e-14 < published_wide_solve(8).round_trip_error
        True
    """
    per_group = channels // _CORNERS
    weight = bound * _sines(channels, per_group, kernel_size, kernel_size)
    own = torch.eye(per_group, dtype=torch.bool).repeat(_CORNERS, 1)
    weight[:, :, -1, -1] = weight[:, :, -1, -1].masked_fill(own, 0)
    y = _sines(1, channels, side, side, phase=1.0)

    # The public solve subtracts from each channel its own values, multiplied by the taps of all channels of the group.
    # At the pixel itself this is a multiplication.
    scale = (1 - weight[:, :, -1, -1]).prod(1)
    alone = _matrix(_unit(weight.sum(1, keepdim=True)), side)
    x = torch.linalg.solve(alone, (scale[:, None, None] * y).flatten(1).T).T.reshape(y.shape)
    margin = kernel_size - 1
    back = x + F.conv2d(F.pad(x, (margin, 0, margin, 0)), weight, groups=_CORNERS)
    return WideSolve(float((back - y).abs().max()), side**2 * float(scale.abs().log().sum()))


def coupling_parameters(channels: int, width: int) -> int:
    """Count the parameters of the public coupling network: 3×3 to `width`, 1×1 to `channels`, then 3×3 with gain.

    Args:
        channels: of the coupling.
        width: hidden channels.

    Example:
        >>> coupling_parameters(12, 512)
        35112
    """
    return 9 * (channels // 2) * width + width * channels + 9 * channels**2 + 2 * channels


def relative_error(value: Tensor, expected: Tensor) -> float:
    """Return the norm of the error divided by the norm of the expected value."""
    return float((value - expected).norm() / expected.norm())


def cosine(value: Tensor, expected: Tensor) -> float:
    """Return the cosine of the angle between two tensors as vectors."""
    return float(F.cosine_similarity(value.flatten(), expected.flatten(), dim=0))


def _sines(*shape: int, phase: float = 0.0) -> Tensor:
    """Return numbers in [-1, 1] without a pattern along any axis."""
    count = torch.arange(math.prod(shape), dtype=torch.float64)
    return (count**2 * math.sqrt(2) + phase).sin().reshape(shape)


def _unit(weight: Tensor) -> Tensor:
    """Return a kernel with one channel per group whose last tap is one."""
    last = torch.zeros_like(weight[0])
    last[:, -1, -1] = 1
    return weight * (1 - last) + last


def _matrix(kernel: Tensor, side: int) -> Tensor:
    """Return the matrix of the one-sided convolution from the top left with one channel per group."""
    channels, _, rows, columns = kernel.shape
    basis = torch.eye(channels * side**2, dtype=torch.float64).view(-1, channels, side, side)
    return F.conv2d(F.pad(basis, (columns - 1, 0, rows - 1, 0)), kernel, groups=channels).flatten(1).T
