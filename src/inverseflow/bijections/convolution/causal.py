"""The invertible k×k convolution as a layer, and its inverse as a layer."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from inverseflow.bijections.base import Bijection, LogDet, per_channel, pixels
from inverseflow.bijections.combinators import Inverse
from inverseflow.ops import CORNERS, Corner, causal_conv2d, inv_conv2d


class CausalConv2d(Bijection):
    r"""One-sided k×k convolution, triangular and so exactly invertible for every value of its parameters.

    .. math:: z = d \odot (I + N)\,x, \qquad \log|\det| = HW \sum_c \log d_c

    N holds the free taps: all entries of the kernel but the diagonal and the upper triangle of its last tap, which
    is the one on the pixel itself. With ``diagonal="unit"`` d is 1 and the log-determinant 0; with ``"free"`` d is
    positive and learned.

    With a free diagonal this is the convolution of CInC Flow: each kernel whose last tap is lower triangular with a
    positive diagonal is :math:`d \odot (I + N)` for exactly one d and N. There the diagonal may have any sign, and
    may cross zero in training; its sign would only flip whole channels, and its bias is that of `ActNorm`.

    With a bound ρ the taps of each output channel are scaled by :math:`\rho / (\rho + \sum |N|)`, so that their
    absolute values sum to less than ρ, whence :math:`\lVert A^{-1} \rVert_\infty \le \max_c d_c^{-1} / (1 - \rho)`.
    Without it the inverse can grow geometrically with the size of the image although its determinant is 1.

    Args:
        channels: number of channels C.
        kernel_size: side of the kernel, or ``(height, width)``.
        corner: where the walk over the image starts.
        diagonal: ``"unit"`` or ``"free"``.
        bound: ρ, between 0 and 1 (exclusive), or None for no bound.
        groups: number of channel groups that do not see each other.

    Shape:
        x: ``(B, C, H, W)``; z: the same.

    Raises:
        ValueError: an argument is out of its range, or the groups do not divide the channels.

    Reference:
        Nagar et al., CInC Flow, 2021, section 3. The bound and the initialisation well inside it are ours.

    Example:
        >>> layer = CausalConv2d(12, kernel_size=3)
        >>> x = torch.randn(2, 12, 8, 8)
        >>> z, log_det = layer(x)
        >>> torch.allclose(layer.inverse(z)[0], x, atol=1e-5)
        True
    """

    free: Tensor
    """Ones where a tap is free, zeros where none is read."""

    def __init__(
        self,
        channels: int,
        kernel_size: int | tuple[int, int] = 3,
        *,
        corner: Corner = "top_left",
        diagonal: str = "unit",
        bound: float | None = None,
        groups: int = 1,
    ) -> None:
        super().__init__(channels=channels, spatial_axes=2)
        rows, columns = kernel_sides(kernel_size)
        if corner not in CORNERS:
            raise ValueError(f"unknown corner {corner!r}: choose one of {', '.join(map(repr, CORNERS))}")
        if diagonal not in ("unit", "free"):
            raise ValueError(f"unknown diagonal {diagonal!r}: choose 'unit' or 'free'")
        if bound is not None and not 0 < bound < 1:
            raise ValueError(f"the bound on the taps' row sums lies strictly between 0 and 1, got {bound}")
        if groups < 1 or channels % groups:
            raise ValueError(f"groups={groups} does not divide the {channels} channels")
        self.kernel_size = (rows, columns)
        self.corner: Corner = corner
        self.bound = bound
        self.groups = groups
        per_group = channels // groups
        deviation = 0.05 / math.sqrt(per_group * rows * columns)
        self.taps = nn.Parameter(deviation * torch.randn(channels, per_group, rows, columns))
        self.log_diagonal = nn.Parameter(torch.zeros(channels)) if diagonal == "free" else None
        free = torch.ones_like(self.taps.detach())
        free[:, :, -1, -1] = free.new_ones(per_group, per_group).tril(-1).repeat(groups, 1)
        self.register_buffer("free", free, persistent=False)

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        z = causal_conv2d(x, self.kernel(), corner=self.corner, unitriangular=True, groups=self.groups)
        if self.log_diagonal is None:
            return z, 0.0
        return z * per_channel(self.log_diagonal.exp(), z), pixels(x) * self.log_diagonal.sum()

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        log_det: LogDet = 0.0
        if self.log_diagonal is not None:
            z = z * per_channel((-self.log_diagonal).exp(), z)
            log_det = -pixels(z) * self.log_diagonal.sum()
        return inv_conv2d(z, self.kernel(), corner=self.corner, unitriangular=True, groups=self.groups), log_det

    def kernel(self) -> Tensor:
        """Return the taps N, ``(C, C / groups, kH, kW)``; of the last one only what lies below the diagonal counts."""
        if self.bound is None:
            return self.taps
        row_sums = (self.taps.abs() * self.free).sum((1, 2, 3), keepdim=True)
        return self.taps * (self.bound / (self.bound + row_sums))

    def extra_repr(self) -> str:
        """Show what the layer was built with."""
        parts = [f"channels={self.channels}", f"kernel_size={self.kernel_size}", f"corner={self.corner!r}"]
        parts += ["diagonal='free'"] if self.log_diagonal is not None else []
        parts += [f"bound={self.bound}"] if self.bound is not None else []
        parts += [f"groups={self.groups}"] if self.groups > 1 else []
        return ", ".join(parts)


def kernel_sides(kernel_size: int | tuple[int, int]) -> tuple[int, int]:
    """Return the height and width of a kernel, or raise if it has none."""
    sides = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
    if not isinstance(sides, (tuple, list)) or len(sides) != 2 or not all(isinstance(side, int) for side in sides):
        raise TypeError(f"kernel_size is a whole number or a pair (height, width) of them, got {kernel_size!r}")
    rows, columns = sides
    if min(rows, columns) < 1:
        raise ValueError(f"a kernel has at least one row and one column, got kernel_size={kernel_size}")
    return rows, columns


class InverseConv2d(Inverse):
    r"""The inverse of a k×k convolution as a layer: the solve runs from data to latent, a convolution back.

    .. math:: z = A^{-1} x, \qquad x = A z, \qquad \log|\det| = -HW \sum_c \log d_c

    It is `Inverse` of `CausalConv2d` and shares its parametrisation: training differentiates through the exact solve,
    sampling is an ordinary convolution.

    Args:
        channels: number of channels C.
        kernel_size: side of the kernel, or ``(height, width)``.
        corner: where the walk over the image starts.
        diagonal: ``"unit"`` (log-determinant 0) or ``"free"``.
        bound: None, or ρ such that :math:`\lVert A^{-1} \rVert_\infty \le \max_c d_c^{-1} / (1 - \rho)`.
        groups: number of channel groups that do not see each other.

    Shape:
        x: ``(B, C, H, W)``; z: the same.

    Raises:
        ValueError: an argument is out of its range, or the groups do not divide the channels.

    Reference:
        Nagar and Varma, Inverse-Flow, AISTATS 2025, section 3.

    Example:
        >>> layer = InverseConv2d(12, kernel_size=3, corner="bottom_right")
        >>> x = torch.randn(2, 12, 8, 8)
        >>> z, log_det = layer(x)
        >>> torch.allclose(layer.inverse(z)[0], x, atol=1e-5)
        True
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int | tuple[int, int] = 3,
        *,
        corner: Corner = "top_left",
        diagonal: str = "unit",
        bound: float | None = None,
        groups: int = 1,
    ) -> None:
        super().__init__(
            CausalConv2d(channels, kernel_size, corner=corner, diagonal=diagonal, bound=bound, groups=groups)
        )
