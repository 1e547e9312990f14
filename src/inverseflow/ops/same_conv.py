"""The ordinary convolution that keeps the size of its image, and its transpose."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def same_conv2d(x: Tensor, weight: Tensor) -> Tensor:
    r"""Convolve with zeros around the image, so that the result has its size.

    .. math:: y_{o,h,w} = \sum_{i,a,b} K_{o,i,a,b}\; x_{i,\,h+a-m_H,\,w+b-m_W}, \qquad m = \lfloor (k - 1) / 2 \rfloor

    It is the correlation of ``torch.nn.functional.conv2d(padding="same")``.

    Args:
        x: image, ``(N, C, H, W)``.
        weight: kernel, ``(C', C, kH, kW)``.

    Returns:
        ``(N, C', H, W)``.

    Example:
        >>> same_conv2d(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 3, 3))[0, 0]
        tensor([[4., 6., 4.],
                [6., 9., 6.],
                [4., 6., 4.]])
    """
    rows, columns = weight.shape[2:]
    if rows % 2 and columns % 2:
        return F.conv2d(x, weight, padding=(rows // 2, columns // 2))
    return F.conv2d(F.pad(x, ((columns - 1) // 2, columns // 2, (rows - 1) // 2, rows // 2)), weight)


def same_conv2d_transposed(y: Tensor, weight: Tensor) -> Tensor:
    r"""Apply the transpose of `same_conv2d`, the gradient of its image.

    .. math:: \langle A^T y, x \rangle = \langle y, A x \rangle

    Args:
        y: image, ``(N, C', H, W)``.
        weight: kernel of the convolution, ``(C', C, kH, kW)``.

    Returns:
        ``(N, C, H, W)``.

    Example:
        >>> x, y, weight = torch.randn(1, 2, 5, 4), torch.randn(1, 3, 5, 4), torch.randn(3, 2, 3, 2)
        >>> one_way, other_way = same_conv2d_transposed(y, weight) * x, same_conv2d(x, weight) * y
        >>> torch.allclose(one_way.sum(), other_way.sum(), atol=1e-4)
        True
    """
    rows, columns = weight.shape[2:]
    top, left = (rows - 1) // 2, (columns - 1) // 2
    full = F.conv_transpose2d(y, weight)  # (N, C, H + kH - 1, W + kW - 1)
    return full[:, :, top : top + y.shape[2], left : left + y.shape[3]]
