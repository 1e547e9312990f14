"""What scikit-image offers for deconvolution, and how estimates are compared."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from inverseflow.data._packages import packages_for

Method = Callable[[Tensor], Tensor]
"""From a blurred picture ``(H, W)`` to its estimate."""

PADDING = 24
"""Pixels by which every method's picture is continued, as its mirror image, and its estimate cut."""


def restored(method: Method, blurred: Tensor) -> Tensor:
    """Continue a blurred picture beyond its edges, estimate, cut to what was there, and clip to the grey levels.

    Args:
        method: from blurred to estimate.
        blurred: ``(H, W)``.

    Example:
        >>> restored(lambda blurred: 2 * blurred, torch.full((32, 40), 0.3)).unique()
        tensor([0.6000])
    """
    padded = F.pad(blurred[None, None], (PADDING,) * 4, mode="reflect")[0, 0]
    return method(padded)[PADDING:-PADDING, PADDING:-PADDING].clamp(0, 1)


def psnr(estimate: Tensor, truth: Tensor) -> float:
    """Return the peak signal-to-noise ratio in dB, of grey levels between 0 and 1.

    Example:
        >>> round(psnr(torch.full((8, 8), 0.6), torch.full((8, 8), 0.5)), 3)
        20.0
    """
    with packages_for("the experiment deblurring"):
        from skimage.metrics import peak_signal_noise_ratio
    return float(peak_signal_noise_ratio(truth.numpy(), estimate.numpy(), data_range=1))


def ssim(estimate: Tensor, truth: Tensor) -> float:
    """Return the structural similarity, of grey levels between 0 and 1.

    Example:
        >>> picture = torch.rand(16, 16)
        >>> ssim(picture, picture)
        1.0
    """
    with packages_for("the experiment deblurring"):
        from skimage.metrics import structural_similarity
    return float(structural_similarity(truth.double().numpy(), estimate.double().numpy(), data_range=1))


def wiener(psf: Tensor, balance: float, blurred: Tensor) -> Tensor:
    """Return the estimate of ``skimage.restoration.wiener``.

    Args:
        psf: point spread function.
        balance: between fidelity and smoothness.
        blurred: ``(H, W)``.
    """
    with packages_for("the experiment deblurring"):
        from skimage import restoration
    return torch.from_numpy(restoration.wiener(blurred.double().numpy(), psf.double().numpy(), balance)).float()


def unsupervised(psf: Tensor, blurred: Tensor) -> Tensor:
    """Return the estimate of ``skimage.restoration.unsupervised_wiener``, which draws from a seeded generator.

    Args:
        psf: point spread function.
        blurred: ``(H, W)``.
    """
    with packages_for("the experiment deblurring"):
        from skimage import restoration
    estimate, _ = restoration.unsupervised_wiener(blurred.double().numpy(), psf.double().numpy(), rng=0)
    return torch.from_numpy(estimate).float()


def richardson_lucy(psf: Tensor, iterations: int, blurred: Tensor) -> Tensor:
    """Return the estimate of ``skimage.restoration.richardson_lucy``, with what is negative by noise set to zero.

    Args:
        psf: point spread function.
        iterations: how many.
        blurred: ``(H, W)``.
    """
    with packages_for("the experiment deblurring"):
        from skimage import restoration
    positive = blurred.clamp(min=0).double().numpy()
    return torch.from_numpy(restoration.richardson_lucy(positive, psf.double().numpy(), iterations)).float()
