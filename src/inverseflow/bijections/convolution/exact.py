"""The ordinary convolution, inverted and measured exactly, by factorising its matrix."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from inverseflow.bijections.base import Bijection, LogDet, Shape
from inverseflow.bijections.convolution.one_sided import kernel_sides
from inverseflow.bijections.events import per_channel
from inverseflow.ops import same_conv2d, same_conv2d_factor_numel, same_conv2d_log_det, same_conv2d_solve

MAX_FACTOR_NUMEL = 2**28
"""Most entries of the factors of a matrix: 1 GiB in float32, and at most some 3·10¹² operations to find them."""


class ExactConv2d(Bijection):
    r"""The ordinary zero-padded k×k convolution, its log-determinant and inverse by elimination, as of any matrix.

    .. math:: z = K \star x + b, \qquad \log|\det| = \log|\det A|, \qquad x = A^{-1} (z - b)

    A is the D×D matrix of the convolution on images of the size at hand, D = C·H·W, which joins no rows but those that
    the kernel reaches, at most m away. Eliminated block by block with the pivots of the dense matrix, it takes some
    :math:`8\, m^2 W^3 C^3 H` operations in either direction in place of :math:`\tfrac{2}{3} D^3`, or those with H and W
    exchanged; see `same_conv2d_solve`. The gradient is that of the factorisation. For a 1×1 kernel A is C×C, the same
    at every pixel. It is the yardstick of the other convolutions.

    Starts at the identity with small taps around it. Nothing but the likelihood keeps A regular. Computed at full
    precision under autocast. Parameters do not depend on the size of the image.

    Args:
        channels: number of channels C.
        kernel_size: side of the kernel, or ``(height, width)``; its middle, rounded up, lies on the pixel itself.

    Shape:
        x: ``(B, C, H, W)``, z: the same. The factors of A have 4·m·C²·H·W² entries (D² where they are dense, C² for a
            1×1 kernel), at most 2²⁸: a gradient and an inverse hold all of them.

    Raises:
        ValueError: the kernel has no taps, or an image is too large.
        SingularError: a matrix to be inverted is singular.

    Reference:
        Keller et al., Self Normalizing Flows, 2021, section 4 (the exact baseline).

    Example:
        >>> layer = ExactConv2d(2, kernel_size=3)
        >>> x = torch.randn(5, 2, 6, 6)
        >>> z, log_det = layer(x)
        >>> torch.allclose(layer.inverse(z)[0], x, atol=1e-4)
        True
    """

    def __init__(self, channels: int, kernel_size: int | tuple[int, int] = 3) -> None:
        super().__init__(channels=channels, spatial_axes=2)
        rows, columns = kernel_sides(kernel_size)
        self.kernel_size = (rows, columns)
        weight = 0.05 / math.sqrt(channels * rows * columns) * torch.randn(channels, channels, rows, columns)
        weight[:, :, (rows - 1) // 2, (columns - 1) // 2] += torch.eye(channels)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(channels))

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        with torch.autocast(x.device.type, enabled=False):
            z = same_conv2d(x.to(self.weight.dtype), self.weight) + per_channel(self.bias, x)
            return z, same_conv2d_log_det(self.weight, (x.shape[2], x.shape[3]))

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        with torch.autocast(z.device.type, enabled=False):
            x, log_det = same_conv2d_solve(z.to(self.weight.dtype) - per_channel(self.bias, z), self.weight)
            return x, -log_det

    def _check_shape(self, shape: Shape) -> None:
        super()._check_shape(shape)
        numel = same_conv2d_factor_numel(tuple(self.weight.shape), (shape[1], shape[2]))
        if numel > MAX_FACTOR_NUMEL:
            raise ValueError(
                f"{type(self).__name__} factorises a matrix whose factors have {numel} entries for an event of shape "
                f"{shape}, more than {MAX_FACTOR_NUMEL}; take smaller images, or a convolution with structure"
            )

    def extra_repr(self) -> str:
        """Show the channels and the kernel."""
        return f"channels={self.channels}, kernel_size={self.kernel_size}"
