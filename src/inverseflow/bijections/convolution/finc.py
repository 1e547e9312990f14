"""The FInC unit: a k×k convolution from each corner of the image."""

import torch
from torch import Tensor

from inverseflow.bijections.base import LogDet
from inverseflow.bijections.convolution.causal import Diagonal, OneSidedConv2d
from inverseflow.utils.arguments import whole_number


class FInCConv2d(OneSidedConv2d):
    r"""Four groups of channels, each with a one-sided k×k convolution that starts at a corner of its own.

    .. math:: z_g = A_g x_g, \qquad g = \text{top left, top right, bottom left, bottom right}, \qquad
        \log|\det| = HW \sum_c \log d_c

    The groups do not see each other; put a 1×1 convolution after the layer to mix them. Starts near the identity.

    Args:
        channels: number of channels C, a multiple of 4.
        kernel_size: side of the kernel, or ``(height, width)``.
        diagonal: ``"unit"`` for d = 1, or ``"free"`` for a positive d that is learned.
        max_row_sum: bound on the sum of the absolute taps of each output channel, between 0 and 1 (exclusive), which
            keeps the inverse from growing with the size of the image; None for no bound.

    Shape:
        x: ``(B, C, H, W)``; z: the same.

    Reference:
        Kallappa, Nagar and Varma, FInC Flow, VISAPP 2023, https://arxiv.org/abs/2301.09266.

    Example:
        >>> z, log_det = FInCConv2d(12, kernel_size=3)(torch.randn(2, 12, 8, 8))
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int | tuple[int, int] = 3,
        *,
        diagonal: Diagonal = "unit",
        max_row_sum: float | None = None,
    ) -> None:
        if whole_number("channels", channels, at_least=1) % 4:
            raise ValueError(
                f"channels must be a multiple of 4, one group for each corner, got {channels}; put Squeeze before it"
            )
        super().__init__(channels, kernel_size, diagonal=diagonal, max_row_sum=max_row_sum, groups=4)

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        z, log_det = self._convolve(_mirror_groups(x))
        return _mirror_groups(z), log_det

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        x, log_det = self._solve(_mirror_groups(z))
        return _mirror_groups(x), log_det


def _mirror_groups(x: Tensor) -> Tensor:
    """Mirror each group so that its corner comes to the top left, or back."""
    top_left, top_right, bottom_left, bottom_right = x.chunk(4, dim=1)
    return torch.cat([top_left, top_right.flip(-1), bottom_left.flip(-2), bottom_right.flip(-2, -1)], dim=1)
