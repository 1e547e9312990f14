"""The periodic convolution, diagonal in the Fourier basis."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inverseflow.bijections.base import Bijection, LogDet, Shape
from inverseflow.bijections.convolution.causal import kernel_sides
from inverseflow.bijections.events import per_channel
from inverseflow.ops import dense_solve


class PeriodicConv2d(Bijection):
    r"""k×k convolution of an image whose opposite borders touch, with its log-determinant and inverse by FFT.

    .. math:: z = K \circledast x + b, \qquad \hat z(\theta) = \hat K(\theta)\, \hat x(\theta), \qquad
        \log|\det| = \sum_\theta \log|\det \hat K(\theta)|

    The sum runs over the H·W frequencies θ; :math:`\hat K(\theta)` is a complex C×C matrix. These matrices, their
    determinants and their inverses are computed in double precision, because their errors add up. Everything else has
    the layer's precision, under autocast too.

    Starts at a random rotation of the channels with small taps around it. Only the likelihood keeps the matrices
    regular: the log-determinant of a singular one is minus infinity.

    Args:
        channels: number of channels C.
        kernel_size: side of the kernel, or ``(height, width)``; its middle, rounded up, lies on the pixel itself.

    Shape:
        x: ``(B, C, H, W)``, at least as large as the kernel; z: the same.

    Raises:
        ValueError: if an image is smaller than the kernel.
        SingularError: if a matrix to be inverted is singular.

    Reference:
        Hoogeboom, van den Berg and Welling, Emerging Convolutions, 2019, section 3.2,
        https://arxiv.org/abs/1901.11137.

    Example:
        >>> layer, x = PeriodicConv2d(3, kernel_size=3), torch.randn(2, 3, 8, 9)
        >>> shifted, _ = layer(x.roll((1, 5), (2, 3)))
        >>> torch.allclose(shifted, layer(x)[0].roll((1, 5), (2, 3)), atol=1e-5)
        True
    """

    def __init__(self, channels: int, kernel_size: int | tuple[int, int] = 3) -> None:
        super().__init__(channels=channels, spatial_axes=2)
        self.kernel_size = rows, columns = kernel_sides(kernel_size)
        weight = 0.05 / math.sqrt(channels * rows * columns) * torch.randn(channels, channels, rows, columns)
        weight[:, :, (rows - 1) // 2, (columns - 1) // 2] += torch.linalg.qr(torch.randn(channels, channels)).Q
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(channels))

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        with torch.autocast(x.device.type, enabled=False):
            rows, columns = self.kernel_size
            wrap = (columns - 1) // 2, columns // 2, (rows - 1) // 2, rows // 2
            z = F.conv2d(F.pad(x.to(self.weight.dtype), wrap, mode="circular"), self.weight, self.bias)
            return z, _sum_spectrum(torch.linalg.slogdet(self._frequencies(x)).logabsdet, x)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        if z.shape[0] == 0:  # MKL refuses to transform nothing
            return z.to(self.weight.dtype), 0.0
        with torch.autocast(z.device.type, enabled=False):
            centered = (z.to(self.bias.dtype) - per_channel(self.bias, z)).to(torch.float64)
            columns = torch.fft.rfft2(centered).permute(2, 3, 1, 0)  # (H, W / 2 + 1, C, B)
            solved, log_dets = dense_solve(self._frequencies(z), columns)
            x = torch.fft.irfft2(solved.permute(3, 2, 0, 1), s=z.shape[2:])
            return x.to(self.weight.dtype), -_sum_spectrum(log_dets, z)

    def _frequencies(self, x: Tensor) -> Tensor:
        r"""Return :math:`\hat K` on the half spectrum of images of x's size, ``(H, W / 2 + 1, C, C)``, complex128."""
        height, width = x.shape[2:]
        rows, columns = self.kernel_size
        impulse_response = F.pad(self.weight.to(torch.float64).flip(2, 3), (0, width - columns, 0, height - rows))
        impulse_response = impulse_response.roll((-(rows // 2), -(columns // 2)), (2, 3))
        frequencies: Tensor = torch.fft.rfft2(impulse_response)
        return frequencies.permute(2, 3, 0, 1)

    def _check_shape(self, shape: Shape) -> None:
        super()._check_shape(shape)
        if shape[1] < self.kernel_size[0] or shape[2] < self.kernel_size[1]:
            raise ValueError(
                f"PeriodicConv2d would wrap its kernel of {self.kernel_size} around an event of shape {shape} "
                "more than once; take a smaller kernel or a larger image"
            )


def _sum_spectrum(half: Tensor, x: Tensor) -> Tensor:
    """Sum over all frequencies a real even function given on the half spectrum of x, ``(H, W / 2 + 1)``."""
    width = x.shape[3]
    column = torch.arange(half.shape[1], device=half.device)
    paired = (column > 0) & (2 * column < width)  # the others hold their own conjugates
    return (half * torch.where(paired, 2, 1)).sum()
