"""The invertible k×k convolution as a layer, and its inverse as a layer."""

from __future__ import annotations

from torch import Tensor

from inverseflow.bijections.base import LogDet
from inverseflow.bijections.convolution.one_sided import OneSidedConv2d


class CausalConv2d(OneSidedConv2d):
    r"""One-sided k×k convolution, triangular and so exactly invertible for every value of its parameters.

    .. math:: z = d \odot (I + N)\,x, \qquad \log|\det| = HW \sum_c \log d_c

    N holds the free taps: all entries of the kernel but the diagonal and the upper triangle of its last tap, which
    lies on the pixel itself. With ``diagonal="unit"`` d is 1 and the log-determinant 0; with ``"free"`` d is positive
    and learned.

    With a free diagonal this is the convolution of CInC Flow: each kernel whose last tap is lower triangular with a
    positive diagonal is :math:`d \odot (I + N)` for exactly one d and N.

    With ``max_row_sum`` ρ the taps of each output channel are scaled by :math:`\rho / (\rho + \sum |N|)`. Their
    absolute values then sum to less than ρ, and :math:`\lVert A^{-1} \rVert_\infty \le \max_c d_c^{-1} / (1 - \rho)`.
    Without it the inverse can grow geometrically with the size of the image, although its determinant is 1.

    Args:
        channels: number of channels C.
        kernel_size: side of the kernel, or ``(height, width)``.
        corner: corner of the image at which the walk starts.
        diagonal: ``"unit"`` or ``"free"``.
        max_row_sum: ρ, between 0 and 1 (exclusive), or None for no bound.
        groups: number of channel groups; each sees only itself.

    Shape:
        x: ``(B, C, H, W)``; z: the same.

    Raises:
        ValueError: if an argument is out of its range, or the groups do not divide the channels.

    Reference:
        Nagar et al., CInC Flow, 2021, section 3, https://arxiv.org/abs/2107.01358.

    Example:
        >>> layer = CausalConv2d(12, kernel_size=3)
        >>> x = torch.randn(2, 12, 8, 8)
        >>> torch.allclose(layer.inverse(layer(x)[0])[0], x, atol=1e-5)
        True
    """

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return self._convolve(x)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return self._solve(z)


class InverseConv2d(OneSidedConv2d):
    r"""The inverse of a k×k convolution as a layer: a solve from data to latent, a convolution back.

    .. math:: z = A^{-1} x, \qquad x = A z, \qquad \log|\det| = -HW \sum_c \log d_c

    It has the arguments, parameters, shapes and errors of `CausalConv2d`, and swaps its two directions. Training
    differentiates through the exact solve; sampling is an ordinary convolution.

    Reference:
        Nagar and Varma, Inverse-Flow, AISTATS 2025, section 3, https://arxiv.org/abs/2410.14634.

    Example:
        >>> layer = InverseConv2d(12, kernel_size=3, corner="bottom_right")
        >>> x = torch.randn(2, 12, 8, 8)
        >>> z, log_det = layer(x)
        >>> torch.allclose(layer.inverse(z)[0], x, atol=1e-5)
        True
        >>> layer.channels, layer.corner
        (12, 'bottom_right')
    """

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return self._solve(x)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return self._convolve(z)
