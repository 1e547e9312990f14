"""Deconvolution methods of scikit-image, and measures of quality."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from skimage import restoration
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor, nn

Method = Callable[[Tensor], Tensor]
"""Maps a blurred image ``(H, W)`` to an estimate."""

PADDING = 24
"""Pixels by which every method's input is extended by reflection and its estimate cropped."""

_LAPLACE = ((0.0, -1.0, 0.0), (-1.0, 4.0, -1.0), (0.0, -1.0, 0.0))


def restored(method: Method, blurred: Tensor) -> Tensor:
    """Extend a blurred image by reflection, estimate, crop to the original size, and clip to [0, 1].

    Args:
        method: the method.
        blurred: ``(H, W)``.

    Example:
        >>> restored(lambda blurred: 2 * blurred, torch.full((32, 40), 0.3)).unique()
        tensor([0.6000])
    """
    padded = F.pad(blurred[None, None], (PADDING,) * 4, mode="reflect")[0, 0]
    return method(padded)[PADDING:-PADDING, PADDING:-PADDING].clamp(0, 1)


def psnr(estimate: Tensor, truth: Tensor) -> float:
    """Return the peak signal-to-noise ratio in dB of images in [0, 1].

    Example:
        >>> round(psnr(torch.full((8, 8), 0.6), torch.full((8, 8), 0.5)), 3)
        20.0
    """
    return float(peak_signal_noise_ratio(truth.numpy(), estimate.numpy(), data_range=1))


def ssim(estimate: Tensor, truth: Tensor) -> float:
    """Return the structural similarity of images in [0, 1].

    Example:
        >>> picture = torch.rand(16, 16)
        >>> ssim(picture, picture)
        1.0
    """
    return float(structural_similarity(truth.double().numpy(), estimate.double().numpy(), data_range=1))


def endless(picture: Tensor) -> Tensor:
    """Return an image with its mirror images, twice as high and wide, which repeats without jumps.

    A filter by FFT treats its input as periodic, and jumps cause ringing.

    Args:
        picture: ``(..., H, W)``.

    Example:
        >>> endless(torch.tensor([[1, 2]]))
        tensor([[1, 2, 2, 1],
                [1, 2, 2, 1]])
    """
    picture = torch.cat([picture, picture.flip(-2)], -2)
    return torch.cat([picture, picture.flip(-1)], -1)


def _beginning(estimate: NDArray[np.float64], blurred: Tensor) -> Tensor:
    """Return the part of an endless image that is the image itself."""
    height, width = blurred.shape
    return torch.from_numpy(estimate[:height, :width].copy()).float()


def wiener(psf: Tensor, balance: float, blurred: Tensor) -> Tensor:
    """Return the estimate of ``skimage.restoration.wiener``, from the image and its mirror images.

    Args:
        psf: point spread function.
        balance: weight of smoothness relative to fidelity.
        blurred: ``(H, W)``.
    """
    estimate = restoration.wiener(endless(blurred).double().numpy(), psf.double().numpy(), balance)
    return _beginning(estimate, blurred)


def unsupervised(psf: Tensor, blurred: Tensor) -> Tensor:
    """Return the estimate of ``skimage.restoration.unsupervised_wiener``, from the image and its mirror images.

    Its generator is seeded.

    Args:
        psf: point spread function.
        blurred: ``(H, W)``.
    """
    estimate, _ = restoration.unsupervised_wiener(endless(blurred).double().numpy(), psf.double().numpy(), rng=0)
    return _beginning(estimate, blurred)


def richardson_lucy(psf: Tensor, iterations: int, blurred: Tensor) -> Tensor:
    """Return the estimate of ``skimage.restoration.richardson_lucy``, with negative pixels set to zero.

    Args:
        psf: point spread function.
        iterations: number of iterations.
        blurred: ``(H, W)``.
    """
    positive = blurred.clamp(min=0).double().numpy()
    return torch.from_numpy(restoration.richardson_lucy(positive, psf.double().numpy(), iterations)).float()


class WienerFilters(nn.Module):
    r"""A bank of the filters of ``skimage.restoration.wiener``, for batches and without parameters.

    .. math:: \hat x_k = (|B|^2 + \lambda_k |\Delta|^2)^{-1} B^\top y

    B is the known blur, λ the balance and Δ the Laplace operator. The FFT acts on the image with its mirror images.
    These have no jumps at the edges, so a sharp filter does not ring there.

    Args:
        psf: point spread function B with odd sides.
        balances: λ for each filter of the bank; larger values smooth more.

    Shape:
        y: ``(B, 1, H, W)``; x̂: ``(B, K, H, W)``.

    Example:
        >>> psf = torch.zeros(15, 15)
        >>> psf[7, 7] = 1
        >>> y = torch.rand(2, 1, 8, 8)
        >>> sharp, smooth = WienerFilters(psf, balances=(0.0, 1.0))(y).unbind(1)
        >>> torch.allclose(sharp, y[:, 0], atol=1e-6), bool(smooth.std() < y.std())
        (True, True)
    """

    psf: Tensor
    balances: Tensor
    laplace: Tensor

    def __init__(self, psf: Tensor, balances: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("psf", psf)
        self.register_buffer("balances", psf.new_tensor(balances)[:, None, None])
        self.register_buffer("laplace", psf.new_tensor(_LAPLACE))

    def forward(self, y: Tensor) -> Tensor:
        """Return the estimates of all filters."""
        height, width = y.shape[-2:]
        size = (2 * height, 2 * width)
        blur = torch.fft.rfft2(self.psf, s=size)
        penalty = torch.fft.rfft2(self.laplace, s=size).abs().square()
        filters = blur.conj() / (blur.abs().square() + self.balances * penalty)
        x: Tensor = torch.fft.irfft2(filters * torch.fft.rfft2(endless(y)), s=size)
        x = x.roll([side // 2 for side in self.psf.shape], (-2, -1))  # the FFT put the origin of psf into its corner
        return x[..., :height, :width]
