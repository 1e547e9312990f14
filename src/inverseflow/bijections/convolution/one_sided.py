"""Base class of one-sided convolutions: the parameters, the convolution and its solve."""

from __future__ import annotations

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
    r"""The matrix :math:`A = d \odot (I + N)` of a one-sided convolution, as a product with it and as a solve."""

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
        """Return the taps N, ``(C, C / groups, kH, kW)``; of the last one only the part below the diagonal counts."""
        if self.max_row_sum is None:
            return self.taps
        row_sums = (self.taps.abs() * self.tap_mask).sum((1, 2, 3), keepdim=True)
        return self.taps * (self.max_row_sum / (self.max_row_sum + row_sums))

    @property
    def tap_mask(self) -> Tensor:
        """Ones where a tap is free, zeros where none is read."""
        mask = torch.ones(self.taps.shape, dtype=self.taps.dtype, device=self.taps.device)
        per_group = mask.shape[1]
        mask[:, :, -1, -1] = mask.new_ones(per_group, per_group).tril(-1).repeat(self.groups, 1)
        return mask


def kernel_sides(kernel_size: int | tuple[int, int], *, odd: bool = False) -> tuple[int, int]:
    """Return the height and width of a kernel, or raise if it is no pair of whole numbers from 1, odd if asked for."""
    sides = tuple(kernel_size) if isinstance(kernel_size, (tuple, list)) else (kernel_size, kernel_size)
    if len(sides) != 2:
        raise TypeError(f"kernel_size must be a whole number or a pair (height, width) of them, got {kernel_size!r}")
    rows, columns = (whole_number("kernel_size", side) for side in sides)
    if min(rows, columns) < 1:
        raise ValueError(f"kernel_size must be at least 1, got {kernel_size}")
    if odd and not rows % 2 == columns % 2 == 1:
        raise ValueError(f"kernel_size must be odd, got {kernel_size}; a tap lies on the pixel itself, in the middle")
    return rows, columns
