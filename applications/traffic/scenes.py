"""Scenes: real designs of traffic signs on real pictures, seen in perspective, in six conditions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor
from torch.nn import functional as F

from applications.art.data import BUNDLED, PHOTOS, TEST, crops, picture
from applications.degradations import degrade
from applications.pictures import LEVELS, read_picture
from experiments.folders import data_folder
from inverseflow.errors import DataError, OptionError

CLASSES = ("triangle", "diamond", "disc", "blue disc", "panel")
"""Shapes of signs, the classes of the detector."""
CONDITIONS = ("normal", "blur", "dark", "rain", "snow", "fog")
"""Names in `applications.degradations`, but "normal"."""
SIDE = 112
_SMALLEST, _LARGEST = 14, 40
_DESIGN = 96


@dataclass(frozen=True)
class Scene:
    """A picture and what is on it."""

    picture: Tensor
    """``(3, H, W)``, values from 0 to 1."""
    boxes: Tensor
    """``(n, 4)``: left, top, right, bottom in pixels, right and bottom not included."""
    classes: Tensor
    """``(n,)`` whole numbers, indices of `CLASSES`."""


@dataclass(frozen=True)
class Designs:
    """Drawings of signs by class: ``(4, 96, 96)``, colors from 0 to 1 multiplied by opacity, and opacity."""

    drawings: tuple[tuple[Tensor, ...], ...]

    def split(self, every: int = 4) -> tuple[Designs, Designs]:
        """Return designs to train with, and every n-th of each class to test with."""
        kept = tuple(tuple(d for n, d in enumerate(each) if n % every) for each in self.drawings)
        return Designs(kept), Designs(tuple(each[::every] for each in self.drawings))


def read_designs(data_dir: Path | None) -> Designs:
    """Read the designs of the folder ``traffic-signs`` and sort them by shape and color.

    Raises:
        DataError: if there is no such folder.
    """
    drawings: list[list[Tensor]] = [[] for _ in CLASSES]
    for path in sorted((data_folder("traffic-signs", data_dir) / "png").glob("*.png")):
        drawing = read_design(path)
        shape = shape_of(drawing)
        if shape is not None:
            drawings[CLASSES.index(shape)].append(drawing)
    if not all(drawings):
        raise DataError(f"the folder traffic-signs has no design of the shape {CLASSES[drawings.index([])]}")
    return Designs(tuple(tuple(each) for each in drawings))


def read_design(path: Path) -> Tensor:
    """Return a drawing ``(4, 96, 96)``, colors multiplied by opacity."""
    with Image.open(path) as image:
        pixels = torch.from_numpy(np.array(image.convert("RGBA"))).permute(2, 0, 1).float() / LEVELS
    return torch.cat([pixels[:3] * pixels[3:], pixels[3:]])


def shape_of(drawing: Tensor) -> str | None:
    """Tell the class of a drawing by its corners, its diagonal and its color; None if it is none of them.

    Example:
        >>> shape_of(torch.ones(4, 96, 96))
        'panel'
    """
    opaque = drawing[3] > 0.5
    rows, columns = (opaque.any(axis).nonzero().flatten() for axis in (1, 0))
    inner = opaque[int(rows[0]) : int(rows[-1]) + 1, int(columns[0]) : int(columns[-1]) + 1]
    height, width = inner.shape

    def at(down: float, across: float) -> bool:
        return bool(inner[int(down * (height - 1)), int(across * (width - 1))])

    top, bottom = (all(at(down, across) for across in (0.06, 0.94)) for down in (0.06, 0.94))
    if top and bottom:
        return "panel"
    if bottom:
        return "triangle"
    if top:  # on its tip
        return None
    if not at(0.22, 0.22):
        return "diamond"
    red, _, blue = (drawing[:3, opaque].mean(1)).tolist()
    return "blue disc" if blue > red + 0.1 else "disc"


def backgrounds(test: bool, data_dir: Path | None) -> list[Tensor]:
    """Return real pictures to put signs on; those to train with share no part with those to test with.

    Of a video frame of a road with pedestrians training gets the left half and the test the right half.
    """
    names = TEST if test else BUNDLED + PHOTOS[:-1]
    frame = read_picture(data_folder("photos", data_dir) / PHOTOS[-1])
    half = frame[:, :, frame.shape[2] // 2 :] if test else frame[:, :, : frame.shape[2] // 2]
    return [*(picture(name, data_dir) for name in names), half]


def render(
    designs: Designs, pictures: Sequence[Tensor], count: int, generator: Generator, *, side: int = SIDE
) -> list[Scene]:
    """Render scenes in good conditions, each with one to three signs.

    Args:
        designs: of the signs.
        pictures: backgrounds, of at least `side` pixels.
        count: number of scenes.
        generator: source of all choices.
        side: side of the scenes in pixels.
    """
    return [_scene(designs, place, generator) for place in crops(list(pictures), count, side, generator)]


def put_sign(picture: Tensor, drawing: Tensor, corners: Tensor, light: float) -> tuple[Tensor, Tensor]:
    """Draw a sign in perspective.

    Args:
        picture: ``(3, H, W)``.
        drawing: ``(4, 96, 96)``, colors multiplied by opacity.
        corners: ``(4, 2)``, where the corners of the drawing go, in pixels across and down: top left, top right,
            bottom right, bottom left.
        light: factor of its colors.

    Returns:
        The picture, and the box ``(4,)`` of the pixels that the sign covers by more than half.

    Raises:
        OptionError: if it covers none.
    """
    height, width = picture.shape[1:]
    longest = float((corners - corners.roll(1, 0)).norm(dim=1).max())
    small = max(4, min(_DESIGN, math.ceil(longest)))
    drawing = F.interpolate(drawing[None], (small, small), mode="bilinear", antialias=True)[0]
    back = torch.linalg.inv(homography(corners))
    rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    points = torch.stack([columns, rows, torch.ones_like(rows)]).double().flatten(1)
    mapped = back @ points
    grid = (mapped[:2] / mapped[2]).T.reshape(1, height, width, 2).float()
    grid[0, (mapped[2] <= 0).view(height, width)] = 2  # behind the horizon of the sign's plane
    layer = F.grid_sample(drawing[None], grid, align_corners=False)[0]
    covered = layer[3] > 0.5
    if not covered.any():
        raise OptionError("the sign covers no pixel: its corners must lie in the picture")
    rows_, columns_ = (covered.any(axis).nonzero().flatten() for axis in (1, 0))
    box = torch.stack([columns_[0], rows_[0], columns_[-1] + 1, rows_[-1] + 1]).float()
    return picture * (1 - layer[3]) + (light * layer[:3]).clamp(0, 1), box


def homography(corners: Tensor) -> Tensor:
    """Return the projective map ``(3, 3)`` in double precision of the square from −1 to 1 to four corners.

    Example:
        >>> square = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
        >>> torch.allclose(homography(square), torch.eye(3).double())
        True
    """
    rows, target = [], corners.double().flatten()
    for (u, v), (x, y) in zip([(-1, -1), (1, -1), (1, 1), (-1, 1)], corners.double().tolist(), strict=True):
        rows += [[u, v, 1, 0, 0, 0, -u * x, -v * x], [0, 0, 0, u, v, 1, -u * y, -v * y]]
    found = torch.linalg.solve(torch.tensor(rows, dtype=torch.float64), target)
    return torch.cat([found, found.new_ones(1)]).view(3, 3)


def in_condition(scene: Scene, condition: str, severity: float, generator: Generator) -> Scene:
    """Return a scene in one of `CONDITIONS`, at a severity from 0 to 1."""
    if condition == "normal":
        return scene
    return Scene(degrade(condition, scene.picture, severity, generator), scene.boxes, scene.classes)


def _scene(designs: Designs, place: Tensor, generator: Generator) -> Scene:
    side = place.shape[-1]
    boxes: list[Tensor] = []
    classes = []
    for _ in range(1 + int(torch.randint(3, (), generator=generator))):
        kind = int(torch.randint(len(CLASSES), (), generator=generator))
        drawing = designs.drawings[kind][int(torch.randint(len(designs.drawings[kind]), (), generator=generator))]
        for _ in range(20):  # until it overlaps no other
            random = torch.rand(4, generator=generator).tolist()
            size = _SMALLEST + (_LARGEST - _SMALLEST) * random[0] ** 1.5
            left, top = (r * (side - size) for r in random[1:3])
            square = torch.tensor([[left, top], [left + size, top], [left + size, top + size], [left, top + size]])
            if all(bool(((box[:2] > square[2]) | (box[2:] < square[0])).any()) for box in boxes):
                corners = square + 0.1 * size * (2 * torch.rand(4, 2, generator=generator) - 1)
                place, box = put_sign(place, drawing, corners.clamp(0, side), 0.6 + 0.5 * random[3])
                boxes.append(box)
                classes.append(kind)
                break
    noisy = place + 0.01 * torch.randn(place.shape, generator=generator)
    return Scene(noisy.clamp(0, 1), torch.stack(boxes), torch.tensor(classes))
