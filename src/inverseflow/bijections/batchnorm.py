"""Batch normalization as an invertible layer."""

import torch
from torch import Tensor

from inverseflow.bijections.base import Bijection, LogDet
from inverseflow.bijections.events import at_least_single, per_channel, pixels
from inverseflow.utils.arguments import finite_number


class BatchNorm(Bijection):
    r"""Subtract the mean of each channel and divide by its deviation: of the batch in training, of the past in use.

    .. math:: z = (x - \mu) / \sqrt{v + \epsilon}, \qquad \log|\det| = -\tfrac{HW}{2} \sum_c \log(v_c + \epsilon)

    In training, `forward` takes μ and v from the batch, over its events and pixels, and moves running averages of them;
    the log-determinant counts them as constants. In evaluation mode it takes the running averages, and so `inverse`
    always does: the directions are inverses of each other after ``eval()``. Then it is a fixed affine map. It makes the
    loss of an event depend on the others in its batch; `ActNorm` does not. With gradient checkpointing the averages
    move twice in each step.

    Args:
        channels: number of channels C.
        momentum: the weight of a new batch in the running averages.
        epsilon: added to the variances.

    Shape:
        x: ``(B, C, *spatial)``, with B at least 2 in training; z: the same.

    Raises:
        ValueError: if in training the batch holds a single event.

    Reference:
        Dinh et al., RealNVP, 2017, section 3.7 and appendix E, https://arxiv.org/abs/1605.08803.

    Example:
        >>> layer, x = BatchNorm(3, momentum=1.0), 5 + 2 * torch.randn(64, 3, 8, 8)
        >>> z, log_det = layer(x)
        >>> torch.allclose(layer.eval().inverse(z)[0], x, atol=1e-4)
        True
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int, *, momentum: float = 0.1, epsilon: float = 1e-5) -> None:
        super().__init__(channels=channels)
        self.momentum = finite_number("momentum", momentum, above=0, at_most=1)
        self.epsilon = finite_number("epsilon", epsilon, above=0)
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        mean, variance = self._statistics(x) if self.training else (self.mean, self.variance)
        variance = at_least_single(variance) + self.epsilon
        z = (x - per_channel(mean, x)) * per_channel(variance.rsqrt().to(x.dtype), x)
        return z, -0.5 * pixels(x) * variance.log().sum()

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        variance = at_least_single(self.variance) + self.epsilon
        x = z * per_channel(variance.sqrt().to(z.dtype), z) + per_channel(self.mean, z)
        return x, 0.5 * pixels(z) * variance.log().sum()

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if x.shape[0] < 2:
            raise ValueError(
                f"BatchNorm takes its statistics from the batch in training, which must hold at least 2 events, got "
                f"{x.shape[0]}; call .eval() first, or use ActNorm"
            )
        rows = at_least_single(x.transpose(0, 1).flatten(1))
        mean, variance = rows.mean(1), rows.var(1, correction=0)
        with torch.no_grad():
            self.mean.lerp_(mean.to(self.mean.dtype), self.momentum)
            self.variance.lerp_(variance.to(self.variance.dtype), self.momentum)
        return mean.to(x.dtype), variance
