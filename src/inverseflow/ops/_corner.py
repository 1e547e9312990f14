"""The corner of the image at which a one-sided convolution starts."""

from typing import Literal, get_args

Corner = Literal["top_left", "top_right", "bottom_left", "bottom_right"]
CORNERS: tuple[Corner, ...] = get_args(Corner)
MIRRORS: dict[str, tuple[bool, bool]] = {name: (name.startswith("bottom"), name.endswith("right")) for name in CORNERS}
"""Whether rows are walked upwards, and whether columns are walked leftwards."""
_OPPOSITE: dict[str, str] = dict(zip(CORNERS, reversed(CORNERS), strict=True))


def opposite(corner: str) -> str:
    """Return the diagonally opposite corner, where the transposed map starts."""
    return _OPPOSITE[corner]


def mirrored_axes(corner: str) -> list[int]:
    """Return the spatial axes, counted from the end, along which `corner` mirrors ``top_left``."""
    return [axis for axis, mirrored in zip((-2, -1), MIRRORS[corner], strict=True) if mirrored]
