"""The convolution with taps on all sides that keeps the size of its image, its transpose, inverse and determinant."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from inverseflow.ops.dense_solve import check_regular, dense_solve
from inverseflow.ops.precision import at_least_single

_SMALLEST_BLOCK = 64
"""Unknowns of a block, at least: in smaller blocks the calls cost more than the arithmetic."""


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


def same_conv2d_log_det(weight: Tensor, size: tuple[int, int]) -> Tensor:
    r"""Return the log absolute determinant of `same_conv2d` on images of a size.

    .. math:: \log|\det A| = \sum_i \sum_j \log|(U_{ii})_{jj}|

    with the factors of `same_conv2d_solve`, stored only if a gradient is wanted.

    Args:
        weight: kernel, ``(C, C, kH, kW)``.
        size: height and width of the image.

    Returns:
        A scalar, minus infinity if the convolution is singular. It is in float32 for a kernel of half precision.

    Raises:
        ValueError: if the numbers of input and output channels differ.

    Reference:
        Golub and Van Loan, Matrix Computations, 4th edition, 2013, sections 4.3 and 4.5.

    Example:
        >>> same_conv2d_log_det(torch.tensor([[[[1.0, 2.0, 1.0]]]]), (3, 4))  # 3 log 5: the determinant of a row is 5
        tensor(4.8283)
    """
    layout = _layout(weight, size)
    strip = _strip(at_least_single(weight), layout)
    if layout.blocks == 1:
        log_det: Tensor = torch.linalg.slogdet(strip).logabsdet
    else:
        steps = _eliminate(strip, layout, strip.new_zeros(layout.side, 0))
        log_det = sum((step.log_det for step in steps), strip.new_zeros(()))
    return layout.copies * log_det


def same_conv2d_solve(y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    r"""Invert `same_conv2d`, and return its log absolute determinant from the same factorization.

    .. math:: x = A^{-1} y, \qquad A = \begin{pmatrix} D & U \\ L & D & U \\ & L & D & \ddots \\ & & \ddots & \ddots
        \end{pmatrix}

    with the unknowns in the order of pixels, channels innermost. A block is m rows of the image, at least as many as
    the kernel reaches. Blocks are eliminated in order, each with partial pivoting among its own equations and those of
    the next block. No other equations contain its unknowns, so the accuracy is the same as for the dense matrix. It
    takes about :math:`8 n^3 H / m` operations with n = m·W·C, instead of :math:`\tfrac{2}{3} D^3` with D = H·W·C. Where
    that does not pay, the matrix is one block. Rows (or columns) that no tap couples are independent systems.

    Args:
        y: image, ``(N, C, H, W)``.
        weight: kernel, ``(C, C, kH, kW)``.

    Returns:
        x, of the shape of y, and :math:`\log|\det A|` of one image, a scalar. Half precision is computed in float32:
        x is returned in the dtype of y, the log-determinant in float32.

    Raises:
        ValueError: if the numbers of input and output channels differ.
        SingularError: if the convolution is singular. Not checked in compiled code, where x becomes infinite or nan.

    Reference:
        Golub and Van Loan, Matrix Computations, 4th edition, 2013, sections 4.3 and 4.5.

    Example:
        >>> x, weight = torch.randn(2, 1, 5, 6), torch.tensor([[[[0.0, 1.0, 0.0], [1.0, 4.0, 1.0], [0.0, 1.0, 0.0]]]])
        >>> solved, log_det = same_conv2d_solve(same_conv2d(x, weight), weight)
        >>> torch.allclose(solved, x, atol=1e-5), torch.allclose(log_det, same_conv2d_log_det(weight, (5, 6)))
        (True, True)
    """
    layout = _layout(weight, (y.shape[2], y.shape[3]))
    strip, right = _strip(at_least_single(weight), layout), layout.columns(at_least_single(y))
    if layout.blocks == 1:
        x, log_det = dense_solve(strip, right)
    else:
        steps = list(_eliminate(strip, layout, right))
        check_regular(torch.stack([step.info for step in steps]).amax(0), layout.side)
        log_det = torch.stack([step.log_det for step in steps]).sum(0)
        x = _substitute_backwards(steps, right)
    return layout.images(x, y).to(y.dtype), layout.copies * log_det


def same_conv2d_factor_numel(shape: tuple[int, ...], size: tuple[int, int]) -> int:
    """Return the number of entries of the factors that `same_conv2d_solve` stores.

    It is 4 n D for n unknowns in a block, where the dense matrix has D². A backward pass takes about as much again.

    Args:
        shape: shape of the kernel, ``(C, C, kH, kW)``.
        size: height and width of the image.

    Example:
        >>> same_conv2d_factor_numel((12, 12, 3, 3), (16, 16)) / (12 * 16 * 16) ** 2  # share of the dense matrix
        0.25
    """
    layout = _layout(shape, size)
    return layout.side**2 if layout.blocks == 1 else 4 * layout.block * layout.side


@dataclass(frozen=True)
class _Layout:
    """How images are divided into equal independent systems, and the unknowns of a system into blocks."""

    swapped: bool  # whether the axes of image and kernel are swapped, in everything below
    image: tuple[int, int]
    height: int  # of a system: the height of the image, or 1 if the kernel has one row
    width: int  # likewise
    channels: int
    rows: int  # m, the number of rows in a block

    @property
    def copies(self) -> int:
        return math.prod(self.image) // (self.height * self.width)

    @property
    def side(self) -> int:
        return self.height * self.width * self.channels

    @property
    def block(self) -> int:
        return self.rows * self.width * self.channels

    @property
    def blocks(self) -> int:
        return math.ceil(self.height / self.rows)

    @property
    def cost(self) -> int:
        """Time of a factorization, D³ for a dense one of side D; 200³ is the cost of calls. Fitted on a CPU."""
        return self.side**3 if self.blocks == 1 else self.blocks * (200**3 + 14 * self.block**3)

    def columns(self, images: Tensor) -> Tensor:
        """Return the systems of ``(N, C, H, W)`` as columns, ``(side, N · copies)``, pixel by pixel."""
        images = images.transpose(2, 3) if self.swapped else images
        down, across = self.image[0] // self.height, self.image[1] // self.width
        cut = images.reshape(images.shape[0], self.channels, down, self.height, across, self.width)
        return cut.permute(3, 5, 1, 0, 2, 4).reshape(self.side, images.shape[0] * self.copies)

    def images(self, columns: Tensor, like: Tensor) -> Tensor:
        """Return columns as images, of the shape of `like`."""
        down, across = self.image[0] // self.height, self.image[1] // self.width
        cut = columns.reshape(self.height, self.width, self.channels, like.shape[0], down, across)
        images = cut.permute(3, 2, 4, 0, 5, 1).reshape(like.shape[0], self.channels, *self.image)
        return (images.transpose(2, 3) if self.swapped else images).contiguous()


def _layout(kernel: Tensor | tuple[int, ...], size: tuple[int, int]) -> _Layout:
    """Return the layout that costs least: dense, from row to row, or from column to column."""
    outputs, channels, *taps = kernel.shape if isinstance(kernel, Tensor) else kernel
    if outputs != channels:
        raise ValueError(
            f"an inverse needs as many input as output channels, got a kernel from {channels} to {outputs}"
        )
    height, width = (1 if tap == 1 else length for tap, length in zip(taps, size, strict=True))
    down = max(1, taps[0] // 2, _SMALLEST_BLOCK // (width * channels))
    right = max(1, taps[1] // 2, _SMALLEST_BLOCK // (height * channels))
    layouts = (
        _Layout(False, size, height, width, channels, height),
        _Layout(False, size, height, width, channels, min(down, height)),
        _Layout(True, size[::-1], width, height, channels, min(right, width)),
    )
    costs = [layout.cost for layout in layouts]
    return layouts[costs.index(min(costs))]  # compiled code has no key for a minimum


def _strip(weight: Tensor, layout: _Layout) -> Tensor:
    """Return a row of blocks, [L D U], ``(n, 3 n)``, or D alone if the matrix is one block."""
    weight = weight.transpose(2, 3) if layout.swapped else weight
    m = layout.rows
    across = torch.einsum("oiab,bwv->awovi", weight, _shifts(weight.shape[3], layout.width, weight))
    whole = layout.blocks == 1
    down = _shifts(weight.shape[2], m, weight) if whole else _shifts(weight.shape[2], 3 * m, weight)[:, m : 2 * m]
    return torch.einsum("awovi,ahu->hwouvi", across, down).reshape(layout.block, -1)


def _shifts(taps: int, length: int, like: Tensor) -> Tensor:
    """Return ``(taps, length, length)``: 1 at (tap, i, j) if the tap of a line reads pixel j for pixel i, else 0."""
    pixel = torch.arange(length, device=like.device)
    tap = torch.arange(taps, device=like.device).view(-1, 1, 1)
    return (pixel - pixel[:, None] + (taps - 1) // 2 == tap).to(like.dtype)


class _Step(NamedTuple):
    """An eliminated block."""

    factors: Tensor  # L_ii strictly below the diagonal and U_ii, (n, n)
    ahead: Tensor  # U_{i,i+1} and U_{i,i+2}, if there are such blocks, and the right-hand sides, (n, n' + n'' + N)
    info: Tensor  # nonzero if a pivot is zero

    @property
    def log_det(self) -> Tensor:
        return self.factors.diagonal().abs().log().sum()


def _eliminate(strip: Tensor, layout: _Layout, right: Tensor) -> Iterator[_Step]:
    """Eliminate block by block: P [S T 0; L D U] = [I 0; L' I] [L_ii U_ii, U_{i,i+1}, U_{i,i+2}; 0 S' T']."""
    n = layout.block
    rights = [*right.split(n), right[:0], right[:0]]
    rest = torch.cat([strip[:, n : 2 * n + len(rights[1])], rights[0]], 1)  # [S T] and the right-hand sides
    for block in range(layout.blocks):
        here, after, last = (len(part) for part in rights[block : block + 3])
        if after:
            ours, own = rest.tensor_split((here + after,), 1)
            below = torch.cat([strip[:after, : here + after + last], rights[block + 1]], 1)
            rest = torch.cat([torch.cat([ours, ours.new_zeros(here, last), own], 1), below])
        factors, pivots, info = torch.linalg.lu_factor_ex(rest[:, :here])
        order = torch.lu_unpack(factors.detach(), pivots, unpack_data=False)[0].argmax(0)
        ahead, rest = rest[:, here:].index_select(0, order).tensor_split((here,))
        upper, lower = factors.tensor_split((here,))
        ahead = torch.linalg.solve_triangular(upper, ahead, upper=False, unitriangular=True)
        yield _Step(upper, ahead, info)
        rest = rest - lower @ ahead


def _substitute_backwards(steps: list[_Step], right: Tensor) -> Tensor:
    solved: list[Tensor] = []
    for step in reversed(steps):
        known = torch.cat(solved[:2]) if solved else right[:0]
        coupled, own = step.ahead.tensor_split((len(known),), 1)
        solved.insert(0, torch.linalg.solve_triangular(step.factors, own - coupled @ known, upper=True))
    return torch.cat(solved)
