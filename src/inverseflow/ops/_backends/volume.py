"""Volumes ``(N, C, D, H, W)`` by any backend of images: the solve walks along the depth, slice after slice."""

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


class Volume:
    """The three operators of a backend, of volumes. Only the solve is the backend's, the rest is torch's convolution.

    A backend may solve volumes by a function ``solve_volume`` of its own. Else a slice sees the slices behind it
    through an ordinary convolution, and what is left is a solve of the slice itself.
    """

    convolve = staticmethod(convolve)
    weight_gradient = staticmethod(weight_gradient)

    def __init__(self, images: Any) -> None:
        self._images = images

    def solve(self, y: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str, transposed: bool) -> Tensor:
        """Solve slice after slice."""
        x: Tensor
        if hasattr(self._images, "solve_volume"):
            x = self._images.solve_volume(y, weight, corner, groups, diagonal, transposed)
            return x
        mirror = mirrored_axes(opposite(corner) if transposed else corner)
        y = y.flip(mirror)
        x = self._walk(y, weight, groups, diagonal, transposed, inside=False)
        if not finite(x):  # padding must not meet what is not finite
            x = self._walk(y, weight, groups, diagonal, transposed, inside=True)
        return x.flip(mirror)

    def _walk(self, y: Tensor, weight: Tensor, groups: int, diagonal: str, transposed: bool, *, inside: bool) -> Tensor:
        """Solve from the first slice to the last, each from the top left."""
        behind, above, left = (min(side, size) - 1 for side, size in zip(weight.shape[2:], y.shape[2:], strict=True))
        kernel = triangular(weight, groups, diagonal, transposed)[:, :, -1 - behind : -1, -1 - above :, -1 - left :]
        start = "bottom_right" if transposed else "top_left"
        x = y.new_zeros(*y.shape[:2], behind + y.shape[2], *y.shape[3:])  # starts with slices of zeros
        for d in range(y.shape[2]):
            right = y[:, :, d]
            if behind and inside:
                right = right - _convolve_inside(x[:, :, behind + max(0, d - behind) : behind + d], kernel, groups)
            elif behind:
                with full_precision(y):
                    window = F.pad(x[:, :, d : d + behind], (left, 0, above, 0))
                    right = right - F.conv3d(window, kernel, groups=groups)[:, :, 0]
            x[:, :, behind + d] = self._images.solve(right, weight[:, :, -1], start, groups, diagonal, transposed)
        return x[:, :, behind:].contiguous()

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
        if hasattr(self._images, "solve_volume"):
            own: str = self._images.variant(image, weight, groups)
            return own
        of_slice: str = self._images.variant(image[:, :, 0], weight[:, :, 0], groups)
        return f"{of_slice}, slice after slice"


def _convolve_inside(earlier: Tensor, kernel: Tensor, groups: int) -> Tensor:
    """Return what one slice sees of the slices behind it, by the taps inside of the volume alone."""
    slices = earlier.shape[2]
    blocks, images = (
        kernel[:, :, kernel.shape[2] - slices :].unflatten(0, (groups, -1)),
        earlier.unflatten(1, (groups, -1)),
    )
    seen = images.new_zeros(*images.shape[:3], *images.shape[4:])  # (N, G, C, H, W)
    for n in range(slices):
        for behind, tap, read_by_it in taps(blocks[:, :, :, n], images[:, :, :, n]):
            shifted(seen, behind).add_(torch.einsum("goi,ngihw->ngohw", tap, read_by_it))
    result: Tensor = seen.flatten(1, 2)
    return result
