"""The FInC unit: a one-sided convolution from each corner."""

import torch
from torch import Tensor

from inverseflow.bijections.base import LogDet
from inverseflow.bijections.convolution.causal import Diagonal, OneSidedConv
from inverseflow.ops import corners
from inverseflow.ops._corner import mirrored_axes
from inverseflow.utils.arguments import whole_number


class FInCConv(OneSidedConv):
    """Groups of channels, each with a one-sided convolution from a corner of its own."""

    def __init__(
        self,
        channels: int,
        kernel_size: int | tuple[int, ...] = 3,
        *,
        diagonal: Diagonal = "unit",
        max_row_sum: float | None = None,
    ) -> None:
        groups = 2**self.axes
        if whole_number("channels", channels, at_least=1) % groups:
            raise ValueError(
                f"channels must be a multiple of {groups}, one group for each corner, got {channels}; "
                "put Squeeze before it"
            )
        super().__init__(channels, kernel_size, diagonal=diagonal, max_row_sum=max_row_sum, groups=groups)

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        z, log_det = self._convolve(_mirror_groups(x))
        return _mirror_groups(z), log_det

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        x, log_det = self._solve(_mirror_groups(z))
        return _mirror_groups(x), log_det


def _mirror_groups(x: Tensor) -> Tensor:
    """Mirror each group so that its corner comes to the first one, or back."""
    axes = x.ndim - 2
    groups = zip(corners(axes), x.chunk(2**axes, dim=1), strict=True)
    return torch.cat([group.flip(mirrored_axes(corner)) for corner, group in groups], dim=1)


class FInCConv2d(FInCConv):
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

    axes = 2


class FInCConv1d(FInCConv):
    r"""`FInCConv2d` with one spatial axis: one half of the channels from each end of a sequence.

    Args:
        channels: number of channels C, a multiple of 2.
        kernel_size, diagonal, max_row_sum: as in `CausalConv1d`.

    Shape:
        x: ``(B, C, T)``; z: the same.

    Reference:
        Kallappa, Nagar and Varma, FInC Flow, VISAPP 2023, https://arxiv.org/abs/2301.09266, for two axes.

    Example:
        >>> z, log_det = FInCConv1d(4)(torch.randn(2, 4, 100))
    """

    axes = 1


class FInCConv3d(FInCConv):
    r"""`FInCConv2d` with three spatial axes: an eighth of the channels from each corner of a volume.

    Args:
        channels: number of channels C, a multiple of 8.
        kernel_size, diagonal, max_row_sum: as in `CausalConv3d`.

    Shape:
        x: ``(B, C, D, H, W)``; z: the same.

    Reference:
        Kallappa, Nagar and Varma, FInC Flow, VISAPP 2023, https://arxiv.org/abs/2301.09266, for two axes.

    Example:
        >>> z, log_det = FInCConv3d(8)(torch.randn(2, 8, 4, 6, 5))
    """

    axes = 3
