"""The corner of the image at which a one-sided convolution starts."""

from __future__ import annotations

from typing import Literal, get_args

Corner = Literal["top_left", "top_right", "bottom_left", "bottom_right"]

CORNERS: tuple[Corner, ...] = get_args(Corner)

_OPPOSITE: dict[str, str] = dict(zip(CORNERS, reversed(CORNERS), strict=True))


def opposite(corner: str) -> str:
    """Return the diagonally opposite corner, where the transposed map starts."""
    return _OPPOSITE[corner]


def starts_at_bottom(corner: str) -> bool:
    """Tell whether rows are walked upwards."""
    return corner.startswith("bottom")


def starts_at_right(corner: str) -> bool:
    """Tell whether columns are walked leftwards."""
    return corner.endswith("right")


def mirrored_axes(corner: str) -> list[int]:
    """Return the spatial axes, counted from the end, along which `corner` mirrors ``top_left``."""
    return [axis for axis, mirrored in ((-2, starts_at_bottom(corner)), (-1, starts_at_right(corner))) if mirrored]
