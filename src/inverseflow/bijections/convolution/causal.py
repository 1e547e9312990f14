"""One-sided convolutions: the k×k convolution as a layer, and its inverse as a layer."""

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from inverseflow.bijections.base import Bijection, LogDet
from inverseflow.bijections.events import at_least_single, per_channel, pixels
from inverseflow.ops import CORNERS, Corner, causal_conv2d, inv_conv2d
from inverseflow.utils.arguments import finite_number, one_of, whole_number

Diagonal = Literal["unit", "free"]


class OneSidedConv2d(Bijection):
    r"""Base of layers that multiply by the matrix :math:`A = d \odot (I + N)` of a one-sided convolution, or solve."""

    def __init__(
        self,
        channels: int,
        kernel_size: int | tuple[int, int] = 3,
        *,
        corner: Corner = "top_left",
        diagonal: Diagonal = "unit",
        max_row_sum: float | None = None,
        groups: int = 1,
    ) -> None:
        super().__init__(channels=channels, spatial_axes=2)
        channels = whole_number("channels", channels)
        self.kernel_size = kernel_sides(kernel_size)
        self.corner: Corner = one_of("corner", corner, CORNERS)
        self.diagonal: Diagonal = one_of("diagonal", diagonal, get_args(Diagonal))
        self.max_row_sum = None if max_row_sum is None else finite_number("max_row_sum", max_row_sum, above=0, below=1)
        self.groups = whole_number("groups", groups, at_least=1)
        if channels % self.groups:
            raise ValueError(f"groups must divide the {channels} channels, got {groups}")
        rows, columns = self.kernel_size
        per_group = channels // self.groups
        deviation = 0.05 / math.sqrt(per_group * rows * columns)
        self.taps = nn.Parameter(deviation * torch.randn(channels, per_group, rows, columns))
        self.log_diagonal = nn.Parameter(torch.zeros(channels)) if diagonal == "free" else None

    def _convolve(self, z: Tensor) -> tuple[Tensor, LogDet]:
        """Return A z and log|det A|."""
        x = causal_conv2d(z, self.kernel(), corner=self.corner, unitriangular=True, groups=self.groups)
        if self.log_diagonal is None:
            return x, 0.0
        return x * per_channel(self.log_diagonal.exp(), x), self._log_det(z)

    def _solve(self, x: Tensor) -> tuple[Tensor, LogDet]:
        """Return A⁻¹ x and log|det A⁻¹|."""
        log_det: LogDet = 0.0
        if self.log_diagonal is not None:
            x = x * per_channel((-self.log_diagonal).exp(), x)
            log_det = -self._log_det(x)
        return inv_conv2d(x, self.kernel(), corner=self.corner, unitriangular=True, groups=self.groups), log_det

    def _log_det(self, x: Tensor) -> Tensor:
        assert self.log_diagonal is not None
        return pixels(x) * at_least_single(self.log_diagonal).sum()

    def kernel(self) -> Tensor:
        """Return the taps of N, ``(C, C / groups, kH, kW)``. In the last tap only entries below the diagonal count."""
        if self.max_row_sum is None:
            return self.taps
        row_sums = (self.taps.abs() * self.tap_mask).sum((1, 2, 3), keepdim=True)
        return self.taps * (self.max_row_sum / (self.max_row_sum + row_sums))

    @property
    def tap_mask(self) -> Tensor:
        """One for each entry of the kernel that is read, zero for the others."""
        mask = torch.ones(self.taps.shape, dtype=self.taps.dtype, device=self.taps.device)
        per_group = mask.shape[1]
        mask[:, :, -1, -1] = mask.new_ones(per_group, per_group).tril(-1).repeat(self.groups, 1)
        return mask


