"""The ordinary convolution, with the exact inverse and log-determinant from a factorization of its matrix."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from inverseflow.bijections.base import Bijection, LogDet, Shape
from inverseflow.bijections.convolution.one_sided import kernel_sides
from inverseflow.bijections.events import at_least_single, per_channel
from inverseflow.ops import same_conv2d, same_conv2d_factor_numel, same_conv2d_log_det, same_conv2d_solve
from inverseflow.utils.arguments import whole_number

MAX_FACTOR_NUMEL = 2**28
"""Largest number of entries of a matrix's factors: 1 GiB in float32, found in at most some 3·10¹² operations."""


class FactorizedConv2d(Bijection):
    """The parameters of an ordinary convolution, with its exact maps and log-determinants.

    The arguments are described at `ExactConv2d`.
    """

    def __init__(self, channels: int, kernel_size: int | tuple[int, int] = 3, *, odd: bool = False) -> None:
        channels = whole_number("channels", channels, at_least=1)
        super().__init__(channels=channels, spatial_axes=2)
        self.kernel_size = rows, columns = kernel_sides(kernel_size, odd=odd)
        weight = 0.05 / math.sqrt(channels * rows * columns) * torch.randn(channels, channels, rows, columns)
        weight[:, :, (rows - 1) // 2, (columns - 1) // 2] += torch.eye(channels)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(channels))

    def _convolve(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return A x + b and log|det A|."""
        with torch.autocast(x.device.type, enabled=False):
            weight = at_least_single(self.weight)
            z = same_conv2d(x.to(weight.dtype), weight) + per_channel(self.bias, x)
            return z.to(self.weight.dtype), same_conv2d_log_det(weight, (x.shape[2], x.shape[3]))

    def _solve(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return A⁻¹ (z - b) and log|det A⁻¹|."""
        with torch.autocast(z.device.type, enabled=False):
            weight = at_least_single(self.weight)
            x, log_det = same_conv2d_solve(z.to(weight.dtype) - per_channel(self.bias, z), weight)
            return x.to(self.weight.dtype), -log_det

    def _check_shape(self, shape: Shape) -> None:
        super()._check_shape(shape)
        numel = same_conv2d_factor_numel(tuple(self.weight.shape), (shape[1], shape[2]))
        if numel > MAX_FACTOR_NUMEL:
            raise ValueError(
                f"{type(self).__name__} factorizes a matrix whose factors have {numel} entries for an event of shape "
                f"{shape}, more than {MAX_FACTOR_NUMEL}; take smaller images, or a convolution with structure"
            )

    def extra_repr(self) -> str:
        """Show the channels and the kernel."""
        return f"channels={self.channels}, kernel_size={self.kernel_size}"


class ExactConv2d(FactorizedConv2d):
    r"""The ordinary zero-padded k×k convolution; elimination gives its log-determinant and its inverse.

    .. math:: z = K \star x + b, \qquad \log|\det| = \log|\det A|, \qquad x = A^{-1} (z - b)

    A is the D×D matrix of the convolution on images of the given size, D = C·H·W. It joins only rows of pixels that
    the kernel reaches, at most m apart. Elimination block by block, with the pivots of the dense matrix, takes some
    :math:`8\, m^2 W^3 C^3 H` operations in either direction instead of :math:`\tfrac{2}{3} D^3`, or those with H and W
    exchanged; see `same_conv2d_solve`. The gradient differentiates the factorization. For a 1×1 kernel A is C×C, the
    same at every pixel. The layer is the yardstick of the other convolutions.

    Starts at the identity with small taps around it. Only the likelihood keeps A regular. Computed in at least single
    precision, under autocast too. The parameters do not depend on the size of the image.

    Args:
        channels: number of channels C.
        kernel_size: side of the kernel, or ``(height, width)``; its middle, rounded up, lies on the pixel itself.

    Shape:
        x: ``(B, C, H, W)``, z: the same. The factors of A have 4·m·C²·H·W² entries (D² where they are dense, C² for a
            1×1 kernel), at most 2²⁸. A gradient and an inverse store all of them.

    Raises:
        TypeError: if an argument that must be a number is none.
        ValueError: if the kernel has no taps, or an image is too large.
        SingularError: if a matrix to be inverted is singular.

    Reference:
        Keller et al., Self Normalizing Flows, 2021, section 4 (the exact baseline), https://arxiv.org/abs/2011.07248.

    Example:
        >>> layer = ExactConv2d(2, kernel_size=3)
        >>> x = torch.randn(5, 2, 6, 6)
        >>> z, log_det = layer(x)
        >>> torch.allclose(layer.inverse(z)[0], x, atol=1e-4)
        True
    """

    def __init__(self, channels: int, kernel_size: int | tuple[int, int] = 3) -> None:
        super().__init__(channels, kernel_size)

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return self._convolve(x)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return self._solve(z)
