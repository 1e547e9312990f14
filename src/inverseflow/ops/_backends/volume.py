"""Volumes ``(N, C, D, H, W)`` by any backend of images: the solve walks along the depth, some slices at a time."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from inverseflow.ops._backends._torch import (
    convolve,
    finite,
    full_precision,
    shifted,
    taps,
    triangular,
    weight_gradient,
)
from inverseflow.ops._corner import mirrored_axes, opposite

_CHANNELS_AT_A_TIME = 16  # fewer leave vectors empty; more multiply too many zeros


class Volume:
    """The three operators of a backend, of volumes. Only the solve is the backend's, the rest is torch's convolution.

    A slice sees the slices behind it through an ordinary convolution. What is left is a solve of the slice itself. A
    few consecutive slices of few channels are solved at a time, as one image: their channels, in the order of the
    walk, are again lower triangular.
    """

    convolve = staticmethod(convolve)
    weight_gradient = staticmethod(weight_gradient)

    def __init__(self, images: Any) -> None:
        self._images = images

    def solve(self, y: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str, transposed: bool) -> Tensor:
        """Solve slice after slice."""
        mirror = mirrored_axes(opposite(corner) if transposed else corner)
        y = y.flip(mirror) if mirror else y
        most = max(1, _CHANNELS_AT_A_TIME // weight.shape[1])
        steps = -(-y.shape[2] // most)
        x = self._walk(y, weight, groups, diagonal, transposed, -(-y.shape[2] // steps))
        if not finite(x):  # padding, and zeros between slices, must not meet what is not finite
            x = self._walk(y, weight, groups, diagonal, transposed, 1, inside=True)
        return x.flip(mirror) if mirror else x

    def _walk(
        self, y: Tensor, weight: Tensor, groups: int, diagonal: str, transposed: bool, count: int, inside: bool = False
    ) -> Tensor:
        """Solve `count` slices at a time, from the first to the last, each slice from the top left."""
        batch, channels, depth, height, width = y.shape
        behind, above, left = (min(side, size) - 1 for side, size in zip(weight.shape[2:], y.shape[2:], strict=True))
        weight = weight[:, :, -1 - behind :, -1 - above :, -1 - left :]
        earlier = _between_slices(triangular(weight, groups, diagonal, transposed), groups, count)[:, :, :, :behind]
        own = _between_slices(triangular(weight, groups, diagonal, False), groups, count)[:, :, :, behind:]
        kernel_of_earlier, kernel = _kernel(earlier), _kernel(own)
        # x starts with slices of zeros; right starts as y, and both end with slices that only fill the last step.
        filled = -(-depth // count) * count
        x = y.new_zeros(batch, groups, behind + filled, channels // groups, height, width)
        right = y.new_zeros(batch, groups, filled, channels // groups, height, width)
        right[:, :, :depth] = y.unflatten(1, (groups, -1)).transpose(2, 3)
        # The transposed operator takes the slices, like pixels and channels, in the order of the original.
        start = "bottom_right" if transposed else "top_left"
        for d in range(0, filled, count):
            rest = right[:, :, d : d + count]
            if behind and inside:
                rest = rest - _convolve_inside(x[:, :, behind + max(0, d - behind) : behind + d], earlier)
            elif behind:
                window = F.pad(x[:, :, d : d + behind], (left, 0, above, 0)).flatten(1, 3)
                with full_precision(y):
                    seen = F.conv2d(window, kernel_of_earlier, groups=groups)
                rest = rest - seen.view(rest.shape)
            rest = rest.flip(2) if transposed else rest
            solved = self._images.solve(rest.flatten(1, 3), kernel, start, groups, diagonal, transposed)
            solved = solved.view(rest.shape)
            x[:, :, behind + d : behind + d + count] = solved.flip(2) if transposed else solved
        return x[:, :, behind : behind + depth].transpose(2, 3).reshape(y.shape).contiguous()

    def unavailable(self) -> str | None:
        """Return why the backend of images can't be used."""
        reason: str | None = self._images.unavailable()
        return reason

    def refuses(self, image: Tensor) -> str | None:
        """Return why the backend of images can't serve a call."""
        reason: str | None = self._images.refuses(image)
        return reason

    def variant(self, image: Tensor, weight: Tensor, groups: int) -> str:
        """Say how slices are solved."""
        of_slice: str = self._images.variant(image[:, :, 0], weight[:, :, 0], groups)
        return f"{of_slice}, slice after slice"


def _between_slices(kernel: Tensor, groups: int, count: int) -> Tensor:
    """Return the taps between `count` slices and those that they see, ``(G, count, C, behind + count, C, kH, kW)``."""
    kernel = kernel.unflatten(0, (groups, -1)).transpose(2, 3)  # (G, C, kD, C, kH, kW)
    channels, seen = kernel.shape[1:3]
    blocks = kernel.new_zeros(groups, count, channels, seen - 1 + count, *kernel.shape[3:])
    for n in range(count):
        blocks[:, n, :, n : n + seen] = kernel
    return blocks


def _kernel(blocks: Tensor) -> Tensor:
    """Make the kernel of an image whose channels are those of all slices."""
    return blocks.flatten(0, 2).flatten(1, 2)


def _convolve_inside(earlier: Tensor, blocks: Tensor) -> Tensor:
    """Return what one slice sees of the slices behind it, by the taps inside of the volume alone."""
    slices = earlier.shape[2]
    seen = torch.zeros_like(earlier[:, :, :1]) if slices else earlier.new_zeros(())
    kernel = blocks[:, 0, :, blocks.shape[3] - slices :]  # (G, C, slices, C, kH, kW)
    for n in range(slices):
        for behind, tap, read_by_it in taps(kernel[:, :, n], earlier[:, :, n]):
            shifted(seen[:, :, 0], behind).add_(torch.einsum("goi,ngihw->ngohw", tap, read_by_it))
    return seen
