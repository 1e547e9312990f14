"""Deblurring with a known kernel: exact steps toward the data, and the denoiser as the prior."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from applications.pictures import LEVELS, read_picture
from applications.restoration.lifting import LiftingDenoiser
from applications.restoration.models import denoise
from applications.restoration.noise import estimate_sigma
from experiments.deblurring.baselines import endless
from inverseflow.errors import DataError
from inverseflow.utils.arguments import finite_number, whole_number

ROUNDING = 1 / (math.sqrt(12) * LEVELS)
"""Deviation of rounding to 8 bits, the least noise of a picture."""
_FIRST = 49 / LEVELS
_WEIGHT = 0.23


def gaussian_kernel(deviation: float) -> Tensor:
    """Return a Gaussian blur kernel, of sum 1 and cut at four deviations.

    Args:
        deviation: in pixels.

    Example:
        >>> kernel = gaussian_kernel(1.6)
        >>> kernel.shape, round(float(kernel.sum()), 6)
        (torch.Size([15, 15]), 1.0)
    """
    deviation = finite_number("deviation", deviation, above=0)
    radius = math.ceil(4 * deviation)
    weights = (-0.5 * (torch.arange(-radius, radius + 1) / deviation).square()).exp()
    weights = weights / weights.sum()
    return weights[:, None] * weights


def read_kernel(path: Path) -> Tensor:
    """Read a blur kernel from a picture and scale it to sum 1.

    Args:
        path: of a gray picture with odd sides, in which the brightness of a pixel is its weight.

    Returns:
        The weights, ``(height, width)``.

    Raises:
        DataError: if the file is missing or no picture, has an even side, or is black.
    """
    kernel = read_picture(path, channels=1)[0]
    height, width = kernel.shape
    if height % 2 == 0 or width % 2 == 0:
        raise DataError(f"the kernel {path} must have odd sides, so that it has a middle, got {width}×{height} pixels")
    if not kernel.any():
        raise DataError(f"the kernel {path} is black: at least one pixel must have a weight")
    return kernel / kernel.sum()


class DataStep:
    r"""The point nearest to a picture, up to a weight, that explains a blurred one.

    .. math:: \arg\min_v \|k * v - y\|^2 + \alpha \|v - x\|^2
        = F^{-1} \frac{\overline{F k} \cdot F y + \alpha F x}{|F k|^2 + \alpha}

    Beyond their edges the pictures are mirrored, so that the Fourier transform F finds no jumps.

    Args:
        blurred: the picture y, ``(C, H, W)``.
        kernel: the kernel k with odd sides.

    Example:
        >>> y = torch.rand(1, 5, 6)
        >>> torch.allclose(DataStep(y, torch.ones(1, 1))(torch.zeros(1, 5, 6), 1.0), y / 2)
        True
    """

    def __init__(self, blurred: Tensor, kernel: Tensor) -> None:
        height, width = (2 * side for side in blurred.shape[1:])
        rows, columns = ((torch.arange(side) - side // 2) for side in kernel.shape)
        placed = blurred.new_zeros(height, width)
        placed.index_put_((rows[:, None] % height, columns % width), kernel.to(blurred), accumulate=True)
        self._response = torch.fft.rfft2(placed)
        self._explained = self._response.conj() * torch.fft.rfft2(endless(blurred))

    def __call__(self, x: Tensor, weight: float) -> Tensor:
        """Return v for a picture x and the weight α."""
        height, width = x.shape[1:]
        spectrum = self._explained + weight * torch.fft.rfft2(endless(x))
        spectrum = spectrum / (self._response.abs().square() + weight)
        v: Tensor = torch.fft.irfft2(spectrum, s=(2 * height, 2 * width))
        return v[:, :height, :width]


@torch.no_grad()
def deblur(
    model: LiftingDenoiser, picture: Tensor, kernel: Tensor, sigma: float | None = None, *, steps: int = 8
) -> Tensor:
    r"""Deblur a gray or color picture of any size, by half-quadratic splitting with a denoiser D as the prior.

    .. math::
        v_j = \arg\min_v \|k * v - y\|^2 + \alpha_j \|v - x_{j-1}\|^2, \qquad x_j = D(v_j, \sigma_j), \qquad
        \alpha_j = 0.23\, \sigma^2 / \sigma_j^2

    from :math:`x_0 = y`, with :math:`\sigma_j` in equal ratios from 49 gray levels of 255 down to σ. The denoiser is
    that of `denoise`, trained on noise alone: any kernel will do.

    Args:
        model: the trained denoiser.
        picture: the blurred picture y, ``(1, H, W)`` or ``(3, H, W)``, values from 0 to 1.
        kernel: the kernel k, of sum 1 and odd sides.
        sigma: deviation σ of the noise in the same unit; None to estimate it. At least that of rounding is taken.
        steps: number of steps.

    Returns:
        The picture, of the same shape.

    Reference:
        Zhang et al., Plug-and-play image restoration with deep denoiser prior, 2021, algorithm 1,
        https://arxiv.org/abs/2008.13751, with their constants and our denoiser.
    """
    sigma = estimate_sigma(picture) if sigma is None else finite_number("sigma", sigma, at_least=0)
    sigma = max(sigma, ROUNDING)
    data_step, x = DataStep(picture, kernel), picture
    count = whole_number("steps", steps, at_least=1)
    for level in torch.logspace(math.log10(max(_FIRST, sigma)), math.log10(sigma), count).tolist():
        x = denoise(model, data_step(x, _WEIGHT * (sigma / level) ** 2), level)
    return x
