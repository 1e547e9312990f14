"""Boxes in a picture, and masks made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inverseflow.errors import OptionError
from inverseflow.utils.arguments import finite_number


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels: columns from `left` up to `right`, rows from `top` up to `bottom`, both ends half open."""

    left: int
    top: int
    right: int
    bottom: int
    kind: str = "face"
    score: float = 1.0
    detector: str = "given"

    @property
    def width(self) -> int:
        """Columns."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top

    def grown(self, share: float, size: tuple[int, int]) -> Box:
        """Return the box, wider and higher by a share of its size, cut off at the borders of a picture.

        Args:
            share: 0.2 adds a tenth at each side; a negative one takes away.
            size: height and width of the picture.

        Example:
            >>> box = Box(10, 10, 30, 50).grown(0.2, (52, 100))
            >>> box.left, box.top, box.right, box.bottom
            (8, 6, 32, 52)
        """
        across, along = (round(share * side / 2) for side in (self.width, self.height))
        corners = np.array([self.left - across, self.top - along, self.right + across, self.bottom + along])
        left, top, right, bottom = corners.clip(0, [size[1], size[0]] * 2).tolist()
        return Box(left, top, right, bottom, self.kind, self.score, self.detector)


def overlap(first: Box, second: Box) -> float:
    """Return the area of the intersection by that of the union.

    Example:
        >>> round(overlap(Box(0, 0, 2, 2), Box(1, 0, 3, 2)), 3)
        0.333
    """
    across = min(first.right, second.right) - max(first.left, second.left)
    along = min(first.bottom, second.bottom) - max(first.top, second.top)
    shared = max(0, across) * max(0, along)
    return shared / max(1, first.width * first.height + second.width * second.height - shared)


def without_doubles(boxes: Sequence[Box], most: float = 0.4) -> list[Box]:
    """Return boxes, best first, of which none overlaps a better one of its kind by more than a share."""
    kept: list[Box] = []
    for box in sorted(boxes, key=lambda box: -box.score):
        if all(overlap(box, other) <= most for other in kept if other.kind == box.kind):
            kept.append(box)
    return kept


def matched(boxes: Sequence[Box], truth: Sequence[Box], least: float = 0.3) -> int:
    """Return how many of the true boxes have a box of their own that overlaps them by a share or more."""
    free = list(boxes)
    found = 0
    for true in truth:
        best = max(free, key=lambda box: overlap(box, true), default=None)
        if best is not None and overlap(best, true) >= least:
            free.remove(best)
            found += 1
    return found


def mask_of(boxes: Sequence[Box], size: tuple[int, int]) -> Tensor:
    """Return where boxes are, ``(H, W)`` of bool.

    Raises:
        OptionError: if a box lies outside of the picture or is empty.
    """
    mask = torch.zeros(size, dtype=torch.bool)
    for box in boxes:
        if not (0 <= box.left < box.right <= size[1] and 0 <= box.top < box.bottom <= size[0]):
            raise OptionError(
                f"the box {box.left},{box.top},{box.width},{box.height} (left, top, width, height) does not lie in the "
                f"picture of {size[1]}×{size[0]} pixels"
            )
        mask[box.top : box.bottom, box.left : box.right] = True
    return mask


def from_corners(rows: NDArray[np.floating], kind: str, detector: str, size: tuple[int, int]) -> list[Box]:
    """Return boxes from rows of left, top, right, bottom and score; empty ones are left out."""
    boxes = []
    for left, top, right, bottom, score in rows.tolist():
        finite_number("score", score)
        box = Box(
            max(0, round(left)),
            max(0, round(top)),
            min(size[1], round(right)),
            min(size[0], round(bottom)),
            kind,
            float(score),
            detector,
        )
        if box.width > 0 and box.height > 0:
            boxes.append(box)
    return boxes
