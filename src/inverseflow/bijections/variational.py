"""Dequantization by learned noise."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inverseflow.bijections.base import LogDet
from inverseflow.bijections.combinators import Compose
from inverseflow.bijections.coupling import Coupling
from inverseflow.bijections.events import elements, sum_event
from inverseflow.bijections.preprocessing import Dequantize
from inverseflow.bijections.splits import Checkerboard
from inverseflow.nets.conditioner import Builder
from inverseflow.ops.levels import check_levels
from inverseflow.utils.arguments import whole_number


class VariationalDequantize(Dequantize):
    r"""Dequantization of gray levels 0 … n-1 to [0, 1) by noise of a learned density q that depends on the levels.

    .. math:: z = (x + u) / n, \quad u \sim q(u \mid x), \qquad \log|\det| = -D \log n - \log q(u \mid x)

    q is a flow: uniform noise is taken to the real line by the logit, there through affine couplings of the two colors
    of a checkerboard in turn, given x, and back by the sigmoid. At first it is uniform, so that this is `Dequantize`.
    Every call draws new noise. The log density of z plus this log-determinant is, in expectation, a lower bound on the
    log probability of the gray levels, tighter than that of uniform noise if q is fitted; the mean of its exponential
    over several draws is an importance-weighted one. The inverse rounds down, and its log-determinant is that of the
    noise that is cut off; what rounding of z loses of noise near 0 or 1, it misses. Errors are those of `Dequantize`.

    Args:
        levels: number of gray levels n, from 2 to 65536.
        channels: number of channels C.
        conditioner: builder of the couplings' networks, such as ``partial(ConvNet, width=16)``. They see x on [-1, 1]
            as a spatial context.
        steps: number of couplings.

    Shape:
        x: ``(B, C, *spatial)``, an integer dtype; z: the same shape, in the dtype of the layer, at least float32.

    Raises:
        TypeError: if the conditioner is a network, not a builder of several.

    Reference:
        Ho et al., Flow++, 2019, section 3.1, https://arxiv.org/abs/1902.00275.

    Example:
        >>> layer = VariationalDequantize(256, 1, partial(ConvNet, width=8))
        >>> x = torch.randint(256, (2, 1, 4, 4), dtype=torch.uint8)
        >>> torch.equal(layer.inverse(layer(x)[0])[0], x)
        True
    """

    makes_context = True

    def __init__(self, levels: int, channels: int, conditioner: Builder, *, steps: int = 4) -> None:
        super().__init__(levels)
        if isinstance(conditioner, nn.Module):
            name = type(conditioner).__name__
            raise TypeError(f"conditioner must be a builder of a network for each step, got the network {name}")
        self.channels = channels = whole_number("channels", channels, at_least=1)
        self.steps = whole_number("steps", steps, at_least=1)
        splits = [Checkerboard(parity=step % 2) for step in range(self.steps)]
        self.noise = Compose(
            *(Coupling(channels, conditioner, split=split, context_channels=channels) for split in splits)
        )

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        check_levels(x, self.levels, type(self).__name__)
        uniform = torch.rand(x.shape, dtype=self._dtype, device=x.device)
        noise, log_det = self._noise(uniform, x)
        return self._place(x, noise), log_det - elements(x) * math.log(self.levels)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        level, log_det = super()._inverse(z, context)
        noise = _logit(z.to(self._dtype) * self.levels - level)
        uniform, log_det_of_noise = self.noise.inverse(noise.to(self._noise_dtype), self._seen(level))
        uniform = uniform.to(noise.dtype)
        return level, log_det + log_det_of_noise + _log_slope(uniform) - _log_slope(noise)

    def _check_matches(self, x: Tensor) -> None:
        super()._check_matches(x[:0].to(self._noise_dtype))  # z has single precision even where the networks have less

    def _noise(self, uniform: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return noise of q for uniform noise, and the log-determinant of its derivatives, −log q."""
        start = _logit(uniform)
        end, log_det = self.noise(start.to(self._noise_dtype), self._seen(x))
        end = end.to(start.dtype)
        return end.sigmoid(), log_det + _log_slope(end) - _log_slope(start)

    def _seen(self, x: Tensor) -> Tensor:
        return (2 * (x.to(self._dtype) + 0.5) / self.levels - 1).to(self._noise_dtype)

    @property
    def _noise_dtype(self) -> torch.dtype:
        return next(self.noise.parameters()).dtype


def _logit(uniform: Tensor) -> Tensor:
    margin = torch.finfo(uniform.dtype).eps
    return uniform.clamp(margin, 1 - margin).logit()


def _log_slope(logit: Tensor) -> Tensor:
    """Return the sum of the logarithms of the sigmoid's derivatives."""
    return sum_event(F.logsigmoid(logit) + F.logsigmoid(-logit))
