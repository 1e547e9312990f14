"""Events cut into patches, the tokens of a transformer."""

import math

from torch import Tensor

from inverseflow.utils.arguments import whole_number, whole_numbers


def patch_grid(size: tuple[int, ...], patch_size: int) -> tuple[tuple[int, ...], int, int]:
    """Return the sides of an event, from 1 to 3, the number of its patches, and the number of places in each.

    Raises:
        ValueError: if the side of a patch does not divide a side of the event.
    """
    size = whole_numbers("size", size, at_least=1)
    if not 1 <= len(size) <= 3:
        raise ValueError(f"size must be the 1 to 3 sides of an event, (H, W) for an image, got {size}")
    patch_size = whole_number("patch_size", patch_size, at_least=1)
    if any(side % patch_size for side in size):
        common = math.gcd(*size)
        divisors = [str(side) for side in range(1, common + 1) if common % side == 0]
        raise ValueError(
            f"patch_size must divide the sides {size}, got {patch_size}; take one of {', '.join(divisors)}"
        )
    places = patch_size ** len(size)
    return size, math.prod(size) // places, places


def to_patches(x: Tensor, patch_size: int) -> Tensor:
    """Cut ``(B, C, *spatial)`` into N patches in raster order, ``(B, N, C pⁿ)``."""
    axes = x.ndim - 2
    for axis in range(1 + axes, 1, -1):
        x = x.unflatten(axis, (-1, patch_size))  # (B, C, H/p, p, W/p, p)
    within = range(3, 3 + 2 * axes, 2)
    return x.permute(0, *range(2, 2 + 2 * axes, 2), 1, *within).flatten(1 + axes).flatten(1, axes)


def from_patches(patches: Tensor, patch_size: int, size: tuple[int, ...]) -> Tensor:
    """Put patches together again: the inverse of `to_patches` for an event of this size."""
    axes = len(size)
    grid = tuple(side // patch_size for side in size)
    x: Tensor = patches.unflatten(2, (-1, *[patch_size] * axes)).unflatten(1, grid)
    x = x.permute(0, 1 + axes, *(axis for n in range(axes) for axis in (1 + n, 2 + axes + n)))
    for axis in range(2, 2 + axes):
        x = x.flatten(axis, axis + 1)
    return x
