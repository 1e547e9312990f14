"""Masked convolutional flows: affine maps of each row given the rows before it, and their unit of four orders."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inverseflow.bijections.actnorm import ActNorm
from inverseflow.bijections.base import Bijection, LogDet
from inverseflow.bijections.combinators import Compose
from inverseflow.bijections.events import sum_event
from inverseflow.nets import ZeroConv2d

Order = Literal["A", "B", "C", "D"]

ORDERS: tuple[Order, ...] = get_args(Order)


class MaskedConvFlow(Bijection):
    r"""Scale and shift each row by what a convolution says of the rows before it.

    .. math:: z = s(x) \odot x + \mu(x), \qquad \log|\det| = \sum \log s(x), \qquad
        s = \sigma(m \tanh(\tilde s / m) + 2)

    (s̃, μ) come from a convolution that sees strictly earlier rows, ELU, and a 1×1 convolution that starts at zero, so
    that z starts as σ(2)·x. With the default m = 2 s lies between 0.5 and 0.98: were it free to approach 0, an inverse
    that divides by it in every row could overflow within a few rows.

    Before a row are, in order A: the rows above, B: the rows below; a column takes the row's place in C: the columns to
    the left, and D: those to the right. From data to latent all rows are computed at once; the inverse goes row by row
    (column by column) in H (W) steps and is exact. Computed at full precision under autocast, so that both directions
    stay each other's inverse.

    Args:
        channels: number of channels C.
        kernel_size: how many earlier rows (columns) are seen, and the side of the kernel across them, which is odd.
        order: ``"A"``, ``"B"``, ``"C"`` or ``"D"``.
        width: channels between the two convolutions, None for 4C up to C = 96, then 2C but at most 512.
        max_raw_scale: the bound m.

    Shape:
        x: ``(B, C, H, W)``; z: the same.

    Raises:
        ValueError: an argument is out of its range, or the kernel's side across the rows is even.

    Reference:
        Ma et al., MaCow, 2019, section 3.1. There s̃ has no bound, and both convolutions have weight normalisation in
        place of the learned gain that the last one has here.

    Example:
        >>> layer = MaskedConvFlow(3, order="B")
        >>> x = torch.randn(2, 3, 8, 8)
        >>> z, log_det = layer(x)
        >>> torch.allclose(layer.inverse(z)[0], x, atol=1e-5)
        True
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
        super().__init__(channels=channels, spatial_axes=2)
        if order not in ORDERS:
            raise ValueError(f"unknown order {order!r}: choose one of {', '.join(map(repr, ORDERS))}")
        depth, side = kernel_size
        if depth < 1:
            raise ValueError(f"the kernel sees at least one earlier row, got kernel_size={kernel_size}")
        if side < 1 or side % 2 == 0:
            raise ValueError(
                f"the kernel is centred across the rows, so its second side is odd, got kernel_size={kernel_size}; "
                f"choose {side - 1 if side > 1 else 1} or {side + 1 if side > 0 else 3}"
            )
        if width is None:
            width = 4 * channels if channels <= 96 else min(2 * channels, 512)
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        if not max_raw_scale > 0:
            raise ValueError(f"max_raw_scale bounds the scales and is positive, got {max_raw_scale}")
        self.order: Order = order
        self.max_raw_scale = max_raw_scale
        self.kernel_size = (depth, side)
        self.conv = nn.Conv2d(channels, width, (depth, side))
        self.head = ZeroConv2d(width, 2 * channels, kernel_size=1)

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
        """Return log s and μ of as many rows as the kernel has places down these: that of the last is not included."""
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

    def extra_repr(self) -> str:
        """Show what the layer was built with."""
        return f"channels={self.channels}, order={self.order!r}, kernel_size={self.kernel_size}"


class MaCow(Compose):
    r"""The unit of MaCow: two masked convolutional flows down and up the rows, two across the columns.

    ActNorm, order A, order B, ActNorm, order C, order D. Its inverse takes 2(H + W) steps.

    Args:
        channels: number of channels C.
        kernel_size: how many earlier rows (columns) are seen, and the side of the kernel across them, which is odd.
        width: channels between the two convolutions of each flow, None for the default of `MaskedConvFlow`.

    Shape:
        x: ``(B, C, H, W)``; z: the same.

    Raises:
        ValueError: an argument is out of its range, or the kernel's side across the rows is even.

    Reference:
        Ma et al., MaCow, 2019, section 3.2.

    Example:
        >>> layer = MaCow(3)
        >>> x = torch.randn(2, 3, 8, 8)
        >>> z, log_det = layer(x)
        >>> torch.allclose(layer.inverse(z)[0], x, atol=1e-5)
        True
    """

    def __init__(self, channels: int, kernel_size: tuple[int, int] = (2, 3), *, width: int | None = None) -> None:
        a, b, c, d = (MaskedConvFlow(channels, kernel_size, order=order, width=width) for order in ORDERS)
        super().__init__(ActNorm(channels), a, b, ActNorm(channels), c, d)
