"""The published GPU algorithm for comparison: one launch and one synchronization for each anti-diagonal of pixels.

Written from the description by Nagar and Varma (Inverse-Flow, AISTATS 2025), not from their code, which is not exact
(see docs/differences.md). A program handles one pixel of a block of images, one image in each lane, and one channel
after the other. Needs Triton. Tested in Triton's interpreter; no GPU has run it yet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_jit: Callable[[Callable[..., None]], Any] = triton.jit


def solve_by_antidiagonals(y: Tensor, kernel: Tensor, *, synchronize: bool = True) -> Tensor:
    """Solve from the top left corner, pixels of an anti-diagonal at once.

    Args:
        y: contiguous image, ``(N, C, H, W)``, float32.
        kernel: contiguous kernel, ``(C, C, kH, kW)``, with a lower triangular last tap of which nothing above the
            diagonal is read.
        synchronize: wait for the device after each launch, as the published code does.

    Returns:
        ``(N, C, H, W)``.
    """
    batch, channels, height, width = y.shape
    x = torch.empty_like(y)
    block = min(1024, 1 << max(0, batch - 1).bit_length())
    for diagonal in range(height + width - 1):
        first = max(0, diagonal - width + 1)
        pixels = min(height, diagonal + 1) - first
        _solve_antidiagonal[pixels, -(-batch // block)](
            y, x, kernel, batch, height, width, diagonal, first, channels, *kernel.shape[2:], BLOCK=block
        )
        if synchronize and y.is_cuda:
            torch.cuda.synchronize(y.device)
    return x


@_jit
def _solve_antidiagonal(
    y: tl.tensor,
    x: tl.tensor,
    kernel: tl.tensor,
    batch: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    diagonal: tl.tensor,
    first: tl.tensor,
    channels: tl.tensor,
    kernel_rows: tl.tensor,
    kernel_columns: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    h = first + tl.program_id(0)
    w = diagonal - h
    image = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    present = image < batch
    place = image.to(tl.int64) * (channels * height * width) + h * width + w
    taps = kernel_rows * kernel_columns
    for channel in range(channels):
        value = tl.load(y + place + channel * height * width, mask=present, other=0.0)
        for channel_in in range(channels):
            for a in range(tl.minimum(kernel_rows, h + 1)):
                for b in range(tl.minimum(kernel_columns, w + 1)):
                    if (a > 0) | (b > 0) | (channel_in < channel):
                        tap = tl.load(
                            kernel + (channel * channels + channel_in + 1) * taps - 1 - a * kernel_columns - b
                        )
                        earlier = place + channel_in * height * width - a * width - b
                        value -= tap * tl.load(x + earlier, mask=present, other=0.0)
        value = tl.div_rn(value, tl.zeros_like(value) + tl.load(kernel + (channel * (channels + 1) + 1) * taps - 1))
        tl.store(x + place + channel * height * width, value, mask=present)
        tl.debug_barrier()
