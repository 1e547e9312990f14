"""The ordinary convolution that keeps the size of its image, its transpose, and its dense matrix."""

from __future__ import annotations

import torch
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


def same_conv2d_matrix(weight: Tensor, size: tuple[int, int]) -> Tensor:
    r"""Return the dense matrix of `same_conv2d` on images of a size, differentiable in the weight.

    .. math:: A_{(o,h,w),(i,h',w')} = K_{o,i,\,h'-h+m_H,\,w'-w+m_W}

    where that is a tap of the kernel, else zero: Toeplitz blocks of Toeplitz blocks. Rows and columns are in the
    order of ``x.flatten(1)``. Its size is the square of that of an image: 36 MB in float32 for 12×16×16.

    Args:
        weight: kernel, ``(C', C, kH, kW)``.
        size: height and width of the image.

    Returns:
        ``(C' · H · W, C · H · W)``.

    Reference:
        Keller et al., Self Normalizing Flows, 2021, section 4 (the exact baseline).

    Example:
        >>> same_conv2d_matrix(torch.tensor([[[[1.0, 2.0, 3.0]]]]), (1, 4))
        tensor([[2., 3., 0., 0.],
                [1., 2., 3., 0.],
                [0., 1., 2., 3.],
                [0., 0., 1., 2.]])
    """
    height, width = size
    across = torch.einsum("oiab,bwv->oiawv", weight, shifts(weight.shape[3], width, weight))
    matrix = torch.einsum("oiawv,ahu->ohwiuv", across, shifts(weight.shape[2], height, weight))
    return matrix.reshape(weight.shape[0] * height * width, weight.shape[1] * height * width)


def shifts(taps: int, length: int, like: Tensor) -> Tensor:
    """Return for each tap of a line which pixel it reads for which, ``(taps, length, length)`` of zeros and ones."""
    pixel = torch.arange(length, device=like.device)
    tap = torch.arange(taps, device=like.device).view(-1, 1, 1)
    return (pixel - pixel[:, None] + (taps - 1) // 2 == tap).to(like.dtype)
