"""Triton on a GPU: the whole solve in one launch that walks the image, and the weight gradient in another.

Design
    A tile of x is one matrix product of a window (its halo of x, above and to the left, and its own tile of y) with a
    matrix that depends on the kernel alone, as in `blocked`. One program owns a few images of one channel group and
    walks the anti-diagonals of the grid of tiles by itself; a row of its product is one tile of one image, so that
    images and tiles of a diagonal fill the rows that matrix units want. Programs never wait for each other: nothing
    can deadlock, and an image cannot see another. Corners are an origin and signed strides, the transposed solve is
    the opposite corner with an upper triangular tap, so nothing is flipped or copied for either.

Launches
    A solve takes four, whatever the image: the matrix from the kernel, y to channels-last, the walk, x back; and up to
    four before them on the kernel alone, to make it triangular and to transpose it. The weight gradient takes three
    (four in bfloat16): shares of the pixels, their sum in a fixed order, and zeros where none is read. There are no
    atomics, no synchronisation and no host reads of device values. The first call with a new combination of channels,
    taps, tile and dtype compiles, so warm up before capturing a CUDA graph.

Memory traffic
    y is read twice and written once, x written twice and read once from global memory; windows overlap, by a factor
    of about (rows + above)(columns + left) / (rows · columns), and come from the cache. Extra memory is one tensor
    beside the result, and the matrix. The weight gradient reads x and its gradient where they lie; its extra memory
    is one kernel in float32 for each share, at most 512.

Precision
    float32 in, multiplied and accumulated in float32 without TF32. With bfloat16 storage of x and y, products are TF32
    (which holds a bfloat16 exactly; of the matrix it keeps 11 bits) and accumulation is float32. The matrix is always
    computed in float32.

Limits
    The number of steps is that of anti-diagonals of tiles, and one image is never shared by two programs: few large
    images leave most of a GPU idle.

Never run on a GPU: tested in Triton's interpreter, and compiled for real GPUs. Tile and block sizes are estimates.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

# Private names: this was a backend of the package, and is to be one again once a GPU has measured it.
from inverseflow.ops._backends._torch import convolve, drop_unread, triangular
from inverseflow.ops._corner import MIRRORS, opposite

__all__ = ["convolve", "refuses", "solve", "unavailable", "variant", "weight_gradient"]

_PROGRAMS = 512
"""Programs that fill a large GPU: about four for each of its multiprocessors."""
_LARGEST = 2**30
"""Elements of an image, and pixels of a batch, that 32-bit arithmetic reaches with room to spare."""


@dataclass(frozen=True)
class Plan:
    """How a solve is cut into tiles and programs; every choice gives the same result."""

    rows: int
    """Rows of a tile."""
    columns: int
    """Columns of a tile."""
    images: int
    """Images that one program walks."""
    block_tiles: int
    """Rows of a matrix product: tiles, of all images, of a diagonal."""
    block_unknowns: int
    """Columns of a matrix product."""
    block_entries: int
    """Entries of the window that are multiplied at a time."""


def unavailable() -> str | None:
    """Return why this machine cannot use Triton, or None where it can. Does not import Triton."""
    if not torch.cuda.is_available() and not _interpreted():
        return "no CUDA device"
    return None


def refuses(image: Tensor) -> str | None:
    """Return why a call on this image cannot be served, or None where it can."""
    if image.device.type != "cuda" and not _interpreted():
        return f"the image is on {image.device}, not on a CUDA device"
    if image.dtype not in (torch.float32, torch.bfloat16):
        return f"{image.dtype} is not float32 or bfloat16"
    if image.device.type == "cuda" and torch.cuda.get_device_capability(image.device) < (8, 0):
        return "the GPU is older than compute capability 8.0"
    if image[:1].numel() >= _LARGEST or image[:, :1].numel() >= _LARGEST:
        return f"an image of {_LARGEST} elements, or a batch of as many pixels, is too large"
    return None


def variant(image: Tensor, kernel: Tensor, groups: int) -> str:
    """Return the size of the tiles and the number of programs."""
    batch, channels, height, width = image.shape
    plan = choose_plan(batch, channels // groups, groups, height, width)
    return f"tiles of {plan.rows}×{plan.columns}, {_ceil(batch, plan.images) * groups} programs"


def solve(
    y: Tensor,
    weight: Tensor,
    corner: str,
    groups: int,
    diagonal: str,
    transposed: bool,
    plan: Plan | None = None,
) -> Tensor:
    """Solve for x by one walk of the image."""
    if y.numel() == 0:
        return torch.empty_like(y, memory_format=torch.contiguous_format)
    from benchmarks.triton_backend import kernels

    kernel = triangular(weight, groups, diagonal, transposed)
    corner = opposite(corner) if transposed else corner
    batch, channels, height, width = y.shape
    per_group = channels // groups
    above, left = min(kernel.shape[2], height) - 1, min(kernel.shape[3], width) - 1
    plan = plan or choose_plan(batch, per_group, groups, height, width)
    unknowns = plan.rows * plan.columns * per_group
    entries = (plan.rows + above) * (plan.columns + left) * per_group
    shape = {"C": per_group, "ROWS": plan.rows, "COLUMNS": plan.columns, "ABOVE": above, "LEFT": left}

    matrix = torch.empty(groups, entries, unknowns, dtype=torch.float32, device=y.device)
    block = 32 if unknowns <= 64 else 16
    held = torch.empty(batch, height, width, channels, dtype=y.dtype, device=y.device)
    held.copy_(y.permute(0, 2, 3, 1))
    x = torch.empty_like(held)
    bottom, right = MIRRORS[corner]
    row, column = width * channels, channels
    with _on(y):
        kernels.window_matrix[_ceil(entries, block), groups](
            kernel,
            matrix,
            *kernel.stride(),
            kernel.shape[2] - 1,
            kernel.shape[3] - 1,
            **shape,
            UPPER=transposed,
            BLOCK_U=_power_of_two(unknowns),
            BLOCK_K=block,
            num_warps=4 if unknowns <= 256 else 8,
        )
        kernels.solve_tiles[_ceil(batch, plan.images), groups](
            held,
            x,
            matrix,
            batch,
            height,
            width,
            _ceil(height, plan.rows),
            _ceil(width, plan.columns),
            height * width * channels,
            (height - 1) * row * bottom + (width - 1) * column * right,
            -row if bottom else row,
            -column if right else column,
            **shape,
            IMAGES=plan.images,
            BLOCK_M=plan.block_tiles,
            BLOCK_U=plan.block_unknowns,
            BLOCK_K=plan.block_entries,
            PRECISION=_precision(y),
        )
    # The walk is over and y is not needed any more: its copy becomes the result.
    return held.view(batch, channels, height, width).copy_(x.permute(0, 3, 1, 2))


def weight_gradient(x: Tensor, grad: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str) -> Tensor:
    """Return the gradient of <grad, A x> with respect to the weight, of which only the shape is read."""
    batch, _, height, width = x.shape
    if x.numel() == 0:
        return torch.zeros(weight.shape, dtype=x.dtype, device=x.device)
    from benchmarks.triton_backend import kernels

    x, grad = x.contiguous(), grad.contiguous()
    per_group, rows, columns = weight.shape[1:]
    taps = per_group * rows * columns
    block_out, block_taps, block_pixels = min(64, _power_of_two(per_group)), min(64, _power_of_two(taps)), 32
    blocks = _ceil(per_group, block_out) * _ceil(taps, block_taps)
    pixels = batch * height * width
    shares = max(1, min(_PROGRAMS // (blocks * groups), _ceil(pixels, 16 * block_pixels)))
    per_program = _ceil(_ceil(pixels, shares), block_pixels) * block_pixels
    shares = _ceil(pixels, per_program)

    partial = torch.empty(shares, *weight.shape, dtype=torch.float32, device=x.device)
    with _on(x):
        kernels.correlate[shares, blocks, groups](
            x,
            grad,
            partial,
            pixels,
            per_program,
            height,
            width,
            x.stride(0),
            height * width,
            partial[0].numel(),
            *(1 if mirrored else -1 for mirrored in MIRRORS[corner]),
            C=per_group,
            KERNEL_ROWS=rows,
            KERNEL_COLUMNS=columns,
            BLOCK_O=block_out,
            BLOCK_J=block_taps,
            BLOCK_P=block_pixels,
            PRECISION=_precision(x),
        )
    return drop_unread(partial.sum(0).to(x.dtype), groups, diagonal)


def choose_plan(batch: int, channels: int, groups: int, height: int, width: int) -> Plan:
    """Choose the largest tile up to 4×4 with at most 64 unknowns, and images enough to fill a product's 16 rows.

    A larger tile halves the number of steps for more arithmetic in each; images beyond what fills the GPU share a
    program.
    """
    rows, columns = 4, 4
    while rows * columns * channels > 64 and rows * columns > 1:
        rows, columns = (rows // 2, columns) if rows == columns else (rows, columns // 2)
    rows, columns = min(rows, 1 << (height.bit_length() - 1)), min(columns, 1 << (width.bit_length() - 1))
    images = min(16, 1 << max(0, (batch * groups // _PROGRAMS).bit_length() - 1))
    longest = min(_ceil(height, rows), _ceil(width, columns))
    return Plan(
        rows,
        columns,
        images,
        block_tiles=min(64, _power_of_two(images * longest)),
        block_unknowns=min(64, _power_of_two(rows * columns * channels)),
        block_entries=32,
    )


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"


def _on(tensor: Tensor) -> AbstractContextManager[object]:
    """Launch on the tensor's GPU: Triton takes the current one."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


def _precision(storage: Tensor) -> str:
    """Multiply float32 as it is; TF32 holds every bfloat16 exactly, so there tensor cores lose nothing of an image."""
    return "ieee" if storage.dtype == torch.float32 else "tf32"


def _ceil(size: int, block: int) -> int:
    return -(-size // block)


def _power_of_two(size: int) -> int:
    """Round up to a power of two that a matrix product takes."""
    return max(16, 1 << (size - 1).bit_length())
