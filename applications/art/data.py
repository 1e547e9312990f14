"""Pictures to train and test restoration with, and damage to them."""

from __future__ import annotations

from pathlib import Path

import torch
from skimage import data
from sklearn.datasets import load_sample_image
from torch import Generator, Tensor
from torch.nn import functional as F

from applications.degradations import degrade
from applications.pictures import LEVELS, read_picture
from experiments.folders import data_folder

DAMAGE = (
    "water damage",
    "rain",
    "radial blur",
    "pixelate",
    "noise",
    "Gaussian noise",
    "motion blur",
    "blur",
    "fade",
    "dull",
    "scratches",
)
"""Names in `applications.degradations`."""
BUNDLED = ("cat", "coffee", "rocket", "stereo_motorcycle", "china.jpg", "flower.jpg")
PHOTOS = ("board.jpg", "building.jpg", "butterfly.jpg", "graf1.png", "squirrel.jpg", "vtest/frame-000.jpg")
"""Pictures to train with: of scikit-image, scikit-learn, and the folder photos/."""
TEST = ("astronaut", "baboon.jpg", "fruits.jpg", "home.jpg", "starry_night.jpg")
"""Pictures to test with: the first of scikit-image, the others of photos/. None of them is used in training."""
_MILDEST = 0.2


def picture(name: str, data_dir: Path | None) -> Tensor:
    """Return a picture ``(3, H, W)`` of `BUNDLED`, `PHOTOS` or `TEST`, values from 0 to 1.

    Raises:
        DataError: if the folder photos/ is needed and missing.
    """
    if name in PHOTOS or name in TEST[1:]:
        return read_picture(data_folder("photos", data_dir) / name)
    pixels = load_sample_image(name) if "." in name else getattr(data, name)()
    pixels = pixels[0] if isinstance(pixels, tuple) else pixels  # a stereo pair, and its disparity
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / LEVELS


def crops(pictures: list[Tensor], count: int, side: int, generator: Generator) -> Tensor:
    """Return random square parts ``(count, 3, side, side)`` of pictures in turn, at full, half or a third of the size.

    Example:
        >>> crops([torch.rand(3, 200, 300)], 5, 64, torch.Generator()).shape
        torch.Size([5, 3, 64, 64])
    """
    found = []
    for number in range(count):
        whole = pictures[number % len(pictures)]
        most = max(1, min(3, min(whole.shape[1:]) // side))
        length = side * (1 + int(torch.randint(most, (), generator=generator)))
        top, left = (int(torch.randint(n - length + 1, (), generator=generator)) for n in whole.shape[1:])
        part = whole[None, :, top : top + length, left : left + length]
        part = F.interpolate(part, (side, side), mode="bilinear", antialias=True)[0].clamp(0, 1)
        found.append(part.flip(2) if torch.rand((), generator=generator) < 0.5 else part)
    return torch.stack(found)


def pairs(clean: Tensor, cuts: int, generator: Generator) -> Tensor:
    """Return squares of half the side from clean pictures and the same from damaged ones, for training.

    Each picture gets one kind of `DAMAGE` in turn, at a random severity from 0.2 on.

    Args:
        clean: ``(B, 3, side, side)``, values from 0 to 1.
        cuts: squares of each picture.
        generator: source of the damage and the places.

    Returns:
        ``(B · cuts, 6, side / 2, side / 2)``, values from −1 to 1.
    """
    side, found = clean.shape[-1] // 2, []
    for number, whole in enumerate(clean):
        severity = _MILDEST + (1 - _MILDEST) * float(torch.rand((), generator=generator))
        damaged = degrade(DAMAGE[number % len(DAMAGE)], whole, severity, generator)
        both = 2 * torch.cat([whole, damaged]) - 1
        for top, left in torch.randint(side + 1, (cuts, 2), generator=generator).tolist():
            found.append(both[:, top : top + side, left : left + side])
    return torch.stack(found)
