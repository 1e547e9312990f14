"""C++ on a CPU: one vector lane for each image, or for each row of a large one (``csrc/``)."""

from __future__ import annotations

import os
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from inverseflow.ops._backends._torch import drop_unread, triangular
from inverseflow.ops._corner import opposite, starts_at_bottom, starts_at_right

_SWITCH = "INVERSEFLOW_NATIVE"
_WORTH_A_SECOND_THREAD = 4e6  # floating-point operations

_native: ModuleType | None = None
_reason: str | None = None
if os.environ.get(_SWITCH) == "0":
    _reason = f"switched off by {_SWITCH}=0"
else:
    try:
        _native = import_module("inverseflow.ops._backends._native")
    except ImportError as error:
        _reason = f"the extension was not built when this was installed: that needs a C++17 GCC or Clang ({error})"

instruction_set = ""
"""Which kernels to use, one of `instruction_sets`; empty for the best."""


def unavailable() -> str | None:
    """Say why this backend cannot be used here, or return None."""
    return _reason


def refuses(image: Tensor) -> str | None:
    """Say why this backend cannot serve a call, or return None."""
    if image.device.type != "cpu":
        return f"it runs on a CPU, and the image is on {image.device}"
    if image.dtype not in (torch.float32, torch.float64):
        return f"it computes in float32 and float64, and the image is {image.dtype}"
    return None


def instruction_sets() -> list[str]:
    """Return the instruction sets that this processor has kernels for, best first."""
    names: list[str] = _extension().instruction_sets()
    return names


def variant(image: Tensor, kernel: Tensor, groups: int) -> str:
    """Return which instruction set will be used and what its lanes will be."""
    text: str = _extension().variant(
        _sizes(image, kernel, groups), image.dtype == torch.float64, _threads(image, kernel), instruction_set
    )
    return text


def solve(y: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str, transposed: bool) -> Tensor:
    """Solve by substitution; the corner is a matter of strides."""
    x = torch.empty_like(y, memory_format=torch.contiguous_format)
    kernel = triangular(weight, groups, diagonal, transposed).contiguous()
    corner = opposite(corner) if transposed else corner
    _extension().solve(
        *_walk(y, corner),
        *_walk(x, corner),
        kernel.data_ptr(),
        _sizes(y, kernel, groups),
        transposed,
        y.dtype == torch.float64,
        _threads(y, kernel),
        instruction_set,
    )
    return x


def weight_gradient(x: Tensor, grad: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str) -> Tensor:
    """Correlate x with the gradient of the convolution's output."""
    result = torch.empty_like(weight, memory_format=torch.contiguous_format)
    _extension().correlate(
        *_walk(x, corner),
        *_walk(grad, corner),
        result.data_ptr(),
        _sizes(x, weight, groups),
        x.dtype == torch.float64,
        _threads(x, weight),
        instruction_set,
    )
    return drop_unread(result, groups, diagonal)


def _extension() -> Any:
    assert _native is not None, _reason
    return _native


def _walk(image: Tensor, corner: str) -> tuple[int, tuple[int, ...]]:
    """Return the address of the first pixel of the walk, and the strides that lead on from it."""
    strides = list(image.stride())
    offset = 0
    for axis, mirrored in ((2, starts_at_bottom(corner)), (3, starts_at_right(corner))):
        if mirrored:
            offset += (image.shape[axis] - 1) * strides[axis]
            strides[axis] = -strides[axis]
    return image.data_ptr() + offset * image.element_size(), tuple(strides)


def _sizes(image: Tensor, kernel: Tensor, groups: int) -> tuple[int, ...]:
    images, channels, rows, columns = image.shape
    return images, groups, channels // groups, rows, columns, kernel.shape[2], kernel.shape[3]


def _threads(image: Tensor, kernel: Tensor) -> int:
    work = 2 * image.numel() * kernel[0].numel()
    return torch.get_num_threads() if work > _WORTH_A_SECOND_THREAD else 1
