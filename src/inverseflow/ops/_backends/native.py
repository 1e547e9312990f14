"""C++ on a CPU; the lanes of its vectors are images, rows of an image, channels or columns (``csrc/``)."""

import os
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor

from inverseflow.ops._backends._torch import triangular
from inverseflow.ops._corner import MIRRORS, opposite

_WORTH_A_SECOND_THREAD = 4e6  # floating-point operations of a call


class Variant(NamedTuple):
    """Which of the kernels to use. All give the same result; each default is the best choice."""

    instruction_set: str = ""  # one that the extension's `instruction_sets` lists
    walk: int = 0  # of a solve, by its number in csrc/problem.hpp, with these lanes and pixels at a time
    lanes: int = 0
    pixels: int = 0
    threads: int | None = None


_BEST = Variant()
_native: Any = None
_reason: str | None = None
if os.environ.get("INVERSEFLOW_NATIVE") == "0":
    _reason = "switched off by INVERSEFLOW_NATIVE=0"
else:
    try:
        _native = import_module("inverseflow.ops._backends._native")
        if not _native.instruction_sets():
            _native, _reason = None, "the extension has no kernels for a processor without AVX2"
    except ImportError as error:
        _reason = f"the extension can't be loaded; to build it, install again where a C++17 GCC or Clang is ({error})"


def unavailable() -> str | None:
    """Return why this backend cannot be used here, or None."""
    return _reason


def refuses(image: Tensor) -> str | None:
    """Return why this backend cannot serve a call, or None."""
    if image.device.type != "cpu":
        return f"it runs on a CPU, and the image is on {image.device}"
    if image.dtype not in (torch.float32, torch.float64):
        return f"it computes in float32 and float64, and the image is {image.dtype}"
    return None


def variant(image: Tensor, weight: Tensor, groups: int) -> str:
    """Return which instruction set will be used and what its lanes will be."""
    if image.ndim == 4:
        text: str = _native.variant(image.shape, weight.shape, groups, *_settings(_BEST, image, weight))
        return text
    behind, channels = min(weight.shape[2], image.shape[2]) - 1, weight.shape[1]
    window = image.new_empty((len(image), (behind + 1) * channels, *image.shape[3:]), device="meta")
    kernel = weight.new_empty((window.shape[1], window.shape[1], *weight.shape[3:]), device="meta")
    settings = _settings(_BEST, window, kernel)
    text = _native.variant(window.shape, kernel.shape, 1, *settings, behind * channels)
    return f"{text}, slice after slice"


def _apply(
    convolves: bool,
    y: Tensor,
    weight: Tensor,
    corner: str,
    groups: int,
    diagonal: str,
    transposed: bool,
    variant: Variant = _BEST,
) -> Tensor:
    target = torch.empty_like(y, memory_format=torch.contiguous_format)
    _write(convolves, y, target, weight.contiguous(), corner, groups, diagonal, transposed, 0, variant)
    return target


solve, convolve = partial(_apply, False), partial(_apply, True)


def _write(
    convolves: bool,
    source: Tensor,
    target: Tensor,
    weight: Tensor,
    corner: str,
    groups: int,
    diagonal: str,
    transposed: bool,
    known: int,
    variant: Variant,
) -> None:
    """Write the result into a tensor, which may be the source of a solve. Its first channels may be solved already."""
    _native.apply(
        convolves,
        _address(source, source),
        source.stride(),
        target.data_ptr(),
        target.stride(),
        _address(weight, source),
        *_problem(source, weight, opposite(corner) if transposed else corner, groups, diagonal),
        transposed,
        *_settings(variant, source, weight),
        variant[1:4],
        *([known] if known else []),
    )


def solve_volume(y: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str, transposed: bool) -> Tensor:
    """Solve a volume in place, slice after slice: the slices behind one are channels that are known already."""
    flip = [2] if MIRRORS[corner][0] else []
    slices = y.flip(flip).unflatten(1, (groups, -1)).transpose(2, 3).contiguous()  # (N, G, D, C, H, W), a copy
    depth, behind = y.shape[2], min(weight.shape[2], y.shape[2]) - 1
    of_slice = corner.partition("_")[2]
    kernels = _kernels_of_slices(triangular(weight, groups, diagonal, transposed=False), groups, behind)
    for d in reversed(range(depth)) if transposed else range(depth):
        seen = min(behind, depth - 1 - d if transposed else d)
        first = d if transposed else d - seen
        known = seen * slices.shape[3]
        for group, kernel in enumerate(kernels[seen]):
            window = slices[:, group, first : first + seen + 1].flatten(1, 2)
            _write(False, window, window, kernel, of_slice, 1, diagonal, transposed, known, _BEST)
    x: Tensor = slices.transpose(2, 3).reshape(y.shape)
    return (x.flip(flip) if flip else x).contiguous()


def _kernels_of_slices(kernel: Tensor, groups: int, behind: int) -> list[Tensor]:
    """Return for each number of slices behind one the kernel of an image of all their channels, for each group.

    Slice i reads slice j by the taps i - j slices behind, so that the last tap of the whole is lower triangular.
    """
    taps = kernel.unflatten(0, (groups, -1)).flip(3)  # (G, C, C, kD, kH, kW), the slice's own taps first
    kernels = []
    for seen in range(behind + 1):
        whole = taps.new_zeros(groups, seen + 1, taps.shape[1], seen + 1, taps.shape[2], *taps.shape[4:])
        for i in range(seen + 1):
            for j in range(i + 1):
                whole[:, i, :, j] = taps[:, :, :, i - j]
        kernels.append(whole.flatten(3, 4).flatten(1, 2))
    return kernels


def weight_gradient(
    x: Tensor, grad: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str, variant: Variant = _BEST
) -> Tensor:
    """Correlate x with the gradient of the convolution's output."""
    if grad.shape != x.shape:
        raise ValueError(f"image and gradient have shapes {tuple(x.shape)} and {tuple(grad.shape)}")
    result = torch.empty_like(weight, memory_format=torch.contiguous_format)
    _native.correlate(
        _address(x, x),
        x.stride(),
        _address(grad, x),
        grad.stride(),
        result.data_ptr(),
        *_problem(x, weight, corner, groups, diagonal),
        *_settings(variant, x, weight),
    )
    return result


def _problem(image: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str) -> tuple[Any, ...]:
    return image.shape, weight.shape, groups, *MIRRORS[corner], diagonal


def _address(tensor: Tensor, image: Tensor) -> int:
    address = tensor.data_ptr()
    if not address:
        raise RuntimeError("a tensor of the call has no memory: its storage was freed")
    if tensor.dtype != image.dtype:
        raise TypeError(f"the image is {image.dtype} and another tensor of the call {tensor.dtype}")
    return address


def _settings(variant: Variant, image: Tensor, weight: Tensor) -> tuple[bool, int, str]:
    threads = variant.threads
    if threads is None:
        work = 2 * image.numel() * weight.numel() / len(weight)
        threads = torch.get_num_threads() if work > _WORTH_A_SECOND_THREAD else 1
    return image.dtype == torch.float64, threads, variant.instruction_set
