"""The rational convolution: a k×k convolution and the inverse of another in one layer."""

from inverseflow.bijections.combinators import Chain
from inverseflow.bijections.convolution.causal import CausalConv2d, Diagonal, InverseConv2d
from inverseflow.ops import Corner


class RationalConv2d(Chain):
    r"""One-sided k×k convolution followed by the inverse of another, in one layer: an invertible ARMA filter.

    .. math:: z = A_1^{-1} A_2\, x, \qquad x = A_2^{-1} A_1 z, \qquad A_1 = I + N_1, \quad A_2 = d \odot (I + N_2),
        \qquad \log|\det| = HW \sum_c \log d_c

    Time series call :math:`A_1 z = A_2 x` an ARMA model. A₂ is the moving-average part, a weighted sum of the
    neighbors in x. A₁ is the autoregressive part, by which each pixel of z depends on its neighbors in z. Both
    directions cost the same: one convolution and one solve. From opposite corners, the default, the taps lie on both
    sides of their pixel. Only A₂ has a diagonal: one of A₁ would act at the same place. Starts near the identity.

    With ``max_row_sum`` ρ the absolute taps of each output channel sum to less than ρ, in A₁ and in A₂. Then neither
    direction grows with the size of the image:
    :math:`\lVert z \rVert_\infty \le \max_c d_c \frac{1 + \rho}{1 - \rho} \lVert x \rVert_\infty` and
    :math:`\lVert x \rVert_\infty \le \max_c d_c^{-1} \frac{1 + \rho}{1 - \rho} \lVert z \rVert_\infty`.

    Args:
        channels: number of channels C.
        kernel_size: side of both kernels, or ``(height, width)``.
        corner: corner at which the walk of the convolution A₂ starts.
        inverse_corner: corner at which the walk of the inverse A₁⁻¹ starts.
        diagonal: ``"unit"`` (log-determinant 0), or ``"free"`` for a learned d.
        max_row_sum: ρ, between 0 and 1 (exclusive), or None for no bound.

    Shape:
        x: ``(B, C, H, W)``; z: the same.

    Reference:
        Ours, and new: we know of no publication that has it as a layer of a flow. ARMA filters: Box and Jenkins, Time
        Series Analysis, 1970.

    Example:
        >>> z, log_det = RationalConv2d(12, kernel_size=3, diagonal="free")(torch.randn(2, 12, 8, 8))
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
        convolution = CausalConv2d(channels, kernel_size, corner=corner, diagonal=diagonal, max_row_sum=max_row_sum)
        inverse_convolution = InverseConv2d(channels, kernel_size, corner=inverse_corner, max_row_sum=max_row_sum)
        super().__init__(convolution, inverse_convolution, channels=channels, spatial_axes=2)
        self.kernel_size = convolution.kernel_size
        self.corner: Corner = corner
        self.inverse_corner: Corner = inverse_corner
        self.diagonal: Diagonal = diagonal
        self.max_row_sum = convolution.max_row_sum
