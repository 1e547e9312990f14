"""One-sided convolutions as layers, and their inverses as layers: of sequences, images and volumes."""

import math
from collections.abc import Callable
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from inverseflow.bijections.base import Bijection, LogDet
from inverseflow.bijections.events import at_least_single, per_channel, pixels
from inverseflow.ops import (
    causal_conv1d,
    causal_conv2d,
    causal_conv3d,
    corners,
    inv_conv1d,
    inv_conv2d,
    inv_conv3d,
)
from inverseflow.utils.arguments import finite_number, one_of, whole_number

Diagonal = Literal["unit", "free"]


_CONVOLVE: dict[int, Callable[..., Tensor]] = {1: causal_conv1d, 2: causal_conv2d, 3: causal_conv3d}
_SOLVE: dict[int, Callable[..., Tensor]] = {1: inv_conv1d, 2: inv_conv2d, 3: inv_conv3d}


class OneSidedConv(Bijection):
    r"""Base of layers that multiply by the matrix :math:`A = d \odot (I + N)` of a one-sided convolution, or solve."""

    axes: ClassVar[int]
    """Number of spatial axes."""

    def __init__(
        self,
        channels: int,
        kernel_size: int | tuple[int, ...] = 3,
        *,
        corner: str | None = None,
        diagonal: Diagonal = "unit",
        max_row_sum: float | None = None,
        groups: int = 1,
    ) -> None:
        super().__init__(channels=channels, spatial_axes=self.axes)
        channels = whole_number("channels", channels)
        self.kernel_size = kernel_sides(kernel_size, self.axes)
        self.corner = one_of("corner", corner or corners(self.axes)[0], corners(self.axes))
        self.diagonal: Diagonal = one_of("diagonal", diagonal, get_args(Diagonal))
        self.max_row_sum = None if max_row_sum is None else finite_number("max_row_sum", max_row_sum, above=0, below=1)
        self.groups = whole_number("groups", groups, at_least=1)
        if channels % self.groups:
            raise ValueError(f"groups must divide the {channels} channels, got {groups}")
        per_group = channels // self.groups
        deviation = 0.05 / math.sqrt(per_group * math.prod(self.kernel_size))
        self.taps = nn.Parameter(deviation * torch.randn(channels, per_group, *self.kernel_size))
        self.log_diagonal = nn.Parameter(torch.zeros(channels)) if diagonal == "free" else None

    def _convolve(self, z: Tensor) -> tuple[Tensor, LogDet]:
        """Return A z and log|det A|."""
        x = self._apply_kernel(_CONVOLVE, z)
        if self.log_diagonal is None:
            return x, 0.0
        return x * per_channel(self.log_diagonal.exp(), x), self._log_det(z)

    def _solve(self, x: Tensor) -> tuple[Tensor, LogDet]:
        """Return A⁻¹ x and log|det A⁻¹|."""
        log_det: LogDet = 0.0
        if self.log_diagonal is not None:
            x = x * per_channel((-self.log_diagonal).exp(), x)
            log_det = -self._log_det(x)
        return self._apply_kernel(_SOLVE, x), log_det

    def _apply_kernel(self, operators: dict[int, Callable[..., Tensor]], x: Tensor) -> Tensor:
        operator = operators[self.axes]
        return operator(x, self.kernel(), corner=self.corner, unitriangular=True, groups=self.groups)

    def _log_det(self, x: Tensor) -> Tensor:
        assert self.log_diagonal is not None
        return pixels(x) * at_least_single(self.log_diagonal).sum()

    def kernel(self) -> Tensor:
        """Return the taps of N, ``(C, C / groups, *sides)``. In the last tap only entries below the diagonal count."""
        if self.max_row_sum is None:
            return self.taps
        row_sums = (self.taps.abs() * self.tap_mask).sum(tuple(range(1, self.taps.ndim)), keepdim=True)
        return self.taps * (self.max_row_sum / (self.max_row_sum + row_sums))

    @property
    def tap_mask(self) -> Tensor:
        """One for each entry of the kernel that is read, zero for the others."""
        mask = torch.ones(self.taps.shape, dtype=self.taps.dtype, device=self.taps.device)
        per_group = mask.shape[1]
        mask.flatten(2)[..., -1] = mask.new_ones(per_group, per_group).tril(-1).repeat(self.groups, 1)
        return mask


