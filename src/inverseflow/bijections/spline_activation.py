"""Element-wise monotone splines with learned knots."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from inverseflow.bijections.base import Bijection, LogDet, Shape
from inverseflow.bijections.events import sum_event
from inverseflow.ops import rational_quadratic_spline
from inverseflow.ops.spline import MIN_BIN


class SplineActivation(Bijection):
    r"""Monotone rational-quadratic spline on every element, the identity outside [-bound, bound].

    .. math:: z_i = \phi(x_i), \qquad \log|\det| = \sum_i \log \phi'(x_i)

    One spline for all elements, one for each channel, or one for each element of an event of fixed shape. Starts
    near the identity.

    Args:
        channels: None for one shared spline, else the number of channels C, each with a spline of its own.
        size: with `channels`, the spatial shape, say ``(H, W)``, to give every element a spline of its own.
        bins: number of bins.
        bound: half the length of the interval.

    Shape:
        x: ``(B, C, *spatial)``; z: the same.

    Raises:
        ValueError: bins, bound or size do not fit.

    Reference:
        Durkan et al., Neural Spline Flows, 2019, section 3.1; as an activation: Keller et al., Self Normalizing
        Flows, 2021.

    Example:
        >>> layer = SplineActivation(channels=3)
        >>> x = torch.randn(2, 3, 8, 8)
        >>> torch.allclose(layer.inverse(layer(x)[0])[0], x, atol=1e-4)
        True
    """

    def __init__(
        self, channels: int | None = None, *, size: Shape | None = None, bins: int = 8, bound: float = 10.0
    ) -> None:
        super().__init__(channels=channels, size=size)
        if bins < 2:
            raise ValueError(f"a spline needs at least 2 bins, got bins={bins}")
        if bins * MIN_BIN >= 1:
            raise ValueError(f"{bins} bins of at least {MIN_BIN} of the interval each do not fit into it; use fewer")
        if not bound > 0:
            raise ValueError(f"bound is half the length of the spline's interval and positive, got {bound}")
        if size is not None and channels is None:
            raise ValueError(f"a spline for each element needs the channels too, got size={size} and channels=None")
        self.bins = bins
        self.bound = bound
        functions = (channels or 1) * math.prod(self.size or ())
        self.widths = nn.Parameter(0.01 * torch.randn(functions, bins))
        self.heights = nn.Parameter(0.01 * torch.randn(functions, bins))
        self.derivatives = nn.Parameter(0.01 * torch.randn(functions, bins - 1))

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return self._apply_spline(x, inverse=False)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return self._apply_spline(z, inverse=True)

    def _apply_spline(self, x: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
        points = self._by_function(x.to(self.widths.dtype))
        value, log_derivative = rational_quadratic_spline(
            points, self.widths, self.heights, self.derivatives, bound=self.bound, inverse=inverse
        )
        return self._by_element(value, x), sum_event(self._by_element(log_derivative, x))

    def _by_function(self, x: Tensor) -> Tensor:
        if self.channels is None:
            return x.reshape(1, -1)
        if self.size is None:
            return x.transpose(0, 1).reshape(self.channels, -1)
        return x.flatten(1).T

    def _by_element(self, points: Tensor, x: Tensor) -> Tensor:
        if self.channels is None:
            return points.view(x.shape)
        if self.size is None:
            return points.view(x.shape[1], x.shape[0], *x.shape[2:]).transpose(0, 1)
        return points.T.reshape(x.shape)

    def extra_repr(self) -> str:
        """Show the sharing, bins and bound."""
        sharing = "shared" if self.channels is None else f"channels={self.channels}"
        size = "" if self.size is None else f", size={self.size}"
        return f"{sharing}{size}, bins={self.bins}, bound={self.bound:g}"
