"""Oracle: the convolution as one dense matrix, solved in float64.

Costs O((C H W)^2) memory, so it is for small problems and for tests of the other backends.
"""

import torch
from torch import Tensor

from inverseflow.ops._backends._torch import convolve, refuses, remedied, triangular, unavailable, weight_gradient
from inverseflow.ops._corner import mirrored_axes

__all__ = ["convolve", "refuses", "solve", "unavailable", "variant", "weight_gradient"]


def solve(y: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str, transposed: bool) -> Tensor:
    """Solve by one dense triangular system for each group."""
    mirror = mirrored_axes(corner)
    parts = y.to(torch.float64).flip(mirror).chunk(groups, dim=1)
    kernels = triangular(weight.to(torch.float64), groups, diagonal, transposed=False).chunk(groups)
    solved = []
    for part, kernel in zip(parts, kernels, strict=True):
        right = part.permute(2, 3, 1, 0)  # (H, W, C, N)
        left = top_left_matrix(kernel, *right.shape[:2])
        left = left.T if transposed else left
        flat = torch.linalg.solve_triangular(left, right.reshape(left.shape[0], -1), upper=transposed)
        solved.append(flat.reshape(right.shape).permute(3, 2, 0, 1))
    x = torch.cat(solved, dim=1).flip(mirror).to(y.dtype).contiguous()
    return remedied(x, y, weight, corner, groups, diagonal, transposed)


def top_left_matrix(kernel: Tensor, height: int, width: int) -> Tensor:
    """Return the (HWC, HWC) matrix of the top-left convolution: pixels in raster order, channels innermost."""
    channels, _, rows, columns = kernel.shape
    dense = kernel.new_zeros(height * width * channels, height * width * channels)
    for a in range(min(rows, height)):
        for b in range(min(columns, width)):
            tap = kernel[:, :, rows - 1 - a, columns - 1 - b].contiguous()
            down, along = kernel.new_ones(height - a).diag(-a), kernel.new_ones(width - b).diag(-b)
            dense += torch.kron(torch.kron(down, along), tap)
    return dense


def variant(image: Tensor, kernel: Tensor, groups: int) -> str:
    """Return the size of the matrix."""
    return f"a matrix of {image[0].numel() // groups} rows for each of {groups} group(s)"
