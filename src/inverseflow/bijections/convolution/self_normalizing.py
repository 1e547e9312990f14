"""The self-normalizing convolution: it learns its own inverse, for a cheap gradient of its log-determinant."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from inverseflow.bijections.base import LogDet
from inverseflow.bijections.convolution.causal import kernel_sides
from inverseflow.bijections.convolution.exact import ExactConv2d
from inverseflow.bijections.events import at_least_single, per_channel, sum_event
from inverseflow.ops import same_conv2d, same_conv2d_log_det
from inverseflow.utils.arguments import finite_number, one_of

Gradient = Literal["self_normalizing", "exact"]


class SelfNormalizingConv2d(ExactConv2d):
    r"""The ordinary k×k convolution with a learned approximate inverse, which replaces the inverse in gradients.

    .. math:: z = w \star x + b, \qquad \log|\det| = \log|\det A_w|, \qquad r \star (w \star x) \approx x

    **Values are exact.** Both directions return what `ExactConv2d` returns, in training and in evaluation.

    **In training mode the gradients of the data direction are not the gradients of these values** if
    ``gradient="self_normalizing"``. They are the gradients of the objective (to be maximized)

    .. math:: \tfrac12 \log p_w(x) + \tfrac12 \log p_{r^{-1}}(x) - \lambda \lVert r \star (w \star x) - x \rVert^2

    Here :math:`p_w` maps data by :math:`A_w` and :math:`p_{r^{-1}}` by :math:`A_r^{-1}`. Wherever an inverse would be
    needed, :math:`A_r^{-1}` is replaced by :math:`A_w`, and the reverse, so that no factorization is differentiated. In
    evaluation mode, in the inverse, and with ``gradient="exact"`` all gradients are exact and r receives none; train it
    then with `reconstruction_error`.

    Starts at the identity with small taps N around it, r at I - N. Computed in at least single precision.

    Args:
        channels: number of channels C.
        kernel_size: side of the kernel, or ``(height, width)``, odd.
        gradient: ``"self_normalizing"`` or ``"exact"``.
        reconstruction_weight: λ, not negative. It multiplies squared errors summed over an event, as the log-likelihood
            is a sum over an event; the paper takes 100 for MNIST and 1000 for CIFAR-10.

    Shape:
        x: ``(B, C, H, W)``; z: the same. A factorization of the matrix bounds the size of the image.

    Raises:
        ValueError: if an image is too large.
        SingularError: if a matrix to be inverted is singular.

    Reference:
        Keller et al., Self Normalizing Flows, 2021, section 3, https://arxiv.org/abs/2011.07248.

    Example:
        >>> layer, x = SelfNormalizingConv2d(2), torch.randn(5, 2, 6, 6)
        >>> torch.equal(layer.train()(x)[1], layer.eval()(x)[1])  # the value is exact in training too
        True
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int | tuple[int, int] = 3,
        *,
        gradient: Gradient = "self_normalizing",
        reconstruction_weight: float = 100.0,
    ) -> None:
        rows, columns = kernel_sides(kernel_size, odd=True)
        super().__init__(channels, (rows, columns))
        self.gradient: Gradient = one_of("gradient", gradient, get_args(Gradient))
        self.reconstruction_weight = finite_number("reconstruction_weight", reconstruction_weight, at_least=0)
        rows, columns = self.kernel_size
        inverse_weight = -self.weight.detach()
        inverse_weight[:, :, rows // 2, columns // 2] += 2 * torch.eye(len(inverse_weight))
        self.inverse_weight = nn.Parameter(inverse_weight)

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        if not (self.training and self.gradient == "self_normalizing"):
            z, exact = super()._forward(x, context)
            return z, exact + self._idle()
        weight = at_least_single(self.weight)
        linear = same_conv2d(x, 0.5 * weight + 0.5 * weight.detach())
        inverted = same_conv2d(linear.detach(), at_least_single(self.inverse_weight))
        z = linear - 0.5 * same_conv2d(_without_value(inverted), weight.detach())
        log_det = same_conv2d_log_det(weight.detach(), (x.shape[2], x.shape[3]))
        return z + per_channel(self.bias, z), log_det + _without_value(self._objective(x))

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        x, exact = super()._inverse(z, context)
        return x, exact + self._idle()

    def _idle(self) -> Tensor:
        """Return a zero that depends on r: data-parallel training needs every parameter in every graph."""
        return 0.0 * self.inverse_weight.sum()

    def _objective(self, x: Tensor) -> Tensor:
        """Return Σ m (r' w - w' r) / 2 - λ · error, ``(B,)``, r' and w' mirrored constants, m the taps inside."""
        weight, inverse_weight = at_least_single(self.weight), at_least_single(self.inverse_weight)
        taps_inside = _taps_inside(weight, x)
        of_weight = (_mirrored(inverse_weight.detach()) * taps_inside * weight).sum()
        of_inverse = (_mirrored(weight.detach()) * taps_inside * inverse_weight).sum()
        error = sum_event((same_conv2d(same_conv2d(x.detach(), weight), inverse_weight) - x.detach()).square())
        return 0.5 * (of_weight - of_inverse) - self.reconstruction_weight * error

    def approximate_inverse(self, z: Tensor) -> Tensor:
        r"""Return :math:`r \star (z - b)`: one convolution, near x where the reconstruction error is small."""
        return same_conv2d(z - per_channel(self.bias, z), self.inverse_weight)

    def reconstruction_error(self, x: Tensor) -> Tensor:
        r"""Return :math:`\lVert r \star (w \star x) - x \rVert^2` of each event, ``(B,)``."""
        return sum_event((same_conv2d(same_conv2d(x, self.weight), self.inverse_weight) - x).square())


def _without_value(x: Tensor) -> Tensor:
    """Return zeros with the gradient of x."""
    return x - x.detach()


def _mirrored(weight: Tensor) -> Tensor:
    """Return the kernel of the transposed convolution."""
    return weight.transpose(0, 1).flip(2, 3)


def _taps_inside(weight: Tensor, x: Tensor) -> Tensor:
    """Return the number of pixels at which each tap lies inside the image, ``(kH, kW)``."""
    counts = [
        (length - (torch.arange(taps, device=x.device) - taps // 2).abs()).clamp_min(0)
        for taps, length in zip(weight.shape[2:], x.shape[2:], strict=True)
    ]
    return torch.outer(*counts).to(weight.dtype)
