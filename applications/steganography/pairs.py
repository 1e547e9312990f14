"""Pictures to train on and others to test on, and random crops of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import skimage.data
import torch
from sklearn.datasets import load_sample_image
from torch import Tensor
from torch.nn import functional as F

from applications.pictures import LEVELS, read_picture
from inverseflow.data import load_images

SIDE = 64
_PHOTOGRAPHS = ("starry_night.jpg", "building.jpg", "home.jpg", "graf1.png", "board.jpg", "squirrel.jpg")
_FRAMES = 4
_SMALL = 2000  # of the pictures of CIFAR-10
_SMALL_SHARE = 0.2


def test_pictures() -> dict[str, Tensor]:
    """Return the pictures that are never trained on, ``(3, H, W)`` with values from 0 to 1, by name."""
    named = {name: getattr(skimage.data, name)() for name in ("astronaut", "coffee", "chelsea", "rocket")}
    named["flower"] = load_sample_image("flower.jpg")
    named["motorcycle"] = skimage.data.stereo_motorcycle()[0]
    return {name: _tensor(pixels) for name, pixels in named.items()}


def training_pictures(data_dir: Path) -> list[Tensor]:
    """Return the photographs to train on, in full size and in half.

    Args:
        data_dir: a folder with ``photos/``.

    Raises:
        DataError: if a photograph is missing.
    """
    folder = data_dir / "photos"
    frames = sorted((folder / "vtest").glob("*.jpg"))
    frames = frames[:: max(1, len(frames) // _FRAMES)]
    pictures = [read_picture(folder / name) for name in _PHOTOGRAPHS] + [read_picture(path) for path in frames]
    for pixels in (
        load_sample_image("china.jpg"),
        skimage.data.hubble_deep_field(),
        skimage.data.immunohistochemistry(),
        skimage.data.retina(),
    ):
        pictures.append(_tensor(pixels))
    halves = [F.interpolate(picture[None], scale_factor=0.5, mode="area")[0] for picture in pictures]
    return pictures + halves


def training_crops(data_dir: Path, number: int, seed: int, together: int = 2, side: int = SIDE) -> Tensor:
    """Draw random crops of the pictures to train on, a fifth of them four small pictures of CIFAR-10 side by side.

    Args:
        data_dir: a folder with ``photos/`` and ``cifar10-jpeg/``.
        number: of examples.
        seed: of the crops.
        together: pictures in one example.
        side: of a crop in pixels, twice that of a picture of CIFAR-10.

    Returns:
        ``(number, 3 together, side, side)``, values from 0 to 1.
    """
    generator = np.random.default_rng(seed)
    pictures = [picture for picture in training_pictures(data_dir) if min(picture.shape[1:]) >= side]
    small = load_images("cifar10", data_dir=data_dir).train.select(range(_SMALL)).tensor().float() / LEVELS
    crops = torch.empty(number * together, COLORS, side, side)
    for crop in crops:
        if generator.random() < _SMALL_SHARE:
            four = small[generator.integers(len(small), size=4)]
            crop.copy_(torch.cat([torch.cat([*row], 2) for row in four.unflatten(0, (2, 2))], 1))
        else:
            picture = pictures[generator.integers(len(pictures))]
            top, left = (generator.integers(length - side + 1) for length in picture.shape[1:])
            crop.copy_(picture[:, top : top + side, left : left + side])
        if generator.random() < 0.5:
            crop.copy_(crop.flip(2))
    examples: Tensor = crops.unflatten(0, (number, together)).flatten(1, 2)
    return examples


COLORS = 3


def _tensor(pixels: npt.NDArray[np.uint8]) -> Tensor:
    levels = torch.from_numpy(np.asarray(pixels)[..., :COLORS].copy()).permute(2, 0, 1)
    picture: Tensor = levels.float().div(LEVELS)
    return picture
