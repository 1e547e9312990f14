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
        at_a_time = min(max(1, _CHANNELS_AT_A_TIME // weight.shape[1]), y.shape[2])
        x = self._walk(y, weight, groups, diagonal, transposed, at_a_time)
        if not finite(x):  # padding, and zeros between slices, must not meet what is not finite
            x = self._walk(y, weight, groups, diagonal, transposed, 1, inside=True)
        return x.flip(mirror) if mirror else x

    def _walk(
        self, y: Tensor, weight: Tensor, groups: int, diagonal: str, transposed: bool, count: int, inside: bool = False
    ) -> Tensor:
        """Solve `count` slices at a time, from the first to the last, each slice from the top left."""
        depth, height, width = y.shape[2:]
        behind, above, left = (min(side, size) - 1 for side, size in zip(weight.shape[2:], y.shape[2:], strict=True))
        weight = weight[:, :, -1 - behind :, -1 - above :, -1 - left :]
        earlier = _between_slices(triangular(weight, groups, diagonal, transposed), groups, count)[:, :, :, :behind]
        own = _between_slices(triangular(weight, groups, diagonal, False), groups, count)[:, :, :, behind:]
        y = y.unflatten(1, (groups, -1)).transpose(2, 3)  # (N, G, D, C, H, W)
        buffer = y.new_zeros(*y.shape[:2], behind + depth, y.shape[3], above + height, left + width)
        x = buffer[:, :, behind:, :, above:, left:]
        for d in range(0, depth, count):
            now = min(count, depth - d)
            right = y[:, :, d : d + now]
            if behind and inside:
                right = right - _convolve_inside(x[:, :, max(0, d - behind) : d], earlier, height, width)
            elif behind:
                with full_precision(y):
                    seen = F.conv2d(
                        buffer[:, :, d : d + behind].flatten(1, 3), _kernel(earlier[:, :now]), groups=groups
                    )
                right = right - seen.view(right.shape)
            # The transposed image operator takes the slices, like pixels and channels, in the order of the original.
            right = right.flip(2) if transposed else right
            start = "bottom_right" if transposed else "top_left"
            kernel = _kernel(own[:, :now, :, :now])
            solved = self._images.solve(right.flatten(1, 3), kernel, start, groups, diagonal, transposed)
            solved = solved.view(right.shape)
            x[:, :, d : d + now] = solved.flip(2) if transposed else solved
        return x.transpose(2, 3).flatten(1, 2).contiguous()

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


def _convolve_inside(earlier: Tensor, blocks: Tensor, height: int, width: int) -> Tensor:
    """Return what one slice sees of the slices behind it, by the taps inside of the volume alone."""
    seen = earlier.new_zeros(*earlier.shape[:2], 1, earlier.shape[3], height, width)
    slices = earlier.shape[2]
    kernel = blocks[:, 0, :, blocks.shape[3] - slices :]  # (G, C, slices, C, kH, kW)
    for n in range(slices):
        for behind, tap, read_by_it in taps(kernel[:, :, n], earlier[:, :, n]):
            shifted(seen[:, :, 0], behind).add_(torch.einsum("goi,ngihw->ngohw", tap, read_by_it))
    return seen
