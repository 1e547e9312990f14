"""Pure PyTorch: the image in tiles, each solved by one matrix product, tiles of an anti-diagonal at once.

A tile of x depends on the tile of y and on the halo of x above and to the left of it. Both together are a window of
one buffer that holds x where the walk has been and y where it has not, so that a tile is ``G @ window`` with a
matrix G that depends on the kernel alone.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import NamedTuple

import torch
from torch import Tensor

from inverseflow.ops._backends._torch import convolve, refuses, remedied, triangular, unavailable, weight_gradient
from inverseflow.ops._corner import MIRRORS, opposite


class Tile(NamedTuple):
    """Rows and columns of one tile."""

    rows: int
    columns: int


__all__ = ["convolve", "refuses", "solve", "unavailable", "variant", "weight_gradient"]


def solve(
    y: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str, transposed: bool, tile: Tile | None = None
) -> Tensor:
    """Solve tile by tile along the anti-diagonals of the grid of tiles."""
    batch, channels, height, width = y.shape
    per_group = channels // groups
    above, left = min(weight.shape[2], height) - 1, min(weight.shape[3], width) - 1
    tile = tile or choose_tile(per_group, height, width)
    grid_rows, grid_columns = -(-height // tile.rows), -(-width // tile.columns)
    bottom, right = MIRRORS[opposite(corner) if transposed else corner]

    def matrix_of(weight: Tensor) -> Tensor:
        kernel = triangular(weight, groups, diagonal, transposed)
        kernel = kernel[:, :, kernel.shape[2] - 1 - above :, kernel.shape[3] - 1 - left :]
        return window_matrix(kernel, tile, groups, transposed, bottom, right)

    key = (above, left, tile, groups, diagonal, transposed, bottom, right)
    step = _matrices.get(weight, key, matrix_of)  # (G, r w C, (r + above)(w + left) C)
    padded_rows, padded_columns = grid_rows * tile.rows, grid_columns * tile.columns
    top = padded_rows - height if bottom else above
    first_column = padded_columns - width if right else left
    buffer = y.new_zeros(groups, padded_rows + above, padded_columns + left, per_group, batch)
    image = buffer[:, top : top + height, first_column : first_column + width]  # (G, H, W, C, N)
    image.copy_(y.unflatten(1, (groups, per_group)).permute(1, 3, 4, 2, 0))

    stride = buffer.stride()
    inner = (0 if bottom else above) * stride[1] + (0 if right else left) * stride[2]
    row_step, column_step = tile.rows * stride[1], tile.columns * stride[2]
    along = row_step + column_step if bottom ^ right else abs(row_step - column_step)
    for antidiagonal in range(grid_rows + grid_columns - 1):
        first = max(0, antidiagonal - grid_columns + 1)
        tiles = min(grid_rows, antidiagonal + 1) - first
        offsets = [
            (grid_rows - 1 - i if bottom else i) * row_step + (grid_columns - 1 - j if right else j) * column_step
            for i, j in ((first, antidiagonal - first), (first + tiles - 1, antidiagonal - first - tiles + 1))
        ]
        strides = (stride[0], along, *stride[1:])
        origin = min(offsets)
        size = (groups, tiles, tile.rows + above, tile.columns + left, per_group, batch)
        window = buffer.as_strided(size, strides, origin)
        target = buffer.as_strided((groups, tiles, *tile, per_group, batch), strides, origin + inner)
        solved = torch.matmul(step.unsqueeze(1), window.reshape(groups, tiles, -1, batch))
        target.copy_(solved.view(target.shape))
    x = image.permute(4, 0, 3, 1, 2).reshape(y.shape).contiguous()
    return remedied(x, y, weight, corner, groups, diagonal, transposed)


def choose_tile(channels: int, height: int, width: int) -> Tile:
    """Choose tiles of at most 4×4 pixels and about 256 unknowns, as even as the image allows.

    Larger tiles, whole rows among them, were slower on a CPU: the dense matrix costs more than the steps that it saves.
    """
    rows, columns = 4, 4
    while rows * columns * channels > 256 and rows * columns > 1:
        rows, columns = (rows // 2, columns) if rows == columns else (rows, columns // 2)
    return Tile(*(-(-size // -(-size // most)) for size, most in ((height, rows), (width, columns))))


def window_matrix(kernel: Tensor, tile: Tile, groups: int, upper: bool, bottom: bool, right: bool) -> Tensor:
    """Return the matrix that maps a window (halo of x, tile of y) to the tile of x, for each group.

    The last tap of the kernel is upper triangular or, in the order of channels, lower.
    """
    per_group = kernel.shape[1]
    above, left = kernel.shape[2] - 1, kernel.shape[3] - 1
    taps = kernel.unflatten(0, (groups, per_group))
    eye = torch.eye(per_group, dtype=kernel.dtype, device=kernel.device).expand(groups, -1, -1)
    last_inverse = torch.linalg.solve_triangular(taps[..., -1, -1], eye, upper=upper)  # (G, C, C)
    taps = torch.einsum("gpo,goiab->gpiab", last_inverse, taps)
    taps[..., -1, -1] = eye

    # Row h of the Toeplitz matrix holds the taps shifted by h: repeat them with a period one longer than the window.
    rows, columns = tile.rows + above, tile.columns + left
    spread = taps.new_zeros(groups, per_group, per_group, rows + 1, columns + 1)
    spread[..., : above + 1, : left + 1] = taps
    spread = spread.repeat(1, 1, 1, tile.rows, 1).narrow(3, 0, tile.rows * rows).unflatten(3, (tile.rows, rows))
    spread = spread.repeat(1, 1, 1, 1, 1, tile.columns).narrow(5, 0, tile.columns * columns)
    spread = spread.unflatten(5, (tile.columns, columns))  # (G, o, i, h, p, w, q)
    toeplitz = spread.permute(0, 3, 5, 1, 4, 6, 2)  # (G, h, w, o, p, q, i)

    unknowns = tile.rows * tile.columns * per_group
    inside = toeplitz[..., above:, left:, :].reshape(groups, unknowns, unknowns)
    pixels = torch.eye(tile.rows * tile.columns, dtype=kernel.dtype, device=kernel.device)
    of_y = torch.einsum("st,goi->gsoti", pixels, last_inverse)
    given = toeplitz.neg()
    given[..., above:, left:, :] = of_y.reshape(groups, *tile, per_group, *tile, per_group)
    right_hand = given.reshape(groups, unknowns, -1)
    matrix: Tensor = torch.linalg.solve_triangular(inside, right_hand, upper=False, unitriangular=True)
    if bottom or right:
        axes = [axis for axis, mirrored in ((1, bottom), (2, right), (4, bottom), (5, right)) if mirrored]
        matrix = matrix.view(given.shape).flip(axes).reshape(matrix.shape)
    return matrix


def variant(image: Tensor, kernel: Tensor, groups: int) -> str:
    """Return the size of the tiles."""
    tile = choose_tile(image.shape[1] // groups, image.shape[2], image.shape[3])
    return f"tiles of {tile.rows}×{tile.columns}"


class KernelCache:
    """Results that depend on a kernel alone, reused while the kernel has the same values; of at most `most` bytes.

    Every call compares all elements, so in-place updates are always seen. Comparing is much cheaper than computing.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: OrderedDict[Hashable, tuple[Tensor, Tensor]] = OrderedDict()
        self._lock = Lock()  # only ever tried, so that a forked child cannot wait for ever

    def get(self, weight: Tensor, key: Hashable, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """Return ``compute(weight)``, from the cache if it is there. The result must not be written to.

        The key is everything else that the result depends on. Nothing is cached for a kernel on a GPU, where comparing
        would wait for it, or while its gradient is recorded.
        """
        if weight.device.type != "cpu" or (torch.is_grad_enabled() and weight.requires_grad):
            return compute(weight)
        key = (weight.data_ptr(), weight.shape, weight.stride(), weight.dtype, key)
        if self._lock.acquire(blocking=False):
            try:
                entry = self._entries.get(key)
                if entry is not None and torch.equal(entry[0], weight):
                    self._entries.move_to_end(key)
                    return entry[1]
            finally:
                self._lock.release()
        copy = weight.detach().clone()
        result = compute(copy)  # of the copy: another thread may change the original
        if copy.nbytes + result.nbytes <= self._most and self._lock.acquire(blocking=False):
            try:
                self._entries[key] = copy, result
                self._entries.move_to_end(key)
                while sum(tensor.nbytes for entry in self._entries.values() for tensor in entry) > self._most:
                    self._entries.popitem(last=False)
            finally:
                self._lock.release()
        return result


_matrices = KernelCache(32 << 20)
