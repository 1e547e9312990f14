"""Surfaces: pictures cut into tiles, textures of scikit-image, and synthetic defects."""

from __future__ import annotations

import numpy as np
import torch
from skimage import data
from torch import Tensor
from torch.nn import functional as F

from applications.pictures import LEVELS
from inverseflow.errors import DataError

TEXTURES = ("brick", "grass", "gravel")
DEFECTS = ("scratch", "hole", "stain", "smear")
"""Synthetic defects: a thin line, a dark spot, a spot of less contrast, and a spot without detail."""

_TRAINING_COLUMNS = 320
_WINDOW = 7


def texture(name: str) -> tuple[Tensor, Tensor]:
    """Return the left part of a texture of scikit-image ``(3, 512, 320)``, to learn, and the rest, to test."""
    gray = torch.from_numpy(getattr(data, name)().copy()).float() / LEVELS
    picture = gray.expand(3, *gray.shape)
    return picture[:, :, :_TRAINING_COLUMNS], picture[:, :, _TRAINING_COLUMNS:]


def places(height: int, width: int, side: int) -> list[tuple[int, int]]:
    """Return the upper left corners of the square tiles that cover a picture; the last ones overlap others.

    Raises:
        DataError: if the picture is smaller than a tile.

    Example:
        >>> places(10, 8, 4)
        [(0, 0), (0, 4), (4, 0), (4, 4), (6, 0), (6, 4)]
    """
    if min(height, width) < side:
        raise DataError(f"a picture of {width}×{height} pixels holds no tile of {side}: give a larger one")
    tops, lefts = ([*range(0, length - side, side), length - side] for length in (height, width))
    return [(top, left) for top in tops for left in lefts]


def tiles(picture: Tensor, side: int) -> Tensor:
    """Return the tiles ``(N, C, side, side)`` of a picture ``(C, H, W)``, in the order of `places`."""
    corners = places(picture.shape[1], picture.shape[2], side)
    return torch.stack([picture[:, top : top + side, left : left + side] for top, left in corners])


def assembled(maps: Tensor, height: int, width: int) -> Tensor:
    """Return the map ``(H, W)`` of a picture from those of its tiles ``(N, side, side)``, the larger of two.

    Example:
        >>> picture = torch.rand(1, 9, 7)
        >>> torch.equal(assembled(tiles(picture, 4)[:, 0], 9, 7), picture[0])
        True
    """
    side = maps.shape[-1]
    whole = torch.full((height, width), -torch.inf)
    for part, (top, left) in zip(maps, places(height, width, side), strict=True):
        there = whole[top : top + side, left : left + side]
        there.copy_(torch.maximum(there, part))
    return whole


def crops(picture: Tensor, count: int, side: int, rng: np.random.Generator) -> Tensor:
    """Return squares ``(count, C, side, side)`` at random places of a picture."""
    corners = rng.integers(0, np.array(picture.shape[1:]) - side + 1, (count, 2)).tolist()
    return torch.stack([picture[:, top : top + side, left : left + side] for top, left in corners])


def with_defect(picture: Tensor, kind: str, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return a picture ``(C, H, W)`` with a synthetic defect, and where it is ``(H, W)``.

    A scratch is 3 pixels wide and half a range darker or lighter than the mean. The other defects are ellipses, of 12
    to 26 pixels by two thirds of it: a hole is nearly black, a stain has half the contrast and is lighter, and a smear
    is the mean of 7×7 pixels.

    Args:
        picture: values from 0 to 1, at least 64×64.
        kind: one of `DEFECTS`.
        rng: draws place, direction and size.
    """
    height, width = picture.shape[1:]
    row, column = rng.uniform(0.2, 0.8, 2) * (height, width)
    angle, size = rng.uniform(0, np.pi), rng.uniform(6, 13)
    down, across = torch.meshgrid(torch.arange(height) - row, torch.arange(width) - column, indexing="ij")
    along = across * np.cos(angle) + down * np.sin(angle)
    aside = down * np.cos(angle) - across * np.sin(angle)
    if kind == "scratch":
        mask = (along.abs() < 2 * size) & (aside.abs() < 1.5)
        level = picture.mean()
        changed = (level - 0.5 if level > 0.5 else level + 0.5).expand_as(picture)
    else:
        mask = (along / size) ** 2 + (1.5 * aside / size) ** 2 < 1
        margin = [_WINDOW // 2] * 4
        blurred = F.avg_pool2d(F.pad(picture[None], margin, mode="reflect"), _WINDOW, stride=1)[0]
        changed = {"hole": torch.full_like(picture, 0.05), "stain": 0.4 + picture / 2, "smear": blurred}[kind]
    return torch.where(mask, changed, picture).clamp(0, 1), mask
