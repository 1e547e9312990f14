"""From grey levels to the real line."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor
from torch.nn import functional as F

from inverseflow.bijections.base import Bijection, LogDet
from inverseflow.bijections.events import elements, sum_event
from inverseflow.ops._mapped import every_slice


class Dequantize(Bijection):
    r"""Uniform dequantisation of grey levels 0 … n-1 to [0, 1).

    .. math:: z = (x + u) / n, \quad u \sim U[0, 1), \qquad \log|\det| = -D \log n

    The noise is drawn anew at every call. The log density of z plus this log-determinant is, in expectation over u,
    a lower bound on the log probability of the grey levels. The inverse rounds down to a grey level, so
    ``inverse(forward(x)) == x`` exactly; levels outside 0 … n-1 are set to the nearest, and what is not a number to 0,
    with a warning.

    Args:
        levels: number of grey levels n.

    Shape:
        x: ``(B, C, *spatial)``, an integer dtype; z: the same, in the dtype of the layer.

    Raises:
        TypeError: x is not of an integer dtype.
        ValueError: a grey level is out of range.

    Reference:
        Theis et al., A note on the evaluation of generative models, 2016, section 3.1.

    Example:
        >>> layer = Dequantize(256)
        >>> x = torch.randint(256, (2, 1, 4, 4), dtype=torch.uint8)
        >>> torch.equal(layer.inverse(layer(x)[0])[0], x)
        True
    """

    accepts_integers = True
    one: Tensor

    def __init__(self, levels: int) -> None:
        super().__init__()
        if not 2 <= levels <= 2**16:
            raise ValueError(f"the number of grey levels is between 2 and 65536, got {levels}")
        self.levels = levels
        self.register_buffer("one", torch.ones(()), persistent=False)

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return self._place(x, torch.rand(x.shape, dtype=self._dtype, device=x.device)), -elements(x) * math.log(
            self.levels
        )

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        if not torch.compiler.is_compiling():
            self._warn_of_nan(z)
        level = (z * self.levels).floor().clamp(0, self.levels - 1).nan_to_num(0)
        return level.to(torch.uint8 if self.levels <= 256 else torch.int32), elements(z) * math.log(self.levels)

    def center(self, x: Tensor) -> Tensor:
        """Place every grey level at the middle of its interval: the point from which rounding down is safest."""
        return self._place(x, torch.full((), 0.5, dtype=self._dtype, device=x.device))

    @property
    def _dtype(self) -> torch.dtype:
        return torch.promote_types(self.one.dtype, torch.float32)

    def _place(self, x: Tensor, within: Tensor) -> Tensor:
        if x.is_floating_point():
            raise TypeError(
                f"Dequantize expects grey levels 0 … {self.levels - 1} of an integer dtype, got {x.dtype}; "
                "convert with .to(torch.uint8), or build the flow with levels=None for continuous data"
            )
        if not torch.compiler.is_compiling():
            self._check_range(x)
        # A few roundings inside the interval, so that dividing and multiplying again cannot leave it.
        margin = 4 * torch.finfo(self._dtype).eps
        x = x.to(self._dtype)
        return (x + within).clamp(x * (1 + margin), (x + 1) * (1 - margin)) / self.levels

    def _check_range(self, x: Tensor) -> None:
        if (x.dtype == torch.uint8 and self.levels >= 256) or x.numel() == 0:
            return
        low, high = map(int, every_slice(x).to(torch.int64).aminmax())  # not there for every unsigned dtype
        if low < 0 or high >= self.levels:
            raise ValueError(
                f"grey levels run from 0 to {self.levels - 1}, got values from {low} to {high}; "
                "build the flow with the number of levels that the data has"
            )

    def _warn_of_nan(self, z: Tensor) -> None:
        broken = int(every_slice(z).isnan().sum())
        if broken:
            warnings.warn(
                f"{broken} of {every_slice(z).numel()} pixels are not a number and become level 0: the inverse of a "
                "layer is singular or overflows; bound the layer, or compute in float64",
                stacklevel=2,
            )

    def extra_repr(self) -> str:
        """Show the number of levels."""
        return f"levels={self.levels}"


class Logit(Bijection):
    r"""From [0, 1] to the real line, squashed a little so that the ends stay finite.

    .. math:: v = \alpha + (1 - 2\alpha) x, \quad z = \log v - \log(1 - v), \qquad
        \log|\det| = \sum \log(1 - 2\alpha) - \log v - \log(1 - v)

    Args:
        alpha: the squash, between 0 and 0.5.

    Shape:
        x: ``(B, C, *spatial)`` in [0, 1], nan for values outside; z: the same, on the real line.

    Raises:
        ValueError: alpha is out of its range.

    Reference:
        Dinh et al., RealNVP, 2017, section 4.1.

    Example:
        >>> layer = Logit(0.05)
        >>> layer(torch.tensor([[0.5]]))
        (tensor([[0.]]), tensor([1.2809]))
    """

    def __init__(self, alpha: float = 1e-6) -> None:
        super().__init__()
        if not 0 <= alpha < 0.5:
            raise ValueError(f"the squash alpha of a logit lies in [0, 0.5), got {alpha}")
        self.alpha = alpha

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        v = self.alpha + (1 - 2 * self.alpha) * x
        z = v.log() - (-v).log1p()
        return z, -self._log_derivative_of_inverse(z)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return (z.sigmoid() - self.alpha) / (1 - 2 * self.alpha), self._log_derivative_of_inverse(z)

    def _log_derivative_of_inverse(self, z: Tensor) -> Tensor:
        return sum_event(F.logsigmoid(z) + F.logsigmoid(-z)) - elements(z) * math.log1p(-2 * self.alpha)

    def extra_repr(self) -> str:
        """Show the squash."""
        return f"alpha={self.alpha:g}"


class Scale(Bijection):
    r"""A fixed shift and scale, the same for every element.

    .. math:: z = a (x + b), \qquad \log|\det| = D \log|a|

    Args:
        scale: a, finite and not zero.
        shift: b.

    Shape:
        x: ``(B, C, *spatial)``; z: the same.

    Example:
        >>> Scale(2.0, shift=-0.5)(torch.tensor([[0.0, 1.0]]))
        (tensor([[-1.,  1.]]), tensor([1.3863]))
    """

    def __init__(self, scale: float, *, shift: float = 0.0) -> None:
        super().__init__()
        if scale == 0 or not math.isfinite(scale):
            raise ValueError(f"a scale of {scale} has no inverse")
        self.scale = scale
        self.shift = shift

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return self.scale * (x + self.shift), elements(x) * math.log(abs(self.scale))

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return z / self.scale - self.shift, -elements(z) * math.log(abs(self.scale))

    def extra_repr(self) -> str:
        """Show scale and shift."""
        return f"{self.scale:g}, shift={self.shift:g}"
