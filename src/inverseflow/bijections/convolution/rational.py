"""The rational convolution: a k×k convolution and the inverse of another in one layer."""

from __future__ import annotations

from inverseflow.bijections.combinators import Compose
from inverseflow.bijections.convolution.causal import CausalConv2d, InverseConv2d
from inverseflow.bijections.convolution.one_sided import Diagonal
from inverseflow.ops import Corner


class RationalConv2d(Compose):
    r"""One-sided k×k convolution followed by the inverse of another, in one layer: an invertible ARMA filter.

    .. math:: z = A_1^{-1} A_2\, x, \qquad x = A_2^{-1} A_1 z, \qquad A_1 = I + N_1, \quad A_2 = d \odot (I + N_2),
        \qquad \log|\det| = HW \sum_c \log d_c

    :math:`A_1 z = A_2 x` is what time series call ARMA: A₂ is the moving-average part, a weighted sum of the
    neighbours in x, and A₁ the autoregressive part, by which each pixel of z depends on its neighbours in z.
    So few taps have a long reach in both directions, and both directions cost the same: one convolution and one solve.

    The two may start at different corners. From opposed ones, the default, the taps lie on both sides of their pixel;
    from the same one the filter is one-sided, and where :math:`N_1 = N_2` the parts cancel. Only A₂ has a diagonal:
    one of A₁ would act at the same place. Starts near the identity.

    With a bound ρ on the taps of both, as in `CausalConv2d`, neither direction grows with the size of the image:
    :math:`\lVert z \rVert_\infty \le \max_c d_c \frac{1 + \rho}{1 - \rho} \lVert x \rVert_\infty` and
    :math:`\lVert x \rVert_\infty \le \max_c d_c^{-1} \frac{1 + \rho}{1 - \rho} \lVert z \rVert_\infty`.

    Args:
        channels: number of channels C.
        kernel_size: side of both kernels, or ``(height, width)``.
        corner: where the walk of the convolution A₂ starts.
        inverse_corner: where the walk of the inverse A₁⁻¹ starts.
        diagonal: ``"unit"`` (log-determinant 0), or ``"free"`` for a learned d.
        max_row_sum: ρ, between 0 and 1 (exclusive), or None for no bound.

    Shape:
        x: ``(B, C, H, W)``; z: the same.

    Raises:
        ValueError: an argument is out of its range.

    Reference:
        Ours, and new: as a layer of a flow we know of no publication. ARMA filters are those of Box and Jenkins, Time
        Series Analysis, 1970.

    Example:
        >>> layer = RationalConv2d(12, kernel_size=3, diagonal="free")
        >>> x = torch.randn(2, 12, 8, 8)
        >>> z, log_det = layer(x)
        >>> torch.allclose(layer.inverse(z)[0], x, atol=1e-5)
        True
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int | tuple[int, int] = 3,
        *,
        corner: Corner = "top_left",
        inverse_corner: Corner = "bottom_right",
        diagonal: Diagonal = "unit",
        max_row_sum: float | None = None,
    ) -> None:
        super().__init__(
            CausalConv2d(channels, kernel_size, corner=corner, diagonal=diagonal, max_row_sum=max_row_sum),
            InverseConv2d(channels, kernel_size, corner=inverse_corner, max_row_sum=max_row_sum),
        )
