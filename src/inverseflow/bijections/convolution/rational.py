"""The rational convolution: a one-sided convolution and the inverse of another in one layer."""

from typing import ClassVar

from inverseflow.bijections.combinators import Chain
from inverseflow.bijections.convolution.causal import (
    CausalConv,
    CausalConv1d,
    CausalConv2d,
    CausalConv3d,
    Diagonal,
    InverseConv,
    InverseConv1d,
    InverseConv2d,
    InverseConv3d,
)
from inverseflow.ops import corners

_LAYERS: dict[int, tuple[type[CausalConv], type[InverseConv]]] = {
    1: (CausalConv1d, InverseConv1d),
    2: (CausalConv2d, InverseConv2d),
    3: (CausalConv3d, InverseConv3d),
}


class RationalConv(Chain):
    """A one-sided convolution, and the inverse of another after it."""

    axes: ClassVar[int]
    """Number of spatial axes."""

    def __init__(
        self,
        channels: int,
        kernel_size: int | tuple[int, ...] = 3,
        *,
        corner: str | None = None,
        inverse_corner: str | None = None,
        diagonal: Diagonal = "unit",
        max_row_sum: float | None = None,
    ) -> None:
        convolve, solve = _LAYERS[self.axes]
        inverse_corner = inverse_corner or corners(self.axes)[-1]
        convolution = convolve(channels, kernel_size, corner=corner, diagonal=diagonal, max_row_sum=max_row_sum)
        inverse_convolution = solve(channels, kernel_size, corner=inverse_corner, max_row_sum=max_row_sum)
        super().__init__(convolution, inverse_convolution, channels=channels, spatial_axes=self.axes)
        self.kernel_size = convolution.kernel_size
        self.corner = convolution.corner
        self.inverse_corner = inverse_corner
        self.diagonal: Diagonal = diagonal
        self.max_row_sum = convolution.max_row_sum


class RationalConv2d(RationalConv):
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
        corner: corner at which the walk of the convolution A₂ starts, ``"top_left"`` by default.
        inverse_corner: corner at which the walk of the inverse A₁⁻¹ starts, ``"bottom_right"`` by default.
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

    axes = 2


class RationalConv1d(RationalConv):
    r"""`RationalConv2d` with one spatial axis: an invertible ARMA filter of sequences.

    Args:
        channels: number of channels C.
        kernel_size: length of both kernels.
        corner: end at which the convolution starts, ``"left"`` by default.
        inverse_corner: end at which the inverse starts, ``"right"`` by default.
        diagonal, max_row_sum: as in `RationalConv2d`.

    Shape:
        x: ``(B, C, T)``; z: the same.

    Reference:
        Ours. ARMA filters: Box and Jenkins, Time Series Analysis, 1970.

    Example:
        >>> z, log_det = RationalConv1d(4, corner="left", inverse_corner="left")(torch.randn(2, 4, 100))
    """

    axes = 1


class RationalConv3d(RationalConv):
    r"""`RationalConv2d` with three spatial axes: for volumes.

    Args:
        channels: number of channels C.
        kernel_size: side of both kernels, or ``(depth, height, width)``.
        corner: one of the eight corners, at which the convolution starts; ``"front_top_left"`` by default.
        inverse_corner: corner at which the inverse starts, ``"back_bottom_right"`` by default.
        diagonal, max_row_sum: as in `RationalConv2d`.

    Shape:
        x: ``(B, C, D, H, W)``; z: the same.

    Reference:
        Ours. ARMA filters: Box and Jenkins, Time Series Analysis, 1970.

    Example:
        >>> z, log_det = RationalConv3d(4)(torch.randn(2, 4, 4, 6, 5))
    """

    axes = 3
