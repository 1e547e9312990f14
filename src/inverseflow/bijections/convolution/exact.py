"""The ordinary convolution, with the exact inverse and log-determinant from a factorization of its matrix."""

import math

import torch
from torch import Tensor, nn

from inverseflow.bijections.base import Bijection, LogDet, Shape
from inverseflow.bijections.convolution.causal import kernel_sides
from inverseflow.bijections.events import at_least_single, per_channel
from inverseflow.ops import same_conv2d, same_conv2d_factor_numel, same_conv2d_log_det, same_conv2d_solve

MAX_FACTOR_NUMEL = 2**28
"""Largest number of entries of a matrix's factors: 1 GiB in float32, found in at most some 3·10¹² operations."""


class ExactConv2d(Bijection):
    r"""The ordinary zero-padded k×k convolution; elimination gives its log-determinant and its inverse.

    .. math:: z = K \star x + b, \qquad \log|\det| = \log|\det A|, \qquad x = A^{-1} (z - b)

    A is the matrix of the convolution on images of the given size. Its elimination by blocks of rows, described at
    `inverseflow.ops.same_conv2d_solve`, takes some :math:`8\, m^2 W^3 C^3 H` operations in either direction for a
    kernel that reaches m rows far. The gradient differentiates the factorization. The layer is the yardstick of the
    other convolutions.

    Starts at the identity with small taps around it. Only the likelihood keeps A regular. Computed in at least single
    precision, under autocast too. The parameters do not depend on the size of the image.

    Args:
        channels: number of channels C.
        kernel_size: side of the kernel, or ``(height, width)``; its middle, rounded up, lies on the pixel itself.

    Shape:
        x: ``(B, C, H, W)``, z: the same. The factors of A may have at most 2²⁸ entries, some 4·m·C²·H·W² in general.

    Raises:
        ValueError: if an image is too large.
        SingularError: if a matrix to be inverted is singular.

    Reference:
        Keller et al., Self Normalizing Flows, 2021, section 4 (the exact baseline), https://arxiv.org/abs/2011.07248.

    Example:
        >>> z, log_det = ExactConv2d(2, kernel_size=3)(torch.randn(5, 2, 6, 6))
    """

    full_precision = True

    def __init__(self, channels: int, kernel_size: int | tuple[int, int] = 3) -> None:
        super().__init__(channels=channels, spatial_axes=2)
        self.kernel_size = rows, columns = kernel_sides(kernel_size)
        weight = 0.05 / math.sqrt(channels * rows * columns) * torch.randn(channels, channels, rows, columns)
        weight[:, :, (rows - 1) // 2, (columns - 1) // 2] += torch.eye(channels)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(channels))

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        weight = at_least_single(self.weight)
        z = same_conv2d(x, weight) + per_channel(self.bias, x)
        return z, same_conv2d_log_det(weight, (x.shape[2], x.shape[3]))

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        x, log_det = same_conv2d_solve(z - per_channel(self.bias, z), at_least_single(self.weight))
        return x, -log_det

    def _check_shape(self, shape: Shape) -> None:
        super()._check_shape(shape)
        numel = same_conv2d_factor_numel(tuple(self.weight.shape), (shape[1], shape[2]))
        if numel > MAX_FACTOR_NUMEL:
            raise ValueError(
                f"{type(self).__name__} factorizes a matrix whose factors have {numel} entries for an event of shape "
                f"{shape}, more than {MAX_FACTOR_NUMEL}; take smaller images, or a convolution with structure"
            )
