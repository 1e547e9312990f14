"""What backends made of torch's own operators share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from inverseflow.ops._corner import mirrored_axes, starts_at_bottom, starts_at_right


def unavailable() -> str | None:
    """Torch is always here."""
    return None


def refuses(image: Tensor) -> str | None:
    """Every device and dtype is served."""
    return None


def pad(image: Tensor, kernel: Tensor, corner: str) -> Tensor:
    """Pad with zeros on the sides where the walk starts."""
    rows, columns = kernel.shape[2] - 1, kernel.shape[3] - 1
    left_right = (0, columns) if starts_at_right(corner) else (columns, 0)
    top_bottom = (0, rows) if starts_at_bottom(corner) else (rows, 0)
    return F.pad(image, (*left_right, *top_bottom))


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


def weight_gradient(x: Tensor, grad: Tensor, kernel: Tensor, corner: str, groups: int) -> Tensor:
    """Let torch differentiate its own convolution."""
    with full_precision(x):
        result: Tensor = conv2d_weight(pad(x, kernel, corner), list(kernel.shape), grad, groups=groups)
    return result.flip(mirrored_axes(corner)).contiguous()