class CausalConv(OneSidedConv):
    """The product from data to latent, the solve back."""

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return self._convolve(x)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return self._solve(z)


class InverseConv(OneSidedConv):
    """The solve from data to latent, the product back."""

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return self._solve(x)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return self._convolve(z)


class CausalConv2d(CausalConv):
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
        corner: corner of the image where the convolution starts, ``"top_left"`` by default: each pixel sees its
            neighbors toward this corner.
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

    axes = 2


class CausalConv1d(CausalConv):
    r"""`CausalConv2d` with one spatial axis: for sequences.

    Args:
        channels: number of channels C.
        kernel_size: length of the kernel.
        corner: ``"left"`` (the default) or ``"right"``, the end at which the walk starts.
        diagonal, max_row_sum, groups: as in `CausalConv2d`.

    Shape:
        x: ``(B, C, T)``; z: the same.

    Reference:
        Nagar et al., CInC Flow, 2021, section 3, https://arxiv.org/abs/2107.01358, for two axes.

    Example:
        >>> z, log_det = CausalConv1d(4, diagonal="free")(torch.randn(2, 4, 100))
    """

    axes = 1


class CausalConv3d(CausalConv):
    r"""`CausalConv2d` with three spatial axes: for volumes.

    Args:
        channels: number of channels C.
        kernel_size: side of the kernel, or ``(depth, height, width)``.
        corner: one of the eight corners at which the walk may start, ``"front_top_left"`` by default.
        diagonal, max_row_sum, groups: as in `CausalConv2d`.

    Shape:
        x: ``(B, C, D, H, W)``; z: the same.

    Reference:
        Nagar et al., CInC Flow, 2021, section 3, https://arxiv.org/abs/2107.01358, for two axes.

    Example:
        >>> z, log_det = CausalConv3d(4, corner="back_top_left")(torch.randn(2, 4, 4, 6, 5))
    """

    axes = 3


class InverseConv2d(InverseConv):
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

    axes = 2


class InverseConv1d(InverseConv):
    r"""`InverseConv2d` with one spatial axis: for sequences. It has the arguments of `CausalConv1d`.

    Reference:
        Nagar and Varma, Inverse-Flow, AISTATS 2025, section 3, https://arxiv.org/abs/2410.14634, for two axes.

    Example:
        >>> layer, x = InverseConv1d(4, corner="right"), torch.randn(2, 4, 100)
        >>> torch.allclose(layer.inverse(layer(x)[0])[0], x, atol=1e-5)
        True
    """

    axes = 1


class InverseConv3d(InverseConv):
    r"""`InverseConv2d` with three spatial axes: for volumes. It has the arguments of `CausalConv3d`.

    Reference:
        Nagar and Varma, Inverse-Flow, AISTATS 2025, section 3, https://arxiv.org/abs/2410.14634, for two axes.

    Example:
        >>> layer, x = InverseConv3d(4, kernel_size=(2, 3, 3)), torch.randn(2, 4, 4, 6, 5)
        >>> torch.allclose(layer.inverse(layer(x)[0])[0], x, atol=1e-5)
        True
    """

    axes = 3


def kernel_sides(kernel_size: int | tuple[int, ...], axes: int = 2, *, odd: bool = False) -> tuple[int, ...]:
    """Return the sides of a kernel; raise unless all are whole numbers from 1, and odd if `odd` is set."""
    sides = tuple(kernel_size) if isinstance(kernel_size, (tuple, list)) else (kernel_size,) * axes
    if len(sides) != axes:
        several = {2: " or a pair (height, width) of them", 3: " or three of them, (depth, height, width)"}
        raise TypeError(f"kernel_size must be a whole number{several.get(axes, '')}, got {kernel_size!r}")
    sides = tuple(whole_number("kernel_size", side) for side in sides)
    if min(sides) < 1:
        raise ValueError(f"kernel_size must be at least 1, got {kernel_size}")
    if odd and not all(side % 2 for side in sides):
        raise ValueError(f"kernel_size must be odd, got {kernel_size}; its middle tap lies on the pixel itself")
    return sides
