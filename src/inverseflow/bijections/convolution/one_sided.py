"""What all one-sided convolutions share: the parameters, the convolution and its solve."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from inverseflow.bijections.base import Bijection, LogDet
from inverseflow.bijections.events import per_channel, pixels
from inverseflow.ops import CORNERS, Corner, causal_conv2d, inv_conv2d

Diagonal = Literal["unit", "free"]


def kernel_sides(kernel_size: int | tuple[int, int]) -> tuple[int, int]:
    """Return the height and width of a kernel, or raise if it has none."""
    sides = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
    if not isinstance(sides, (tuple, list)) or len(sides) != 2 or not all(isinstance(side, int) for side in sides):
        raise TypeError(f"kernel_size is a whole number or a pair (height, width) of them, got {kernel_size!r}")
    rows, columns = sides
    if min(rows, columns) < 1:
        raise ValueError(f"a kernel has at least one row and one column, got kernel_size={kernel_size}")
    return rows, columns


class OneSidedConv2d(Bijection):
    """The parameters of a one-sided convolution, with both maps: the convolution and its solve."""

    tap_mask: Tensor
    """Ones where a tap is free, zeros where none is read."""

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
        rows, columns = kernel_sides(kernel_size)
        if corner not in CORNERS:
            raise ValueError(f"unknown corner {corner!r}: choose one of {', '.join(map(repr, CORNERS))}")
        if diagonal not in ("unit", "free"):
            raise ValueError(f"unknown diagonal {diagonal!r}: choose 'unit' or 'free'")
        if max_row_sum is not None and not 0 < max_row_sum < 1:
            raise ValueError(f"max_row_sum must lie strictly between 0 and 1, got {max_row_sum}")
        if groups < 1 or channels % groups:
            raise ValueError(f"groups={groups} does not divide the {channels} channels")
        self.kernel_size = (rows, columns)
        self.corner: Corner = corner
        self.diagonal: Diagonal = diagonal
        self.max_row_sum = max_row_sum
        self.groups = groups
        per_group = channels // groups
        deviation = 0.05 / math.sqrt(per_group * rows * columns)
        self.taps = nn.Parameter(deviation * torch.randn(channels, per_group, rows, columns))
        self.log_diagonal = nn.Parameter(torch.zeros(channels)) if diagonal == "free" else None
        tap_mask = torch.ones_like(self.taps.detach())
        tap_mask[:, :, -1, -1] = tap_mask.new_ones(per_group, per_group).tril(-1).repeat(groups, 1)
        self.register_buffer("tap_mask", tap_mask, persistent=False)

    def _convolve(self, z: Tensor) -> tuple[Tensor, LogDet]:
        """Return A z and log|det A|."""
        x = causal_conv2d(z, self.kernel(), corner=self.corner, unitriangular=True, groups=self.groups)
        if self.log_diagonal is None:
            return x, 0.0
        return x * per_channel(self.log_diagonal.exp(), x), pixels(z) * self.log_diagonal.sum()

    def _solve(self, x: Tensor) -> tuple[Tensor, LogDet]:
        """Return A⁻¹ x and log|det A⁻¹|."""
        log_det: LogDet = 0.0
        if self.log_diagonal is not None:
            x = x * per_channel((-self.log_diagonal).exp(), x)
            log_det = -pixels(x) * self.log_diagonal.sum()
        return inv_conv2d(x, self.kernel(), corner=self.corner, unitriangular=True, groups=self.groups), log_det

    def kernel(self) -> Tensor:
        """Return the taps N, ``(C, C / groups, kH, kW)``; of the last one only what lies below the diagonal counts."""
        if self.max_row_sum is None:
            return self.taps
        row_sums = (self.taps.abs() * self.tap_mask).sum((1, 2, 3), keepdim=True)
        return self.taps * (self.max_row_sum / (self.max_row_sum + row_sums))

    def extra_repr(self) -> str:
        """Show what the layer was built with."""
        parts = [f"channels={self.channels}", f"kernel_size={self.kernel_size}", f"corner={self.corner!r}"]
        parts += self._options_repr()
        parts += [f"groups={self.groups}"] if self.groups > 1 else []
        return ", ".join(parts)

    def _options_repr(self) -> list[str]:
        parts = ["diagonal='free'"] if self.diagonal == "free" else []
        return parts + ([f"max_row_sum={self.max_row_sum}"] if self.max_row_sum is not None else [])
