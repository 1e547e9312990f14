"""Pictures to train and test restoration with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from skimage import data
from sklearn.datasets import load_sample_image
from torch import Tensor
from torch.nn import functional as F

from applications.pictures import LEVELS, read_picture
from inverseflow.errors import DataError

TRAINING = (
    "cat",
    "coffee",
    "hubble_deep_field",
    "immunohistochemistry",
    "retina",
    "rocket",
    "stereo_motorcycle",
    "china.jpg",
    "flower.jpg",
)
"""Of scikit-image, the last two of scikit-learn."""
PHOTOS = ("board.jpg", "building.jpg", "butterfly.jpg", "fruits.jpg", "graf1.png", "starry_night.jpg", "squirrel.jpg")
"""In the folder ``photos`` of the data sets; none of them is blurred."""
TEST = ("astronaut", "brick", "camera", "cell", "coins", "grass", "gravel", "moon", "page", "text")
"""Of scikit-image, in gray; none of them is used in training."""

LUMA_CHROMA = torch.tensor([[1, 1, 1], [1, 0, -1], [0.5, -1, 0.5]])
LUMA_CHROMA = LUMA_CHROMA / LUMA_CHROMA.norm(dim=1, keepdim=True)
"""Orthonormal, so that white noise of red, green and blue stays white."""


def bundled(name: str) -> Tensor:
    """Return a picture of scikit-image or scikit-learn, ``(C, H, W)`` with values from 0 to 1.

    Example:
        >>> bundled("camera").shape, bundled("china.jpg").shape
        (torch.Size([1, 512, 512]), torch.Size([3, 427, 640]))
    """
    pixels = load_sample_image(name) if "." in name else getattr(data, name)()
    if isinstance(pixels, tuple):  # two views of a stereo pair, and their disparity
        pixels = pixels[0]
    pixels = np.atleast_3d(pixels)[..., :3]
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / LEVELS


def gray(picture: Tensor) -> Tensor:
    """Return the gray picture ``(1, H, W)`` of one in colors."""
    return picture.mean(0, keepdim=True)


def centre(picture: Tensor, side: int) -> Tensor:
    """Cut out the middle, at most `side` pixels high and wide."""
    top, left = (max(0, size - side) // 2 for size in picture.shape[1:])
    return picture[:, top : top + side, left : left + side]


def training_pictures(data_dir: Path | None) -> list[Tensor]:
    """Return the training pictures; with a folder of data sets also its photographs.

    Raises:
        DataError: if a photograph is missing.
    """
    pictures = [bundled(name) for name in TRAINING]
    if data_dir is not None:
        if not (data_dir / "photos").is_dir():
            raise DataError(f"there is no folder {data_dir / 'photos'}; leave --data-dir out to train without it")
        pictures += [read_picture(data_dir / "photos" / name) for name in PHOTOS]
    return pictures


def patches(pictures: Sequence[Tensor], count: int, side: int, generator: torch.Generator) -> Tensor:
    """Draw square patches of single channels, at full and half size, turned and flipped.

    Three of four patches of a picture in colors are gray ones, the others chroma.

    Args:
        pictures: ``(C, H, W)``, of at least twice the side.
        count: number of patches.
        side: side of the patches.
        generator: source of the choices.

    Returns:
        ``(count, 1, side, side)``.

    Example:
        >>> patches([bundled("china.jpg")], 5, 40, torch.Generator()).shape
        torch.Size([5, 1, 40, 40])
    """
    sources = list(_sources(pictures))
    weights = torch.tensor([weight for _, weight in sources])
    cut = []
    for chosen in torch.multinomial(weights, count, replacement=True, generator=generator).tolist():
        source, _ = sources[chosen]
        top, left, turns, flip = (
            int(torch.randint(most, (), generator=generator))
            for most in (source.shape[0] - side + 1, source.shape[1] - side + 1, 4, 2)
        )
        patch = source[top : top + side, left : left + side].rot90(turns)
        cut.append(patch.flip(0) if flip else patch)
    return torch.stack(cut)[:, None]


def _sources(pictures: Sequence[Tensor]) -> Iterable[tuple[Tensor, float]]:
    for picture in pictures:
        small = F.avg_pool2d(picture[None], 2)[0]
        for each, share in ((picture, 1.0), (small, 0.5)):
            yield gray(each)[0], 3 * share
            if len(each) == 3:
                chroma = torch.einsum("ij,jhw->ihw", LUMA_CHROMA[1:], each)
                yield chroma[0], 0.5 * share
                yield chroma[1], 0.5 * share
