"""Pictures as files and as tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from inverseflow.data.decoding import Encoded, Header, picture_pixels, read_header
from inverseflow.errors import DataError, OptionError
from inverseflow.utils.files import atomic_write, errors_naming

LEVELS = 255


def read_picture(path: Path, channels: int = 3) -> Tensor:
    """Read a picture of any size.

    Transparency is blended with white, 16 bits are cut to 8, and an orientation tag is obeyed.

    Args:
        path: of a PNG, JPEG or another raster file.
        channels: 3 for colors, 1 for gray levels.

    Returns:
        Values from 0 to 1, ``(channels, H, W)``.

    Raises:
        DataError: if the file is missing or is no picture.
    """
    pixels = torch.from_numpy(picture_pixels(_encoded(path), "L" if channels == 1 else "RGB"))
    return pixels.permute(2, 0, 1).float() / LEVELS


def read_pictures(folder: Path, channels: int = 3) -> dict[str, Tensor]:
    """Read every picture of a folder, in the order of their names.

    Raises:
        DataError: if the folder is missing or holds no picture, or a file in it is damaged.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise DataError(f"{folder} holds no picture ({', '.join(SUFFIXES)})")
    return {path.name: read_picture(path, channels) for path in paths}


SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


def picture_header(path: Path) -> Header:
    """Return the size of a picture, and whether it is gray."""
    return read_header(_encoded(path))


def to_bytes(picture: Tensor) -> Tensor:
    """Round values from 0 to 1 to 8 bits; what lies outside is clipped.

    Example:
        >>> to_bytes(torch.tensor([-0.1, 0.5, 1.0]))
        tensor([  0, 128, 255], dtype=torch.uint8)
    """
    return (picture.detach() * LEVELS).round().clamp(0, LEVELS).to(torch.uint8)


def write_png(path: Path, picture: Tensor) -> None:
    """Write values from 0 to 1, ``(C, H, W)`` with one or three channels, as a PNG file of 8 bits.

    Raises:
        OptionError: if the name does not end in ``.png``.
    """
    if path.suffix.lower() != ".png":
        raise OptionError(f"{path} must end in .png: other formats lose pixels")
    pixels: np.ndarray = to_bytes(picture).permute(1, 2, 0).cpu().numpy()
    with atomic_write(path) as temporary, errors_naming(path, temporary):
        Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(temporary, "PNG")


def _encoded(path: Path) -> Encoded:
    if not path.is_file():
        raise DataError(f"there is no picture {path}")
    return Encoded(path, str(path))
