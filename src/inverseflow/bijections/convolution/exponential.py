"""The convolution exponential."""

import torch
from torch import Tensor, nn

from inverseflow.bijections.base import Bijection, LogDet
from inverseflow.bijections.convolution.causal import kernel_sides
from inverseflow.bijections.events import at_least_single, pixels
from inverseflow.ops import conv_spectral_norm_bound, same_conv2d
from inverseflow.utils.arguments import finite_number


class ExponentialConv2d(Bijection):
    r"""Matrix exponential of a k×k convolution: invertible for every kernel, its inverse the exponential of -K.

    .. math:: z = e^A x = \sum_{j=0}^\infty \frac{A^j x}{j!}, \qquad x = e^{-A} z, \qquad
        \log|\det| = \operatorname{tr} A = HW \sum_c K_{c,c,m,m}

    A is the zero-padded convolution with K, m its middle. K is a free weight scaled down so that the spectral norm of
    A on images of the size at hand is at most σ = `max_spectral_norm`, judged by the bound
    `inverseflow.ops.conv_spectral_norm_bound`. The series stops at the first n whose remainder is below `tolerance`
    for every such A, so that in either direction

    .. math:: \lVert \text{result} - e^{\pm A} x \rVert_2 \le R_n(\sigma) \lVert x \rVert_2 \le
        \text{tolerance} \cdot \lVert x \rVert_2, \qquad
        R_n(\sigma) = \frac{\sigma^{n+1}}{(n+1)!} \Big/ \Big( 1 - \frac{\sigma}{n+2} \Big)

    up to rounding; a round trip errs by at most :math:`(2 e^\sigma + 1) \cdot \text{tolerance}`. The log-determinant
    is exact for the exponential. For the series of n terms it errs by at most
    :math:`2 CHW e^\sigma \cdot \text{tolerance}`, if :math:`e^\sigma \cdot \text{tolerance} \le 1/2`.

    Starts near the identity. Computed in at least single precision, under autocast too.

    Args:
        channels: number of channels C.
        kernel_size: side of the kernel, or ``(height, width)``, odd.
        max_spectral_norm: σ, the largest spectral norm. The determinant lies between :math:`e^{\pm CHW\sigma}`.
        tolerance: relative error of each direction, between 0 and 1, or None for the epsilon of the dtype.

    Shape:
        x: ``(B, C, H, W)``; z: the same.

    Reference:
        Hoogeboom et al., The Convolution Exponential and Generalized Sylvester Flows, 2020, section 3,
        https://arxiv.org/abs/2006.01910.

    Example:
        >>> layer = ExponentialConv2d(4, kernel_size=3)
        >>> z, log_det = layer(torch.randn(2, 4, 8, 8))
        >>> layer.terms(torch.float32), layer.terms(torch.float64)
        (9, 17)
    """

    full_precision = True

    def __init__(
        self,
        channels: int,
        kernel_size: int | tuple[int, int] = 3,
        *,
        max_spectral_norm: float = 0.9,
        tolerance: float | None = None,
    ) -> None:
        super().__init__(channels=channels, spatial_axes=2)
        self.kernel_size = rows, columns = kernel_sides(kernel_size, odd=True)
        self.max_spectral_norm = finite_number("max_spectral_norm", max_spectral_norm, above=0)
        self.tolerance = None if tolerance is None else finite_number("tolerance", tolerance, above=0, below=1)
        self.weight = nn.Parameter(torch.randn(channels, channels, rows, columns) / (channels * rows * columns))

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        kernel = self.kernel((x.shape[2], x.shape[3]))
        return self._series(kernel, x), pixels(x) * self._trace(kernel)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        kernel = self.kernel((z.shape[2], z.shape[3]))
        return self._series(-kernel, z), -pixels(z) * self._trace(kernel)

    def kernel(self, size: tuple[int, int]) -> Tensor:
        """Return K, ``(C, C, kH, kW)``, for images of this height and width, in at least single precision."""
        weight = at_least_single(self.weight)
        norm = conv_spectral_norm_bound(weight, size)
        return weight * (self.max_spectral_norm / norm.clamp_min(self.max_spectral_norm))

    def terms(self, dtype: torch.dtype) -> int:
        """Return the number n of convolutions in each direction in this dtype."""
        return series_terms(self.max_spectral_norm, self.tolerance or torch.finfo(dtype).eps)

    def _series(self, kernel: Tensor, x: Tensor) -> Tensor:
        total = term = x
        for j in range(1, self.terms(kernel.dtype) + 1):
            term = same_conv2d(term, kernel / j)
            total = total + term
        return total

    def _trace(self, kernel: Tensor) -> Tensor:
        rows, columns = self.kernel_size
        return kernel[:, :, rows // 2, columns // 2].trace()


def series_terms(norm: float, tolerance: float) -> int:
    """Return the first n whose remainder R_n(norm) is at most the tolerance."""
    n, term = 0, norm  # the term n + 1 of the series, the first that is left out
    while n + 2 <= norm or term / (1 - norm / (n + 2)) > tolerance:
        n += 1
        term *= norm / (n + 1)
    return n
