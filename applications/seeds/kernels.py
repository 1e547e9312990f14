"""Kernels of corn from above and below, drawn by a procedure. Every picture is synthetic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter
from torch import Tensor

from inverseflow.utils.arguments import whole_number

Array = NDArray[np.floating]

CLASSES = ("broken", "discolored", "pure", "silkcut")
VIEWS = ("top", "bottom")

_BODY = np.array([0.93, 0.68, 0.25])
_TIP = np.array([0.95, 0.87, 0.66])
_STARCH = np.array([0.95, 0.92, 0.85])
_STAIN = np.array([0.36, 0.20, 0.12])
_CRACK = np.array([0.99, 0.96, 0.88])
_GROUND = np.array([0.10, 0.13, 0.22])
_SAMPLES = 2


def kernels(labels: Sequence[int], *, side: int = 32, seed: int = 0) -> Tensor:
    """Draw a kernel of each label from both sides.

    The two views share outline, color and defect. How much of a stain or a crack each of them shows varies.

    Args:
        labels: numbers of `CLASSES`.
        side: side of a picture in pixels.
        seed: of everything; the same labels and seed give the same pictures.

    Returns:
        Values from 0 to 1, ``(N, 2, 3, side, side)``.

    Example:
        >>> kernels([0, 2], side=16).shape
        torch.Size([2, 2, 3, 16, 16])
    """
    side = whole_number("side", side, at_least=8)
    generator = np.random.default_rng(seed)
    if not len(labels):
        return torch.empty(0, len(VIEWS), 3, side, side)
    return torch.stack([_kernel(CLASSES[label], side, generator) for label in labels])


def _kernel(name: str, side: int, generator: np.random.Generator) -> Tensor:
    fine = _SAMPLES * side
    knots = np.linspace(0, 2 * np.pi, 9)
    bumps = np.append(radii := 1 + 0.05 * generator.normal(size=8), radii[0])
    outline = CubicSpline(knots, bumps, bc_type="periodic")
    size, stretch, turn = generator.uniform(0.6, 0.78), generator.uniform(0.75, 0.95), generator.uniform(0, 2 * np.pi)
    color = _BODY * (1 + 0.08 * generator.normal(size=3)) * generator.uniform(0.85, 1.05)
    texture = gaussian_filter(generator.normal(size=(fine, fine)), fine / 12)
    texture /= texture.std()
    shown = generator.permuted([generator.uniform(0.4, 0.9), generator.uniform(0.0, 0.6)])
    defect = {
        "angle": generator.uniform(0, 2 * np.pi),
        "depth": generator.uniform(0.35, 0.8),
        "bend": generator.uniform(-0.4, 0.4),
        "waves": generator.uniform(2, 6),
        "width": generator.uniform(0.035, 0.07),
    }
    views = []
    for mirrored, visible in zip((1, -1), shown, strict=True):
        rows, columns = (np.indices((fine, fine)) + 0.5) * 2 / fine - 1
        x = mirrored * (np.cos(turn) * columns + np.sin(turn) * rows) / size
        y = (-np.sin(turn) * columns + np.cos(turn) * rows) / size
        view = _view(name, x, y / stretch, outline, color, texture[:, ::mirrored], defect, visible, mirrored > 0)
        small = view.reshape(side, _SAMPLES, side, _SAMPLES, 3).mean((1, 3))
        views.append(small + 0.015 * generator.normal(size=small.shape))
    return torch.from_numpy(np.clip(np.stack(views), 0, 1).astype(np.float32)).permute(0, 3, 1, 2).contiguous()


def _view(
    name: str,
    x: Array,
    y: Array,
    outline: CubicSpline,
    color: Array,
    texture: Array,
    defect: dict[str, float],
    visible: float,
    top: bool,
) -> Array:
    """Return a view in the coordinates of the kernel: x from the crown to the tip, the outline near radius 1."""
    radius, angle = np.hypot(x, y), np.arctan2(y, x) % (2 * np.pi)
    edge = outline(angle) * (1 - 0.16 * np.cos(angle) * (1 - np.abs(np.sin(angle))))
    inside = radius < edge
    dome = 0.62 + 0.38 * np.sqrt(np.clip(1 - (radius / edge) ** 2, 0, 1))
    paint = color + np.clip((x + 0.1) / 1.2, 0, 1)[..., None] ** 2 * (_TIP - color)
    if top:  # the germ
        paint = paint + 0.5 * _soft(1 - ((x - 0.35) / 0.42) ** 2 - (y / 0.26) ** 2, 0.2)[..., None] * (_TIP - paint)
    along = np.cos(defect["angle"]) * x + np.sin(defect["angle"]) * y
    across = -np.sin(defect["angle"]) * x + np.cos(defect["angle"]) * y
    if name == "discolored":
        stain = _soft(along - defect["depth"] + 0.12 * texture + 0.3, 0.15)
        paint = paint + 0.8 * visible * stain[..., None] * (_STAIN - paint)
    if name == "silkcut":
        line = across - defect["bend"] * (along**2 - 0.3) - 0.03 * np.sin(defect["waves"] * along)
        crack = np.exp(-((line / defect["width"]) ** 2)) * _soft(0.85 - np.abs(along), 0.1)
        paint = paint + visible * crack[..., None] * (_CRACK - paint)
    light = dome * (1 + 0.04 * texture)
    if name == "broken":
        cut = along - defect["depth"] - 0.06 * np.sin(2 * defect["waves"] * across) - 0.03 * texture
        rim = _soft(cut + 0.16, 0.05)
        paint = paint + visible * rim[..., None] * (_STARCH - paint)
        inside &= cut < 0
    return np.where(inside[..., None], np.clip(paint * light[..., None], 0, 1), _GROUND)


def _soft(values: Array, width: float) -> Array:
    """Return a step from 0 to 1 around 0."""
    return np.asarray(1 / (1 + np.exp(-np.clip(4 * values / width, -30, 30))))
