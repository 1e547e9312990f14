"""Photographs with faces at known places: real pictures, real faces, put together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from applications.anonymisation.boxes import Box, overlap

_RIM = 0.15


def composite(
    photo: Tensor, faces: Tensor, *, sizes: tuple[int, int] = (48, 96), seed: int = 0
) -> tuple[Tensor, list[Box]]:
    """Put gray faces into a photograph, with soft rims, and return it with their boxes.

    Args:
        photo: ``(3, H, W)``, values from 0 to 1.
        faces: ``(N, h, w)``.
        sizes: smallest and largest side of a face in pixels.
        seed: of places and sizes.
    """
    generator = np.random.default_rng(seed)
    picture = photo.clone()
    boxes: list[Box] = []
    for face in faces:
        box = _free(boxes, (photo.shape[1], photo.shape[2]), sizes, generator)
        side = box.width
        scaled = F.interpolate(face[None, None], (side, side), mode="bicubic", align_corners=False)[0].clamp(0, 1)
        ramp = (torch.arange(side) + 0.5) / (_RIM * side)
        ramp = torch.minimum(ramp, ramp.flip(0)).clamp(max=1)
        weight = ramp[:, None] * ramp
        rows, columns = slice(box.top, box.bottom), slice(box.left, box.right)
        picture[:, rows, columns] = weight * scaled + (1 - weight) * picture[:, rows, columns]
        boxes.append(box)
    return picture, boxes


def _free(boxes: Sequence[Box], size: tuple[int, int], sizes: tuple[int, int], generator: np.random.Generator) -> Box:
    while True:
        side = int(generator.integers(sizes[0], sizes[1] + 1))
        top, left = (int(generator.integers(8, length - side - 8)) for length in size)
        box = Box(left, top, left + side, top + side)
        if all(overlap(box, other.grown(0.6, size)) == 0 for other in boxes):
            return box
