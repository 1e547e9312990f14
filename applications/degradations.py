"""Seeded damage to pictures, graded from nothing to severe."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from inverseflow.errors import OptionError
from inverseflow.utils.arguments import finite_number

Degradation = Callable[[Tensor, float, Generator], Tensor]
_PAPER = torch.tensor([0.93, 0.88, 0.78])[:, None, None]
_TIDE = torch.tensor([0.55, 0.42, 0.25])[:, None, None]
_VARNISH = torch.tensor([0.95, 0.82, 0.5])[:, None, None]
_LUMA = torch.tensor([0.299, 0.587, 0.114])[:, None, None]


def degrade(name: str, picture: Tensor, severity: float, generator: Generator) -> Tensor:
    """Damage a picture.

    Args:
        name: of `DEGRADATIONS`.
        picture: ``(3, H, W)``, values from 0 to 1.
        severity: 0 for none to 1.
        generator: source of places, directions and noise.

    Returns:
        The picture, of the same size and range.

    Raises:
        OptionError: if there is no such degradation; the message lists all.
        ValueError: if the severity is outside of 0 to 1.

    Example:
        >>> picture = torch.rand(3, 32, 32)
        >>> degrade("rain", picture, 0.7, torch.Generator().manual_seed(0)).shape
        torch.Size([3, 32, 32])
        >>> torch.equal(degrade("rain", picture, 0, torch.Generator()), picture)
        True
    """
    if name not in DEGRADATIONS:
        raise OptionError(f"there is no degradation {name!r}; there are {', '.join(DEGRADATIONS)}")
    severity = finite_number("severity", severity, at_least=0, at_most=1)
    return DEGRADATIONS[name](picture, severity, generator).clamp(0, 1) if severity else picture


def _water(x: Tensor, severity: float, generator: Generator) -> Tensor:
    """Stains with dark rims, paler and blurred inside."""
    field = _smooth_noise(x, 3, generator)
    level = field.quantile(1 - 0.6 * severity)
    inside = ((field - level) * 12).sigmoid()
    rim = torch.exp(-(((field - level) * 10) ** 2))
    washed = 0.6 * _gaussian_blur(x, 1.5 * severity) + 0.4 * _PAPER
    x = x + severity * 0.8 * inside * (washed - x)
    return x + severity * 0.6 * rim * (_TIDE * x - x)


def _rain(x: Tensor, severity: float, generator: Generator) -> Tensor:
    """Bright streaks in one direction, and a gray veil."""
    drops = (_uniform(x[:1], generator) < 0.03 * severity).float()
    angle = math.pi / 2 + 0.5 * (_number(generator) - 0.5)
    streaks = (_line_blur(drops, 9, angle) * 9).clamp(0, 1)
    veiled = x + 0.25 * severity * (0.7 - x)
    return veiled + 0.6 * streaks * (0.95 - veiled)


def _radial_blur(x: Tensor, severity: float, generator: Generator) -> Tensor:
    """Mean over zooms about a point near the center."""
    steps = 9
    center = 0.4 * (torch.rand(2, generator=generator) - 0.5)
    total = torch.zeros_like(x)
    for step in range(steps):
        zoom = 1 - 0.3 * severity * step / (steps - 1)
        theta = torch.cat([zoom * torch.eye(2), (1 - zoom) * center[:, None]], 1)[None]
        grid = F.affine_grid(theta, [1, *x.shape], align_corners=False)
        total += F.grid_sample(x[None], grid, padding_mode="border", align_corners=False)[0]
    return total / steps


def _pixelate(x: Tensor, severity: float, generator: Generator) -> Tensor:
    """Means of blocks of up to 6 pixels, blended in while blocks would be smaller than 2."""
    block = max(2, round(6 * severity))
    height, width = x.shape[1:]
    padded = F.pad(x[None], (0, -width % block, 0, -height % block), mode="replicate")
    blocks = F.avg_pool2d(padded, block).repeat_interleave(block, 2).repeat_interleave(block, 3)[0, :, :height, :width]
    return x + min(1.0, 3 * severity) * (blocks - x)


def _noise(x: Tensor, severity: float, generator: Generator) -> Tensor:
    """Pixels that turn black or white."""
    drawn = _uniform(x[:1], generator)
    x = torch.where(drawn < 0.1 * severity, 0.0, x)
    return torch.where(drawn > 1 - 0.1 * severity, 1.0, x)


def _gaussian_noise(x: Tensor, severity: float, generator: Generator) -> Tensor:
    return x + 0.2 * severity * torch.randn(x.shape, generator=generator)


def _motion_blur(x: Tensor, severity: float, generator: Generator) -> Tensor:
    return _line_blur(x, 1 + 10 * severity, math.pi * _number(generator))


def _blur(x: Tensor, severity: float, generator: Generator) -> Tensor:
    return _gaussian_blur(x, 2.5 * severity)


def _fade(x: Tensor, severity: float, generator: Generator) -> Tensor:
    """Colors that went pale, toward paper."""
    pale = x + 0.5 * severity * ((x * _LUMA).sum(0, keepdim=True) - x)
    return pale + 0.6 * severity * (_PAPER - pale)


def _dull(x: Tensor, severity: float, generator: Generator) -> Tensor:
    """Dark and yellow, as under old varnish."""
    gray = x + 0.4 * severity * ((x * _LUMA).sum(0, keepdim=True) - x)
    return gray ** (1 + 0.6 * severity) * (1 + severity * (0.8 * _VARNISH - 1))


def _scratches(x: Tensor, severity: float, generator: Generator) -> Tensor:
    """Straight scratches, bright or dark, one for every 300 pixels at most, over a quarter of the side on average."""
    height, width = x.shape[1:]
    rows, columns = torch.arange(height)[:, None] + 0.5, torch.arange(width) + 0.5
    x = x.clone()
    for _ in range(max(1, round(severity * height * width / 300))):
        top, left, direction, length, bright = torch.rand(5, generator=generator).tolist()
        down, across = math.sin(math.pi * direction), math.cos(math.pi * direction)
        off, along = rows - top * height, columns - left * width
        distance = (off * across - along * down).abs()
        within = (off * down + along * across).abs() < length * max(height, width) / 4
        weight = 0.9 * severity**0.5 * (1.2 - distance).clamp(0, 1) * within
        x = x + weight * ((0.95 if bright < 0.6 else 0.08) - x)
    return x


def _dark(x: Tensor, severity: float, generator: Generator) -> Tensor:
    """Little light, with the noise that comes with it."""
    exposed = x**2.2 * (1 - 0.95 * severity)
    noisy = exposed + 0.01 * severity * torch.randn(x.shape, generator=generator)
    return noisy.clamp(min=0) ** (1 / 2.2)


def _snow(x: Tensor, severity: float, generator: Generator) -> Tensor:
    """White flakes of two sizes, and a lift of brightness."""
    lifted = x + 0.3 * severity * (0.9 - x)
    for density, sigma, gain in ((0.03, 0.5, 2.0), (0.01, 1.0, 6.0)):
        flakes = (_uniform(x[:1], generator) < density * severity).float()
        lifted = lifted + (_gaussian_blur(flakes, sigma) * gain).clamp(0, 1) * (0.98 - lifted)
    return lifted


def _fog(x: Tensor, severity: float, generator: Generator) -> Tensor:
    """A white veil that thickens toward the top, where the distance is, with patches."""
    distance = torch.linspace(1, 0.4, x.shape[1])[:, None]
    veil = severity * (0.75 * distance + 0.2 * (_smooth_noise(x, 2, generator) - 0.5)).clamp(0, 1)
    return x + veil * (0.85 - x)


DEGRADATIONS: dict[str, Degradation] = {
    "water damage": _water,
    "rain": _rain,
    "radial blur": _radial_blur,
    "pixelate": _pixelate,
    "noise": _noise,
    "Gaussian noise": _gaussian_noise,
    "motion blur": _motion_blur,
    "blur": _blur,
    "fade": _fade,
    "dull": _dull,
    "scratches": _scratches,
    "dark": _dark,
    "snow": _snow,
    "fog": _fog,
}
"""By name. "noise" is that of single black and white pixels."""


def _number(generator: Generator) -> float:
    return float(torch.rand((), generator=generator))


def _uniform(x: Tensor, generator: Generator) -> Tensor:
    return torch.rand(x.shape, generator=generator)


def _smooth_noise(x: Tensor, cells: int, generator: Generator) -> Tensor:
    """Return a smooth random field ``(1, H, W)`` from 0 to 1 with about that many bumps along a side."""
    coarse = torch.rand(1, 1, cells + 1, cells + 1, generator=generator)
    fine = torch.rand(1, 1, 4 * cells + 1, 4 * cells + 1, generator=generator)
    coarse, fine = (F.interpolate(each, x.shape[1:], mode="bicubic", align_corners=True)[0] for each in (coarse, fine))
    field = coarse + 0.25 * fine
    return (field - field.min()) / (field.max() - field.min()).clamp(min=1e-6)


def _gaussian_blur(x: Tensor, sigma: float) -> Tensor:
    radius = max(1, math.ceil(3 * sigma))
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / max(sigma, 1e-3)) ** 2)
    taps = (taps / taps.sum())[None, None]
    padded = F.pad(x[:, None], (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, taps[..., None, :]), taps[..., None])[:, 0]


def _line_blur(x: Tensor, length: float, angle: float) -> Tensor:
    """Return the mean along a line of a length in pixels."""
    radius = math.ceil(length / 2)
    places = torch.arange(-radius, radius + 1).float()
    down, across = places[:, None] * math.sin(angle), places * math.cos(angle)
    along, off = down + across, (places[:, None] * math.cos(angle) - places * math.sin(angle)).abs()
    kernel = (1 - off).clamp(min=0) * (length / 2 + 0.5 - along.abs()).clamp(0, 1)
    kernel = (kernel / kernel.sum())[None, None]
    return F.conv2d(F.pad(x[:, None], (radius,) * 4, mode="replicate"), kernel)[:, 0]
