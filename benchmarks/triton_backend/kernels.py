"""The kernels, in walk coordinates: row 0 and column 0 are at the corner where the walk starts.

A corner is only an origin and two signed strides; an upper triangular last tap is only the order in which channels
are substituted. `u` counts the unknowns of a tile and `k` the entries of its window, pixels in raster order and
channels innermost. Names in capitals are compile-time constants.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import triton
import triton.language as tl

_jit: Callable[[Callable[..., None]], Any] = triton.jit


@_jit
def window_matrix(
    kernel: tl.tensor,
    matrix: tl.tensor,
    stride_out: tl.tensor,
    stride_in: tl.tensor,
    stride_row: tl.tensor,
    stride_column: tl.tensor,
    last_row: tl.tensor,
    last_column: tl.tensor,
    C: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    ABOVE: tl.constexpr,
    LEFT: tl.constexpr,
    UPPER: tl.constexpr,
    BLOCK_U: tl.constexpr,
    BLOCK_K: tl.constexpr,
) -> None:
    """Write the matrix (groups, K, U) whose transpose maps a window (halo of x, tile of y) to the tile of x.

    Each program owns some entries of the window and follows what one unit there does to the whole tile: a column of
    the right-hand side for each, and forward substitution through the unknowns in the order of the walk.
    """
    WINDOW_COLUMNS: tl.constexpr = COLUMNS + LEFT
    K: tl.constexpr = (ROWS + ABOVE) * WINDOW_COLUMNS * C
    U: tl.constexpr = ROWS * COLUMNS * C
    group = tl.program_id(1).to(tl.int64)
    taps = kernel + group * C * stride_out

    k = tl.program_id(0) * BLOCK_K + tl.arange(0, BLOCK_K)[None, :]
    window_row = k // C // WINDOW_COLUMNS
    window_column = k // C % WINDOW_COLUMNS
    channel_in = k % C
    of_y = (window_row >= ABOVE) & (window_column >= LEFT)

    u = tl.arange(0, BLOCK_U)[:, None]
    row = u // C // COLUMNS
    column = u // C % COLUMNS
    channel = u % C

    a = row + ABOVE - window_row  # rows and columns from the unknown back to the entry, (U, K)
    b = column + LEFT - window_column
    reached = (a >= 0) & (a <= ABOVE) & (b >= 0) & (b <= LEFT) & (u < U) & (k < K)
    halo = tl.load(
        taps
        + channel * stride_out
        + channel_in * stride_in
        + (last_row - a) * stride_row
        + (last_column - b) * stride_column,
        mask=reached & (of_y == 0),
        other=0.0,
    ).to(tl.float32)
    itself = of_y & (a == 0) & (b == 0) & (channel == channel_in)
    value = tl.where(itself, 1.0, -halo)

    for step in range(U):
        from_pixel = step // C
        from_channel = step % C
        if UPPER:
            from_channel = C - 1 - from_channel
        solved_row = from_pixel // COLUMNS
        solved_column = from_pixel % COLUMNS
        diagonal = tl.load(
            taps + from_channel * (stride_out + stride_in) + last_row * stride_row + last_column * stride_column
        ).to(tl.float32)
        is_solved = u == from_pixel * C + from_channel
        solved = tl.sum(tl.where(is_solved, value, 0.0), axis=0)[None, :]
        solved = tl.div_rn(solved, tl.zeros_like(solved) + diagonal)

        down = row - solved_row
        along = column - solved_column
        later = channel < from_channel if UPPER else channel > from_channel
        reads = (down >= 0) & (down <= ABOVE) & (along >= 0) & (along <= LEFT) & (u < U)
        reads = reads & ((down > 0) | (along > 0) | later)
        tap = tl.load(
            taps
            + channel * stride_out
            + from_channel * stride_in
            + (last_row - down) * stride_row
            + (last_column - along) * stride_column,
            mask=reads,
            other=0.0,
        ).to(tl.float32)
        # Selection, not a product with zero: an infinite unknown must not reach those that do not read it.
        value = tl.where(is_solved, solved, tl.where(reads, value - tap * solved, value))

    tl.store(matrix + group * K * U + k * U + u, value, mask=(u < U) & (k < K))


@_jit
def solve_tiles(
    y: tl.tensor,
    x: tl.tensor,
    matrix: tl.tensor,
    batch: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    grid_rows: tl.tensor,
    grid_columns: tl.tensor,
    image_stride: tl.tensor,
    origin: tl.tensor,
    row_stride: tl.tensor,
    column_stride: tl.tensor,
    C: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    ABOVE: tl.constexpr,
    LEFT: tl.constexpr,
    IMAGES: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_U: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Solve IMAGES images of one group, channels last: all tiles of an anti-diagonal at once, diagonal by diagonal.

    A row of the product is one tile of one image. What a tile reads of x was written by this program, on earlier
    diagonals: the barrier after each is all that orders them.
    """
    WINDOW_COLUMNS: tl.constexpr = COLUMNS + LEFT
    K: tl.constexpr = (ROWS + ABOVE) * WINDOW_COLUMNS * C
    U: tl.constexpr = ROWS * COLUMNS * C
    group = tl.program_id(1)
    gain = matrix + group.to(tl.int64) * K * U
    first_image = tl.program_id(0) * IMAGES
    start = origin + group * C

    for diagonal in range(grid_rows + grid_columns - 1):
        first_row = tl.maximum(diagonal - grid_columns + 1, 0)
        tiles = tl.minimum(diagonal + 1, grid_rows) - first_row
        for first in range(0, tiles * IMAGES, BLOCK_M):
            m = first + tl.arange(0, BLOCK_M)[:, None]
            tile_row = first_row + m // IMAGES
            tile_column = diagonal - tile_row
            image = first_image + m % IMAGES
            present = (m < tiles * IMAGES) & (image < batch)
            top = tile_row * ROWS
            left = tile_column * COLUMNS
            place = image.to(tl.int64) * image_stride + start
            for first_unknown in range(0, U, BLOCK_U):
                u = first_unknown + tl.arange(0, BLOCK_U)[None, :]
                total = tl.zeros((BLOCK_M, BLOCK_U), dtype=tl.float32)
                for first_entry in range(0, K, BLOCK_K):
                    k = first_entry + tl.arange(0, BLOCK_K)
                    window_row = (k // C // WINDOW_COLUMNS)[None, :]
                    window_column = (k // C % WINDOW_COLUMNS)[None, :]
                    h = top + window_row - ABOVE
                    w = left + window_column - LEFT
                    inside = present & (h >= 0) & (h < height) & (w >= 0) & (w < width) & (k < K)[None, :]
                    of_y = (window_row >= ABOVE) & (window_column >= LEFT)
                    entry = place + h * row_stride + w * column_stride + (k % C)[None, :]
                    window = tl.load(tl.where(of_y, y + entry, x + entry), mask=inside, other=0.0).to(tl.float32)
                    k = k[:, None]
                    block = tl.load(gain + k * U + u, mask=(k < K) & (u < U), other=0.0)
                    total = tl.dot(window, block, total, input_precision=PRECISION)
                h = top + u // C // COLUMNS
                w = left + u // C % COLUMNS
                inside = present & (h < height) & (w < width) & (u < U)
                entry = place + h * row_stride + w * column_stride + u % C
                tl.store(x + entry, total.to(x.dtype.element_ty), mask=inside)
        tl.debug_barrier()


@_jit
def correlate(
    x: tl.tensor,
    grad: tl.tensor,
    partial: tl.tensor,
    pixels: tl.tensor,
    per_program: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    image_stride: tl.tensor,
    channel_stride: tl.tensor,
    kernel_size: tl.tensor,
    down: tl.tensor,
    along: tl.tensor,
    C: tl.constexpr,
    KERNEL_ROWS: tl.constexpr,
    KERNEL_COLUMNS: tl.constexpr,
    BLOCK_O: tl.constexpr,
    BLOCK_J: tl.constexpr,
    BLOCK_P: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Write the gradient of the kernel over one share of the pixels, (shares, C, C / groups, kH, kW).

    A matrix product of grad (channels × pixels) with x shifted by every tap (pixels × taps `j`), which is gathered as
    it is read. `down` and `along` are +1 or −1: which way the tap one row above, or one column left, lies in memory.
    """
    TAPS: tl.constexpr = C * KERNEL_ROWS * KERNEL_COLUMNS
    BLOCKS_O: tl.constexpr = (C + BLOCK_O - 1) // BLOCK_O
    share = tl.program_id(0)
    group = tl.program_id(2)
    o = tl.program_id(1) % BLOCKS_O * BLOCK_O + tl.arange(0, BLOCK_O)[:, None]
    j = tl.program_id(1) // BLOCKS_O * BLOCK_J + tl.arange(0, BLOCK_J)[None, :]
    channel = j // (KERNEL_ROWS * KERNEL_COLUMNS)
    a = KERNEL_ROWS - 1 - j // KERNEL_COLUMNS % KERNEL_ROWS
    b = KERNEL_COLUMNS - 1 - j % KERNEL_COLUMNS

    total = tl.zeros((BLOCK_O, BLOCK_J), dtype=tl.float32)
    until = tl.minimum((share + 1) * per_program, pixels)
    for first in range(share * per_program, until, BLOCK_P):
        pixel = first + tl.arange(0, BLOCK_P)
        image = (pixel // (height * width)).to(tl.int64) * image_stride
        h = pixel // width % height
        w = pixel % width
        counted = pixel < until
        arriving = tl.load(
            grad + (image + h * width + w)[None, :] + (group * C + o) * channel_stride,
            mask=counted[None, :] & (o < C),
            other=0.0,
        ).to(tl.float32)
        h = h[:, None] + down * a
        w = w[:, None] + along * b
        inside = counted[:, None] & (h >= 0) & (h < height) & (w >= 0) & (w < width) & (j < TAPS)
        shifted = tl.load(
            x + image[:, None] + (group * C + channel) * channel_stride + h * width + w, mask=inside, other=0.0
        ).to(tl.float32)
        total = tl.dot(arriving, shifted, total, input_precision=PRECISION)
    place = share.to(tl.int64) * kernel_size + (group * C + o) * TAPS + j
    tl.store(partial + place, total, mask=(o < C) & (j < TAPS))
