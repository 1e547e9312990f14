"""C++ on a CPU; the lanes of its vectors are images, rows of an image, or channels (``csrc/``)."""

from __future__ import annotations

import os
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from inverseflow.ops._backends import _torch
from inverseflow.ops._corner import opposite, starts_at_bottom, starts_at_right

_SWITCH = "INVERSEFLOW_NATIVE"
_WORTH_A_SECOND_THREAD = 4e6  # floating-point operations
_FEWEST_IMAGES = 8  # for a convolution of our own
_MOST_CHANNELS = 64  # of a group, likewise

_native: ModuleType | None = None
_reason: str | None = None
if os.environ.get(_SWITCH) == "0":
    _reason = f"switched off by {_SWITCH}=0"
else:
    try:
        _native = import_module("inverseflow.ops._backends._native")
    except ImportError as error:
        _reason = (
            f"the extension could not be loaded; to build it, install again where a C++17 GCC or Clang is ({error})"
        )

instruction_set = ""
"""Which kernels to use, one of `instruction_sets`; empty for the best."""

walk = (0, 0, 0)
"""Which walk to take (its number in ``csrc/problem.hpp``), its lanes and pixels; zeros for the best."""


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


def variant(image: Tensor, weight: Tensor, groups: int) -> str:
    """Return which instruction set will be used and what its lanes will be."""
    text: str = _extension().variant(
        image.shape, weight.shape, groups, image.dtype == torch.float64, _threads(image, weight), instruction_set
    )
    return text


def solve(y: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str, transposed: bool) -> Tensor:
    """Solve by substitution; the corner is a matter of strides."""
    return _apply(False, y, weight, corner, groups, diagonal, transposed)


def convolve(x: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str, transposed: bool) -> Tensor:
    """Convolve as the solve walks, where there are images and few channels; by torch else."""
    if x.shape[0] < _FEWEST_IMAGES or weight.shape[1] > _MOST_CHANNELS:
        return _torch.convolve(x, weight, corner, groups, diagonal, transposed)
    return _apply(True, x, weight, corner, groups, diagonal, transposed)


def _apply(
    convolves: bool, source: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str, transposed: bool
) -> Tensor:
    target = torch.empty_like(source, memory_format=torch.contiguous_format)
    weight = weight.contiguous()
    corner = opposite(corner) if transposed else corner
    _extension().apply(
        convolves,
        _address(source, source),
        source.stride(),
        target.data_ptr(),
        target.stride(),
        _address(weight, source),
        source.shape,
        weight.shape,
        groups,
        starts_at_bottom(corner),
        starts_at_right(corner),
        diagonal,
        transposed,
        source.dtype == torch.float64,
        _threads(source, weight),
        instruction_set,
        (0, 0, 0) if convolves else walk,
    )
    return target


def weight_gradient(x: Tensor, grad: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str) -> Tensor:
    """Correlate x with the gradient of the convolution's output."""
    if grad.shape != x.shape:
        raise ValueError(f"image and gradient have shapes {tuple(x.shape)} and {tuple(grad.shape)}")
    result = torch.empty_like(weight, memory_format=torch.contiguous_format)
    _extension().correlate(
        _address(x, x),
        x.stride(),
        _address(grad, x),
        grad.stride(),
        result.data_ptr(),
        x.shape,
        weight.shape,
        groups,
        starts_at_bottom(corner),
        starts_at_right(corner),
        diagonal,
        x.dtype == torch.float64,
        _threads(x, weight),
        instruction_set,
    )
    return result


def _address(tensor: Tensor, image: Tensor) -> int:
    address = tensor.data_ptr()
    if not address:
        raise RuntimeError("a tensor of the call has no memory: its storage was freed")
    if tensor.dtype != image.dtype:
        raise TypeError(f"the image is {image.dtype} and another tensor of the call {tensor.dtype}")
    return address


def _extension() -> Any:
    assert _native is not None, _reason
    return _native


def _threads(image: Tensor, weight: Tensor) -> int:
    work = 2 * image.numel() * weight[0].numel()
    return torch.get_num_threads() if work > _WORTH_A_SECOND_THREAD else 1
