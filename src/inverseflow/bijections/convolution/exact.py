"""The ordinary convolution, inverted and measured as the dense matrix that it is."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from inverseflow.bijections.base import Bijection, LogDet, Shape, per_channel
from inverseflow.bijections.convolution.causal import kernel_sides
from inverseflow.ops import dense_solve, same_conv2d, same_conv2d_matrix

MAX_SIDE = 16384
"""Largest side of a dense matrix: in float32 it takes 1 GiB, and factorising it some 3·10¹² multiplications."""


class ExactConv2d(Bijection):
    r"""The ordinary zero-padded k×k convolution, its log-determinant and inverse those of its dense matrix.

    .. math:: z = K \star x + b, \qquad \log|\det| = \log|\det A|, \qquad x = A^{-1} (z - b)

    A is the D×D matrix of the convolution on images of the size at hand, D = C·H·W; a factorisation takes
    :math:`\tfrac{2}{3} D^3` operations in either direction, and its gradient is that of the factorisation. For a 1×1
    kernel A is C×C, the same at every pixel. It is the yardstick of the other convolutions, for small images.

    Starts at the identity with small taps around it. Nothing but the likelihood keeps A regular. Computed at full
    precision under autocast. Parameters do not depend on the size of the image.

    Args:
        channels: number of channels C.
        kernel_size: side of the kernel, or ``(height, width)``; its middle, rounded up, lies on the pixel itself.

    Shape:
        x: ``(B, C, H, W)`` with C·H·W ≤ 16384 (for a 1×1 kernel C ≤ 16384); z: the same.

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
            return z, self._log_det(self.weight, x)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        with torch.autocast(z.device.type, enabled=False):
            blocks = self._blocks(z.to(self.weight.dtype) - per_channel(self.bias, z))
            solved, log_det = dense_solve(self._matrix(self.weight, z), blocks.T)
            return self._unblocked(solved.T, z), -self._copies(z) * log_det

    def _log_det(self, weight: Tensor, x: Tensor) -> Tensor:
        log_det: Tensor = self._copies(x) * torch.linalg.slogdet(self._matrix(weight, x)).logabsdet
        return log_det

    def _matrix(self, weight: Tensor, x: Tensor) -> Tensor:
        return same_conv2d_matrix(weight, (1, 1) if self._pointwise else (x.shape[2], x.shape[3]))

    def _copies(self, x: Tensor) -> int:
        """Return how many times the matrix stands on the diagonal of the whole map."""
        return x.shape[2] * x.shape[3] if self._pointwise else 1

    def _blocks(self, x: Tensor) -> Tensor:
        """Return as rows the vectors that the matrix acts on: pixels for a 1×1 kernel, else images."""
        return x.movedim(1, -1).reshape(-1, x.shape[1]) if self._pointwise else x.flatten(1)

    def _unblocked(self, rows: Tensor, like: Tensor) -> Tensor:
        batch, channels, height, width = like.shape
        if self._pointwise:
            return rows.reshape(batch, height, width, channels).movedim(-1, 1).contiguous()
        return rows.reshape(like.shape)

    @property
    def _pointwise(self) -> bool:
        return self.kernel_size == (1, 1)

    def _check_shape(self, shape: Shape) -> None:
        super()._check_shape(shape)
        side = shape[0] if self._pointwise else math.prod(shape)
        if side > MAX_SIDE:
            raise ValueError(
                f"{type(self).__name__} factorises a dense matrix whose side is the {side} elements of an event of "
                f"shape {shape}, more than {MAX_SIDE}; take smaller images, or a convolution with structure"
            )

    def extra_repr(self) -> str:
        """Show the channels and the kernel."""
        return f"channels={self.channels}, kernel_size={self.kernel_size}"
