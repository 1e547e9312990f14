"""Masked convolutional flows: affine maps of each row given earlier rows, and their unit of four orders."""

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

    A convolution that sees strictly earlier rows, ELU, and a 1×1 convolution that starts at zero compute (s̃, μ), so z
    starts as σ(2)·x. With the default m = 2, s lies between 0.5 and 0.98. The inverse divides by s in every row; if s
    could approach 0, it could overflow within a few rows.

    The earlier rows are the rows above in order A and the rows below in order B. Orders C and D take columns instead:
    the columns to the left, and to the right. From data to latent all rows are computed at once. The inverse goes row
    by row (column by column) in H (W) steps and is exact. Computed at full precision under autocast.

    Args:
        channels: number of channels C.
        kernel_size: number of earlier rows (columns) seen, and the side of the kernel across them, which is odd.
        order: ``"A"``, ``"B"``, ``"C"`` or ``"D"``.
        width: channels between the two convolutions; None for 4C up to C = 96, then 2C but at most 512.
        max_raw_scale: the bound m.

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
            x = self._downwards(x.to(self.conv.weight.dtype))
            depth = self.kernel_size[0]
            log_scale, shift = self._predict(F.pad(x, (0, 0, depth, 0))[:, :, :-1])
            return self._back(x * log_scale.exp() + shift), sum_event(log_scale)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        with torch.autocast(z.device.type, enabled=False):
            z = self._downwards(z.to(self.conv.weight.dtype))
            depth = self.kernel_size[0]
            rows = [torch.zeros_like(z[:, :, :1])] * depth  # (B, C, 1, W) each, above the image at first
            log_scales = []
            for row in z.split(1, dim=2):
                log_scale, shift = self._predict(torch.cat(rows[-depth:], dim=2))
                rows.append((row - shift) * (-log_scale).exp())
                log_scales.append(log_scale)
            return self._back(torch.cat(rows[depth:], dim=2)), -sum_event(torch.cat(log_scales, dim=2))

    def _predict(self, earlier: Tensor) -> tuple[Tensor, Tensor]:
        """Return log s and μ of the rows that follow each full window of earlier rows."""
        margin = self.kernel_size[1] // 2
        raw, shift = self.head(F.elu(self.conv(F.pad(earlier, (margin, margin))))).chunk(2, dim=1)
        return F.logsigmoid(self.max_raw_scale * torch.tanh(raw / self.max_raw_scale) + 2), shift

    def _downwards(self, x: Tensor) -> Tensor:
        """Turn the image so that the walk over it goes down its rows."""
        x = x.transpose(2, 3) if self.order in ("C", "D") else x
        return x.flip(2) if self.order in ("B", "D") else x

    def _back(self, x: Tensor) -> Tensor:
        x = x.flip(2) if self.order in ("B", "D") else x
        return x.transpose(2, 3).contiguous() if self.order in ("C", "D") else x


class MaCow(Chain):
    r"""The unit of MaCow: two masked convolutional flows down and up the rows, two across the columns.

    ActNorm, order A, order B, ActNorm, order C, order D. Its inverse takes 2(H + W) steps. The arguments, shapes and
    errors of `MaskedConvFlow` apply.

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
