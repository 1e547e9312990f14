"""Masked convolutional flows, which scale and shift each row by functions of earlier rows, and the unit of MaCow."""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inverseflow.bijections.actnorm import ActNorm
from inverseflow.bijections.base import Bijection, LogDet
from inverseflow.bijections.combinators import Chain
from inverseflow.bijections.convolution.causal import kernel_sides
from inverseflow.bijections.events import sum_event
from inverseflow.nets import ZeroConv
from inverseflow.utils.arguments import finite_number, one_of, whole_number

Order = Literal["A", "B", "C", "D"]

ORDERS: tuple[Order, ...] = get_args(Order)


class MaskedConvFlow(Bijection):
    r"""Scale and shift each row by functions of the rows before it.

    .. math:: z = s(x) \odot x + \mu(x), \qquad \log|\det| = \sum \log s(x), \qquad
        s = \sigma(m \tanh(\tilde s / m) + 2)

    A small network computes (s̃, μ): a convolution that sees only earlier rows, ELU, and a 1×1 convolution that starts
    at zero. So z starts as σ(2)·x. The bound m keeps s away from 0 (with m = 2 it lies between 0.5 and 0.98). The
    inverse divides by s in every row, and would overflow within a few rows if s were near 0.

    Earlier rows are those above in order A and those below in order B. Orders C and D take columns instead of rows:
    those to the left and those to the right. The forward direction computes all rows at once. The inverse is exact and
    takes one step for each row (or column). Computed at full precision under autocast.

    Args:
        channels: number of channels C.
        kernel_size: number of earlier rows (columns) seen, and the side of the kernel across them, which is odd.
        order: ``"A"``, ``"B"``, ``"C"`` or ``"D"``.
        width: hidden channels of the network; None for 4C up to C = 96, then 2C but at most 512.
        max_raw_scale: the bound m, positive.

    Shape:
        x: ``(B, C, H, W)``; z: the same.

    Reference:
        Ma et al., MaCow, 2019, section 3.1, https://arxiv.org/abs/1902.04208.

    Example:
        >>> z, log_det = MaskedConvFlow(3, order="B")(torch.randn(2, 3, 8, 8))
    """

    def __init__(
        self,
        channels: int,
        kernel_size: tuple[int, int] = (2, 3),
        *,
        order: Order = "A",
        width: int | None = None,
        max_raw_scale: float = 2.0,
    ) -> None:
        channels = whole_number("channels", channels, at_least=1)
        super().__init__(channels=channels, spatial_axes=2)
        depth, side = kernel_sides(kernel_size)
        if side % 2 == 0:
            raise ValueError(
                f"the second side of kernel_size must be odd, got {kernel_size}; choose {side - 1} or {side + 1}"
            )
        if width is None:
            width = 4 * channels if channels <= 96 else min(2 * channels, 512)
        self.order: Order = one_of("order", order, ORDERS)
        self.width = whole_number("width", width, at_least=1)
        self.max_raw_scale = finite_number("max_raw_scale", max_raw_scale, above=0)
        self.kernel_size = (depth, side)
        self.conv = nn.Conv2d(channels, self.width, (depth, side))
        self.head = ZeroConv(self.width, 2 * channels, kernel_size=1)

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        with torch.autocast(x.device.type, enabled=False):
            x = self._to_downward(x.to(self.conv.weight.dtype))
            depth = self.kernel_size[0]
            log_scale, shift = self._predict(F.pad(x, (0, 0, depth, 0))[:, :, :-1])
            return self._from_downward(x * log_scale.exp() + shift), sum_event(log_scale)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        with torch.autocast(z.device.type, enabled=False):
            z = self._to_downward(z.to(self.conv.weight.dtype))
            depth = self.kernel_size[0]
            rows = [torch.zeros_like(z[:, :, :1])] * depth  # (B, C, 1, W) each, above the image at first
            log_scales = []
            for row in z.split(1, dim=2):
                log_scale, shift = self._predict(torch.cat(rows[-depth:], dim=2))
                rows.append((row - shift) * (-log_scale).exp())
                log_scales.append(log_scale)
            return self._from_downward(torch.cat(rows[depth:], dim=2)), -sum_event(torch.cat(log_scales, dim=2))

    def _predict(self, earlier: Tensor) -> tuple[Tensor, Tensor]:
        """Return log s and μ of the rows that follow each full window of earlier rows."""
        margin = self.kernel_size[1] // 2
        raw, shift = self.head(F.elu(self.conv(F.pad(earlier, (margin, margin))))).chunk(2, dim=1)
        return F.logsigmoid(self.max_raw_scale * torch.tanh(raw / self.max_raw_scale) + 2), shift

    def _to_downward(self, x: Tensor) -> Tensor:
        """Mirror and transpose the image so that earlier rows lie above."""
        x = x.transpose(2, 3) if self.order in ("C", "D") else x
        return x.flip(2) if self.order in ("B", "D") else x

    def _from_downward(self, x: Tensor) -> Tensor:
        x = x.flip(2) if self.order in ("B", "D") else x
        return x.transpose(2, 3).contiguous() if self.order in ("C", "D") else x


class MaCow(Chain):
    r"""The unit of MaCow: two masked convolutional flows down and up the rows, two across the columns.

    The layers are ActNorm, orders A and B of `MaskedConvFlow`, ActNorm, orders C and D. The inverse is exact and takes
    2(H + W) steps.

    Args:
        channels: number of channels C.
        kernel_size: number of earlier rows (columns) seen, and the side of the kernel across them, which is odd.
        width: hidden channels of each flow's network; None for 4C up to C = 96, then 2C but at most 512.

    Shape:
        x: ``(B, C, H, W)``; z: the same.

    Reference:
        Ma et al., MaCow, 2019, section 3.2, https://arxiv.org/abs/1902.04208.

    Example:
        >>> z, log_det = MaCow(3)(torch.randn(2, 3, 8, 8))
    """

    def __init__(self, channels: int, kernel_size: tuple[int, int] = (2, 3), *, width: int | None = None) -> None:
        a, b, c, d = (MaskedConvFlow(channels, kernel_size, order=order, width=width) for order in ORDERS)
        super().__init__(ActNorm(channels), a, b, ActNorm(channels), c, d, channels=channels, spatial_axes=2)
        self.kernel_size = a.kernel_size
        self.width = a.width
