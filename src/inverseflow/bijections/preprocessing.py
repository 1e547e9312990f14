"""From gray levels to the real line."""

import math
import warnings

import torch
from torch import Tensor
from torch.nn import functional as F

from inverseflow.bijections.base import Bijection, LogDet
from inverseflow.bijections.events import at_least_single, elements, sum_event
from inverseflow.ops.levels import check_levels
from inverseflow.ops.torch_internals import unwrap_functorch
from inverseflow.utils.arguments import finite_number, whole_number


class Dequantize(Bijection):
    r"""Uniform dequantization of gray levels 0 … n-1 to [0, 1).

    .. math:: z = (x + u) / n, \quad u \sim U[0, 1), \qquad \log|\det| = -D \log n

    Every call draws new noise. The log density of z plus this log-determinant is, in expectation over u, a lower bound
    on the log probability of the gray levels. The inverse rounds down to a gray level, so ``inverse(forward(x)) == x``
    exactly. It sets levels outside 0 … n-1 to the nearest, and NaN to 0 with a warning. Computed in at least single
    precision.

    Args:
        levels: number of gray levels n, from 2 to 65536.

    Shape:
        x: ``(B, C, *spatial)``, an integer dtype; z: the same shape, in the dtype of the layer, at least float32.

    Raises:
        TypeError: if x has no integer dtype.
        ValueError: if a gray level is out of range.

    Reference:
        Theis et al., A note on the evaluation of generative models, 2016, section 3.1,
        https://arxiv.org/abs/1511.01844.

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
        self.levels = whole_number("levels", levels, at_least=2, at_most=2**16)
        self.register_buffer("one", torch.ones(()), persistent=False)

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        noise = torch.rand(x.shape, dtype=self._dtype, device=x.device)
        return self._place(x, noise), -elements(x) * math.log(self.levels)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        if not torch.compiler.is_compiling():
            self._warn_of_nan(z)
        level = (at_least_single(z) * self.levels).floor().clamp(0, self.levels - 1).nan_to_num(0)
        return level.to(torch.uint8 if self.levels <= 256 else torch.int32), elements(z) * math.log(self.levels)

    def center(self, x: Tensor) -> Tensor:
        """Place every gray level in the middle of its interval, from where rounding down is safest."""
        return self._place(x, torch.full((), 0.5, dtype=self._dtype, device=x.device))

    @property
    def _dtype(self) -> torch.dtype:
        return torch.promote_types(self.one.dtype, torch.float32)

    def _place(self, x: Tensor, within: Tensor) -> Tensor:
        check_levels(x, self.levels, "Dequantize")
        # A few roundings inside the interval, so that dividing and multiplying again cannot leave it.
        margin = 4 * torch.finfo(self._dtype).eps
        x = x.to(self._dtype)
        return (x + within).clamp(x * (1 + margin), (x + 1) * (1 - margin)) / self.levels

    def _warn_of_nan(self, z: Tensor) -> None:
        pixels = unwrap_functorch(z)
        broken = int(pixels.isnan().sum())
        if broken:
            warnings.warn(
                f"{broken} of {pixels.numel()} pixels are not a number and become level 0: the inverse of a "
                "layer is singular or overflows; bound the layer, or compute in float64",
                stacklevel=2,
            )


class Logit(Bijection):
    r"""From [0, 1] to the real line; the interval shrinks a little first, so that its ends stay finite.

    .. math:: v = \alpha + (1 - 2\alpha) x, \quad z = \log v - \log(1 - v), \qquad
        \log|\det| = \sum \log(1 - 2\alpha) - \log v - \log(1 - v)

    Args:
        alpha: width of the margin at either end, from 0 to 0.5 (exclusive).

    Shape:
        x: ``(B, C, *spatial)`` in [0, 1], NaN for values outside; z: the same shape, on the real line.

    Reference:
        Dinh et al., RealNVP, 2017, section 4.1, https://arxiv.org/abs/1605.08803.

    Example:
        >>> layer = Logit(0.05)
        >>> layer(torch.tensor([[0.5]]))
        (tensor([[0.]]), tensor([1.2809]))
    """

    full_precision = True

    def __init__(self, alpha: float = 1e-6) -> None:
        super().__init__()
        self.alpha = finite_number("alpha", alpha, at_least=0, below=0.5)

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        v = self.alpha + (1 - 2 * self.alpha) * x
        z = v.log() - (-v).log1p()
        return z, -self._log_derivative_of_inverse(z)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        x = (z.sigmoid() - self.alpha) / (1 - 2 * self.alpha)
        return x, self._log_derivative_of_inverse(z)

    def _log_derivative_of_inverse(self, z: Tensor) -> Tensor:
        return sum_event(F.logsigmoid(z) + F.logsigmoid(-z)) - elements(z) * math.log1p(-2 * self.alpha)


class Scale(Bijection):
    r"""A fixed shift and scale, the same for every element.

    .. math:: z = a (x + b), \qquad \log|\det| = D \log|a|

    Args:
        scale: a, finite and not zero.
        shift: b, finite.

    Shape:
        x: ``(B, C, *spatial)``; z: the same.

    Example:
        >>> Scale(2.0, shift=-0.5)(torch.tensor([[0.0, 1.0]]))
        (tensor([[-1.,  1.]]), tensor([1.3863]))
    """

    def __init__(self, scale: float, *, shift: float = 0.0) -> None:
        super().__init__()
        self.scale = finite_number("scale", scale)
        self.shift = finite_number("shift", shift)
        if self.scale == 0:
            raise ValueError("scale must not be 0, which has no inverse")

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return self.scale * (x + self.shift), elements(x) * math.log(abs(self.scale))

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return z / self.scale - self.shift, -elements(z) * math.log(abs(self.scale))
