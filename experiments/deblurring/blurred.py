"""Images, blurs and noise of the deblurring experiment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from skimage import color, data
from sklearn.datasets import load_sample_image
from torch import Tensor

from inverseflow.utils.seeding import derived_seed

RADIUS = 7
"""Every point spread function is 15×15."""
NOISE = 0.01
"""Standard deviation of the noise, on gray levels between 0 and 1."""

TEST = ("astronaut", "brick", "camera", "cell", "coins", "grass", "gravel", "moon", "page", "text")
"""Test images, by their names in ``skimage.data``."""
TRAINING = (
    "cat",
    "clock",
    "coffee",
    "hubble_deep_field",
    "immunohistochemistry",
    "retina",
    "rocket",
    "stereo_motorcycle",
    "china.jpg",
    "flower.jpg",
)
"""Training images; the last two come with scikit-learn."""

_SUBSAMPLES = 20  # per pixel side, for the edge of the disc


@dataclass(frozen=True)
class Observation:
    """An image and its blurred version."""

    truth: Tensor
    """The part of the image that the blurred one covers, ``(H, W)``, between 0 and 1."""
    blurred: Tensor
    """The blurred and noisy image, ``(H, W)``. Unknown pixels beyond its edge have been blurred into it."""


def blurs() -> dict[str, Tensor]:
    """Return the point spread functions by name, each ``(15, 15)`` of sum 1.

    Example:
        >>> {name: int((psf > 1e-4).sum()) for name, psf in blurs().items()}
        {'Gaussian, σ 1.5': 97, 'defocus, radius 3': 45, 'motion, 9 pixels': 9}
    """
    offsets = torch.arange(-RADIUS, RADIUS + 1.0)
    rows, columns = torch.meshgrid(offsets, offsets, indexing="ij")
    fine = (torch.arange((2 * RADIUS + 1) * _SUBSAMPLES) + 0.5) / _SUBSAMPLES - RADIUS - 0.5
    disc = (fine[:, None].square() + fine.square() <= 9).float()
    named = {
        "Gaussian, σ 1.5": torch.exp(-(rows**2 + columns**2) / (2 * 1.5**2)),
        "defocus, radius 3": F.avg_pool2d(disc[None], _SUBSAMPLES)[0],
        "motion, 9 pixels": ((rows == 0) & (columns.abs() <= 4)).float(),
    }
    return {name: psf / psf.sum() for name, psf in named.items()}


def picture(name: str, side: int) -> Tensor:
    """Load a bundled image in gray and crop its center.

    Args:
        name: name in ``skimage.data``, or file name of an image of scikit-learn.
        side: largest height and width.

    Returns:
        ``(H, W)``, float32 between 0 and 1.

    Example:
        >>> picture("camera", 256).shape
        torch.Size([256, 256])
    """
    pixels = load_sample_image(name) if "." in name else getattr(data, name)()
    if isinstance(pixels, tuple):  # two views of a stereo pair, and their disparity
        pixels = pixels[0]
    gray = torch.from_numpy(color.rgb2gray(pixels) if pixels.ndim == 3 else pixels / 255.0).float()
    height, width = (min(size, side) for size in gray.shape)
    top, left = (gray.shape[0] - height) // 2, (gray.shape[1] - width) // 2
    return gray[top : top + height, left : left + width].contiguous()


def observe(truth: Tensor, psf: Tensor, generator: torch.Generator) -> Tensor:
    """Blur images, crop them to the pixels that depend only on the image, and add noise.

    Args:
        truth: ``(B, 1, H, W)``.
        psf: point spread function, ``(15, 15)``.
        generator: source of the noise.

    Returns:
        ``(B, 1, H - 14, W - 14)``.

    Example:
        >>> flat = observe(torch.full((1, 1, 32, 32), 0.5), blurs()["motion, 9 pixels"], torch.Generator())
        >>> flat.shape, round(flat.std().item(), 2)
        (torch.Size([1, 1, 18, 18]), 0.01)
    """
    clean = F.conv2d(truth, psf.flip(0, 1)[None, None])
    return clean + NOISE * torch.randn(clean.shape, generator=generator)


def observation(name: str, side: int, blur: str) -> Observation:
    """Load an image and blur it, with noise that depends only on the names.

    Args:
        name: name of the image.
        side: largest height and width.
        blur: name of the point spread function.
    """
    truth = picture(name, side)
    generator = torch.Generator().manual_seed(derived_seed(0, "deblurring", name, blur))
    blurred = observe(truth[None, None], blurs()[blur], generator)[0, 0]
    return Observation(truth[RADIUS:-RADIUS, RADIUS:-RADIUS], blurred)


def patches(
    pictures: Sequence[Tensor], psf: Tensor, count: int, side: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw random patches, blurred and true.

    Args:
        pictures: images ``(H, W)``, each at least ``side + 14`` high and wide.
        psf: point spread function.
        count: number of patches.
        side: side of the patches.
        generator: source of positions and noise.

    Returns:
        Blurred and true, both ``(count, 1, side, side)``.
    """
    whole = side + 2 * RADIUS
    cut = []
    for _ in range(count):
        chosen = pictures[int(torch.randint(len(pictures), (), generator=generator))]
        top, left = (int(torch.randint(size - whole + 1, (), generator=generator)) for size in chosen.shape)
        cut.append(chosen[top : top + whole, left : left + whole])
    truth = torch.stack(cut)[:, None]
    return observe(truth, psf, generator), truth[..., RADIUS:-RADIUS, RADIUS:-RADIUS]
