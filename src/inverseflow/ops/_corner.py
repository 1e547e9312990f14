"""The corner of the event at which a one-sided convolution starts: one word for each spatial axis."""

from itertools import product
from typing import Literal, get_args

from inverseflow.utils.arguments import whole_number

Corner = Literal["top_left", "top_right", "bottom_left", "bottom_right"]
CORNERS: tuple[Corner, ...] = get_args(Corner)
_STARTS = ("front", "back"), ("top", "bottom"), ("left", "right")


def corners(spatial_axes: int) -> tuple[str, ...]:
    """Return the names of all corners: of a sequence (1 axis), an image (2) or a volume (3).

    A name says for each axis at which end the walk starts: front or back, top or bottom, left or right.

    Example:
        >>> corners(1)
        ('left', 'right')
        >>> corners(2) == CORNERS
        True
        >>> corners(3)[:3]
        ('front_top_left', 'front_top_right', 'front_bottom_left')
    """
    axes = whole_number("spatial_axes", spatial_axes, at_least=1, at_most=3)
    return tuple(map("_".join, product(*_STARTS[-axes:])))


MIRRORS: dict[str, tuple[bool, ...]] = {
    name: tuple(word in ("back", "bottom", "right") for word in name.split("_"))
    for axes in (1, 2, 3)
    for name in corners(axes)
}
"""Whether each axis is walked backwards."""
_OPPOSITE: dict[str, str] = {
    name: other for axes in (1, 2, 3) for name, other in zip(corners(axes), reversed(corners(axes)), strict=True)
}


def opposite(corner: str) -> str:
    """Return the diagonally opposite corner, where the transposed map starts."""
    return _OPPOSITE[corner]


def mirrored_axes(corner: str) -> list[int]:
    """Return the spatial axes, counted from the end, along which the walk from `corner` goes backwards."""
    mirrors = MIRRORS[corner]
    return [axis - len(mirrors) for axis, mirrored in enumerate(mirrors) if mirrored]
