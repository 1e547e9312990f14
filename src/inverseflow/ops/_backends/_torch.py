"""What backends made of torch's own operators share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from inverseflow.ops._corner import mirrored_axes, opposite, starts_at_bottom, starts_at_right


def unavailable() -> str | None:
    """Torch is always here."""
    return None


def refuses(image: Tensor) -> str | None:
    """Every device and dtype is served."""
    return None


def triangular(weight: Tensor, groups: int, diagonal: str, transposed: bool) -> Tensor:
    """Return the kernel of A, or of its transpose at the opposite corner, with zeros and ones where none is read.

    The last tap is lower triangular within each group, and upper triangular in the transpose. Entries are selected, not
    multiplied, so that those that are not read may be anything.
    """
    kernel = weight.clone(memory_format=torch.contiguous_format)
    last = _last_tap(kernel, groups).tril_(_last_diagonal_read(diagonal))
    if diagonal == "unit":
        last.diagonal(dim1=1, dim2=2).fill_(1)
    if not transposed:
        return kernel
    blocks = kernel.view(groups, -1, *kernel.shape[1:])
    return blocks.transpose(1, 2).reshape(kernel.shape)


def drop_unread(gradient: Tensor, groups: int, diagonal: str) -> Tensor:
    """Zero, in place, the entries of a contiguous weight gradient whose weights are not read."""
    _last_tap(gradient, groups).tril_(_last_diagonal_read(diagonal))
    return gradient


def _last_tap(kernel: Tensor, groups: int) -> Tensor:
    return kernel.view(groups, -1, *kernel.shape[1:])[..., -1, -1]  # (G, C / G, C / G)


def _last_diagonal_read(diagonal: str) -> int:
    return 0 if diagonal == "free" else -1


def convolve(x: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str, transposed: bool) -> Tensor:
    """Return A x, or its transpose times x, by torch's convolution."""
    kernel = triangular(weight, groups, diagonal, transposed)
    corner = opposite(corner) if transposed else corner
    with full_precision(x):
        return F.conv2d(pad(x, kernel, corner), mirrored(kernel, corner), groups=groups).contiguous()


def pad(image: Tensor, kernel: Tensor, corner: str) -> Tensor:
    """Pad with zeros on the sides where the walk starts."""
    rows, columns = kernel.shape[2] - 1, kernel.shape[3] - 1
    left_right = (0, columns) if starts_at_right(corner) else (columns, 0)
    top_bottom = (0, rows) if starts_at_bottom(corner) else (rows, 0)
    return F.pad(image, (*left_right, *top_bottom))


def mirrored(kernel: Tensor, corner: str) -> Tensor:
    """Mirror a kernel in top-left orientation to that of the corner, or back."""
    axes = mirrored_axes(corner)
    return kernel.flip(axes) if axes else kernel


@contextmanager
def full_precision(image: Tensor) -> Iterator[None]:
    """Keep cuDNN from rounding float32 to the 11 bits of TF32: the convolution would no longer invert the solve."""
    if not image.is_cuda:
        yield
        return
    cudnn = torch.backends.cudnn
    with cudnn.flags(
        enabled=cudnn.enabled, benchmark=cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False
    ):
        yield


def weight_gradient(x: Tensor, grad: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str) -> Tensor:
    """Let torch differentiate its own convolution."""
    with full_precision(x):
        result: Tensor = conv2d_weight(pad(x, weight, corner), list(weight.shape), grad, groups=groups)
    return drop_unread(mirrored(result, corner).contiguous(), groups, diagonal)
