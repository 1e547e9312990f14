"""Deconvolution by products of inverse convolutions from the four corners."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.deblurring.blurred import NOISE
from inverseflow.bijections import InverseConv2d
from inverseflow.errors import NonFiniteError
from inverseflow.ops import CORNERS

BOUND = 0.98
"""Bound on the sum of absolute taps of every factor, so that no product grows with the image size."""
GRID = 128
"""Side of the frequency grid for the initialization of taps."""

_START_BELOW = 0.97  # fraction of the bound, where gradients of the taps do not vanish yet


class FourCorners(nn.Module):
    r"""A bank of linear filters, each the product of inverse convolutions from the four corners.

    .. math:: \hat x_k = g_k \prod_{r} \prod_{c} a_{krc} A_{krc}^{-1} B^\top y

    B is the known blur, r counts the rounds and c the corners. The factor a is the sum of all taps of A, so only g
    determines the response to a constant image. The best linear filter is :math:`(|B|^2 + \sigma^2 / S)^{-1} B^\top`,
    where S is the power spectrum of images and σ the noise. The inverted part is positive. The Fourier series of its
    logarithm splits into four quarter-planes, so it is a product of four quarter-plane filters, one for each corner.
    The taps start at these filters, truncated to `kernel_size`, and are then learned. The mean of an image is
    subtracted before and added afterwards.

    Args:
        psf: point spread function B, ``(15, 15)``.
        spectrum: S on ``(128, 128)`` frequencies in the order of `torch.fft.fft2`.
        scales: factors of S, one for each filter of the bank; smaller values smooth more.
        kernel_size: side of every kernel.
        rounds: number of passes through the four corners.

    Shape:
        y: ``(B, 1, H, W)``; x̂: ``(B, K, H, W)``.

    Reference:
        Dudgeon and Mersereau, Multidimensional Digital Signal Processing, 1984, section 5.4, for the factorization.

    Example:
        >>> psf = torch.zeros(15, 15)
        >>> psf[7, 7] = 1
        >>> filters = FourCorners(psf, torch.ones(128, 128), scales=(1.0,), kernel_size=3, rounds=1)
        >>> y = torch.rand(2, 1, 8, 8)  # without blur and almost without noise
        >>> torch.allclose(filters(y), y, atol=1e-3)
        True
    """

    psf: Tensor

    def __init__(
        self, psf: Tensor, spectrum: Tensor, scales: Sequence[float], *, kernel_size: int, rounds: int
    ) -> None:
        super().__init__()
        self.register_buffer("psf", psf)
        count = len(scales)
        self.inverses = nn.ModuleList(
            InverseConv2d(count, kernel_size, corner=corner, max_row_sum=BOUND, groups=count)
            for _ in range(rounds)
            for corner in CORNERS
        )
        self.log_gain = nn.Parameter(torch.zeros(count))
        response = torch.fft.fft2(_centered(psf.double())).abs().square()
        for index, scale in enumerate(scales):
            regularized = response + NOISE**2 / (scale * spectrum.double())
            factors, _ = corner_factors(regularized, kernel_size, rounds)
            for convolution, factor in zip(self._convolutions(), [*factors] * rounds, strict=True):
                convolution.taps.data[index, 0] = _before_bound(factor)
            self.log_gain.data[index] = -regularized[0, 0].log()

    def forward(self, y: Tensor) -> Tensor:
        """Return the estimates of all filters."""
        mean = y.mean((-2, -1), keepdim=True)
        x = F.conv2d(y - mean, self.psf[None, None], padding="same")  # the transpose of the blur
        x = x.repeat(1, len(self.log_gain), 1, 1)
        gain = self.log_gain.exp()
        for convolution in self._convolutions():
            x, _ = convolution(x)
            gain = gain * (1 + (convolution.kernel() * convolution.tap_mask).sum((1, 2, 3)))
        return x * gain[:, None, None] + mean

    def _convolutions(self) -> list[InverseConv2d]:
        return [inverse for inverse in self.inverses if isinstance(inverse, InverseConv2d)]


def corner_factors(spectrum: Tensor, kernel_size: int, rounds: int = 1) -> tuple[Tensor, float]:
    r"""Factor a positive spectrum into quarter-plane filters, one for each corner.

    .. math:: \log D = \log d + \sum_c L_c, \qquad A_c = \exp(L_c / \mathrm{rounds}), \qquad
        D = d \prod_c A_c^{\mathrm{rounds}}

    where :math:`L_c` is the quarter of the Fourier series of log D towards corner c. Each axis is split equally between
    its neighbors.

    Args:
        spectrum: D, ``(G, G)``, positive and symmetric.
        kernel_size: side to which the factors are truncated.
        rounds: number of equal factors for each corner.

    Returns:
        Kernels of `causal_conv2d` in the order of `CORNERS`, ``(4, k, k)``, whose last tap is 1; and log d.

    Example:
        >>> factors, log_mean = corner_factors(torch.full((8, 8), 2.0), kernel_size=2)
        >>> factors[0], round(log_mean, 3)
        (tensor([[0., 0.],
                 [0., 1.]]), 0.693)
    """
    half = spectrum.shape[0] // 2
    series = torch.fft.ifft2(spectrum.log()).real
    factors = []
    for columns_backwards in (False, True):
        quarter = torch.zeros_like(series)
        directed = series.flip(1).roll(1, 1) if columns_backwards else series
        quarter[:half, :half] = directed[:half, :half]
        quarter[0] /= 2
        quarter[:, 0] /= 2
        quarter[0, 0] = 0
        response = torch.fft.ifft2((torch.fft.fft2(quarter) / rounds).exp()).real
        factors.append(response[:kernel_size, :kernel_size].flip(0, 1))
    falling, rising = factors
    return torch.stack([falling, rising, rising, falling]), float(series[0, 0])


def power_spectrum(pictures: Sequence[Tensor]) -> Tensor:
    """Return the mean power spectrum of all 128×128 patches of images, ``(128, 128)`` in float64.

    Args:
        pictures: images ``(H, W)``, each at least 128 high and wide.

    Example:
        >>> white = torch.randn(512, 512, generator=torch.Generator().manual_seed(0))
        >>> round(power_spectrum([white]).mean().item(), 1)
        1.0
    """
    window = torch.hann_window(GRID, dtype=torch.float64)
    window = window[:, None] * window / window.square().mean()
    powers = []
    for picture in pictures:
        tiles = picture.double().unfold(0, GRID, GRID // 2).unfold(1, GRID, GRID // 2).flatten(0, 1)
        tiles = (tiles - tiles.mean((1, 2), keepdim=True)) * window
        powers.append(torch.fft.fft2(tiles).abs().square() / GRID**2)
    mean = torch.cat(powers).mean(0)
    mean[0, 0] = mean[0, 1]  # the mean was subtracted
    return mean


def learn(
    model: nn.Module,
    draw: Callable[[], tuple[Tensor, Tensor]],
    *,
    steps: int,
    learning_rate: float,
    margin: int,
) -> None:
    """Train a model to estimate the true image with the least mean squared error.

    Args:
        model: maps blurred images to estimates.
        draw: returns a batch of blurred and true patches.
        steps: number of batches.
        learning_rate: initial learning rate, which falls to zero along a cosine.
        margin: pixels along each edge that do not count, because pixels beyond the edge are missing there.

    Raises:
        NonFiniteError: if the error is not finite.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        blurred, truth = draw()
        inside = (model(blurred) - truth)[..., margin:-margin, margin:-margin]
        loss = 100 * inside.square().mean()
        if not loss.isfinite():
            raise NonFiniteError(f"the error of step {step} is {float(loss.detach())}; choose a lower learning rate")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def _centered(psf: Tensor) -> Tensor:
    whole = psf.new_zeros(GRID, GRID)
    whole[: psf.shape[0], : psf.shape[1]] = psf
    return whole.roll((-(psf.shape[0] // 2), -(psf.shape[1] // 2)), (0, 1))


def _before_bound(kernel: Tensor) -> Tensor:
    """Return the parameters from which `InverseConv2d` computes these taps, shrunk if they exceed its bound."""
    taps = kernel.clone()
    taps[-1, -1] = 0
    total = float(taps.abs().sum())
    taps = taps * min(1.0, _START_BELOW * BOUND / max(total, 1e-12))
    return taps * BOUND / (BOUND - taps.abs().sum())
