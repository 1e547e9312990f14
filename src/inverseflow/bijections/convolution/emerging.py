"""The emerging convolution: two opposite one-sided convolutions that make a full one."""

from typing import ClassVar, Literal, get_args

from inverseflow.bijections.base import Bijection
from inverseflow.bijections.combinators import Chain
from inverseflow.bijections.convolution.causal import CausalConv, CausalConv1d, CausalConv2d, CausalConv3d, kernel_sides
from inverseflow.bijections.linear import Conv1x1, LUConv1x1
from inverseflow.ops import corners
from inverseflow.utils.arguments import one_of

Conv1x1Form = Literal["lu", "dense", "none"]


_CONVOLUTIONS: dict[int, type[CausalConv]] = {1: CausalConv1d, 2: CausalConv2d, 3: CausalConv3d}


class EmergingConv(Chain):
    """Two one-sided convolutions from opposite corners, and a 1×1 before them."""

    axes: ClassVar[int]
    """Number of spatial axes."""

    def __init__(
        self,
        channels: int,
        kernel_size: int | tuple[int, ...] = 3,
        *,
        conv1x1: Conv1x1Form = "lu",
        max_row_sum: float | None = None,
    ) -> None:
        sides = kernel_sides(kernel_size, self.axes, odd=True)
        forms: dict[Conv1x1Form, list[type[Conv1x1 | LUConv1x1]]] = {"lu": [LUConv1x1], "dense": [Conv1x1], "none": []}
        half = tuple((side + 1) // 2 for side in sides)
        layers: list[Bijection] = [form(channels) for form in forms[one_of("conv1x1", conv1x1, get_args(Conv1x1Form))]]
        convolution, (start, *_, end) = _CONVOLUTIONS[self.axes], corners(self.axes)
        first = convolution(channels, half, corner=start, diagonal="free", max_row_sum=max_row_sum)
        second = convolution(channels, half, corner=end, diagonal="free", max_row_sum=max_row_sum)
        super().__init__(*layers, first, second, channels=channels, spatial_axes=self.axes)
        self.kernel_size = sides
        self.conv1x1: Conv1x1Form = conv1x1
        self.max_row_sum = first.max_row_sum


class EmergingConv2d(EmergingConv):
    r"""k×k convolution with every pixel in the middle of its window, from two opposite one-sided ones and a 1×1.

    .. math:: z = A_2 A_1 W x, \qquad
        \log|\det| = HW \Big( \log|\det W| + \sum_c \log d_{1,c} + \sum_c \log d_{2,c} \Big)

    A₁ is a `CausalConv2d` from the top left, A₂ one from the bottom right. Both have free diagonals d and kernels of
    side (k + 1) / 2, so that their product reaches (k - 1) / 2 pixels to every side. W is a 1×1 convolution. The
    inverse is exact: two solves, one from each corner, and the inverse of W. Starts near the random rotation of W.

    Args:
        channels: number of channels C.
        kernel_size: side k of the window, or ``(height, width)``, odd.
        conv1x1: the form of W: ``"lu"`` (`LUConv1x1`, regular by construction), ``"dense"`` (`Conv1x1`), or ``"none"``.
        max_row_sum: bound on the sum of the absolute taps of each output channel of A₁ and of A₂, between 0 and 1
            (exclusive), which keeps the inverse from growing with the size of the image; None for no bound.

    Shape:
        x: ``(B, C, H, W)``; z: the same.

    Reference:
        Hoogeboom, van den Berg and Welling, Emerging Convolutions, 2019, https://arxiv.org/abs/1901.11137.

    Example:
        >>> z, log_det = EmergingConv2d(4, kernel_size=5, conv1x1="none")(torch.randn(2, 4, 8, 8))
    """

    axes = 2


class EmergingConv1d(EmergingConv):
    r"""`EmergingConv2d` with one spatial axis: for sequences, from both ends.

    Args:
        channels: number of channels C.
        kernel_size: length k of the window, odd.
        conv1x1, max_row_sum: as in `EmergingConv2d`.

    Shape:
        x: ``(B, C, T)``; z: the same.

    Reference:
        Hoogeboom et al., Emerging Convolutions, 2019, https://arxiv.org/abs/1901.11137, for two axes.

    Example:
        >>> z, log_det = EmergingConv1d(4, kernel_size=5)(torch.randn(2, 4, 100))
    """

    axes = 1


class EmergingConv3d(EmergingConv):
    r"""`EmergingConv2d` with three spatial axes: for volumes.

    Args:
        channels: number of channels C.
        kernel_size: side k of the window, or ``(depth, height, width)``, odd.
        conv1x1, max_row_sum: as in `EmergingConv2d`.

    Shape:
        x: ``(B, C, D, H, W)``; z: the same.

    Reference:
        Hoogeboom et al., Emerging Convolutions, 2019, https://arxiv.org/abs/1901.11137, for two axes.

    Example:
        >>> z, log_det = EmergingConv3d(4)(torch.randn(2, 4, 4, 6, 5))
    """

    axes = 3