class CausalConv2d(OneSidedConv2d):
    r"""One-sided k×k convolution. Its matrix is triangular, so that it can be inverted exactly for all parameters.

    .. math:: z = d \odot (I + N)\,x, \qquad \log|\det| = HW \sum_c \log d_c

    N is the convolution with the free taps: all entries of the kernel, but in the last tap, which lies on the pixel
    itself, only those below the diagonal. With ``diagonal="unit"`` d is 1 and the log-determinant 0. With ``"free"`` d
    is positive and learned. This is the convolution of CInC Flow, and every kernel whose last tap is lower triangular
    with a positive diagonal can be written so in exactly one way.

    With ``max_row_sum`` ρ the taps of each output channel are scaled by :math:`\rho / (\rho + \sum |N|)`. Their
    absolute values then sum to less than ρ, and :math:`\lVert A^{-1} \rVert_\infty \le \max_c d_c^{-1} / (1 - \rho)`.
    Without it the inverse can grow geometrically with the size of the image, although its determinant is 1.

    Args:
        channels: number of channels C.
        kernel_size: side of the kernel, or ``(height, width)``.
        corner: corner of the image where the convolution starts: each pixel sees its neighbors toward this corner.
        diagonal: ``"unit"`` or ``"free"``.
        max_row_sum: ρ, between 0 and 1 (exclusive), or None for no bound.
        groups: number of channel groups, which divides the channels; each group sees only itself.

    Shape:
        x: ``(B, C, H, W)``; z: the same.

    Raises:
        ValueError: if an argument is out of its range, or `groups` does not divide the channels.

    Reference:
        Nagar et al., CInC Flow, 2021, section 3, https://arxiv.org/abs/2107.01358.

    Example:
        >>> z, log_det = CausalConv2d(12, kernel_size=3, max_row_sum=0.9)(torch.randn(2, 12, 8, 8))
    """

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return self._convolve(x)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return self._solve(z)


class InverseConv2d(OneSidedConv2d):
    r"""The inverse of a k×k convolution as a layer: a solve from data to latent, a convolution back.

    .. math:: z = A^{-1} x, \qquad x = A z, \qquad \log|\det| = -HW \sum_c \log d_c

    Here :math:`A = d \odot (I + N)` is the one-sided convolution of `CausalConv2d`; this layer swaps its directions.
    Training differentiates through the exact solve; sampling is an ordinary convolution.

    Args:
        channels: number of channels C.
        kernel_size: side of the kernel, or ``(height, width)``.
        corner: corner of the image where the solve starts: each pixel depends on its neighbors toward this corner.
        diagonal: ``"unit"`` for d = 1 and a log-determinant of 0, or ``"free"`` for a positive d that is learned.
        max_row_sum: ρ, between 0 and 1 (exclusive), which bounds the sum of the absolute taps of each output channel,
            so that :math:`\lVert z \rVert_\infty \le \max_c d_c^{-1} \lVert x \rVert_\infty / (1 - \rho)`; None for
            no bound.
        groups: number of channel groups, which divides the channels; each group sees only itself.

    Shape:
        x: ``(B, C, H, W)``; z: the same.

    Raises:
        ValueError: if an argument is out of its range, or `groups` does not divide the channels.

    Reference:
        Nagar and Varma, Inverse-Flow, AISTATS 2025, section 3, https://arxiv.org/abs/2410.14634.

    Example:
        >>> layer, x = InverseConv2d(12, kernel_size=3, corner="bottom_right"), torch.randn(2, 12, 8, 8)
        >>> z, log_det = layer(x)
        >>> torch.allclose(layer.inverse(z)[0], x, atol=1e-5)
        True
        >>> layer.channels, layer.corner
        (12, 'bottom_right')
    """

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return self._solve(x)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return self._convolve(z)


def kernel_sides(kernel_size: int | tuple[int, int], *, odd: bool = False) -> tuple[int, int]:
    """Return the height and width of a kernel; raise unless both are whole numbers from 1, and odd if `odd` is set."""
    sides = tuple(kernel_size) if isinstance(kernel_size, (tuple, list)) else (kernel_size, kernel_size)
    if len(sides) != 2:
        raise TypeError(f"kernel_size must be a whole number or a pair (height, width) of them, got {kernel_size!r}")
    rows, columns = (whole_number("kernel_size", side) for side in sides)
    if min(rows, columns) < 1:
        raise ValueError(f"kernel_size must be at least 1, got {kernel_size}")
    if odd and not rows % 2 == columns % 2 == 1:
        raise ValueError(f"kernel_size must be odd, got {kernel_size}; its middle tap lies on the pixel itself")
    return rows, columns
