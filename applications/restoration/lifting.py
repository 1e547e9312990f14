"""Denoising by learned lifting steps on a wavelet frame: LINN and WINNet."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from applications.models import Network
from inverseflow.bijections import Compose, TwoBranch
from inverseflow.bijections.base import TypedModuleList
from inverseflow.bijections.maps import Additive
from inverseflow.data import Batch
from inverseflow.densities import Density
from inverseflow.errors import OptionError
from inverseflow.training import Loss
from inverseflow.utils.arguments import finite_number, whole_number

STRONGEST = 55 / 255
"""Largest deviation of the noise in training, for values from 0 to 1."""
_FINEST = (1 / 255) ** 2
"""Squared error below which training gains nothing."""


def soft_threshold(d: Tensor, threshold: Tensor | float) -> Tensor:
    r"""Return :math:`S_\tau(d) = \operatorname{sign}(d) \max(|d| - \tau, 0)`, the proximal map of :math:`\tau |d|`.

    Example:
        >>> soft_threshold(torch.tensor([-3.0, -1.0, 0.5, 2.0]), 1.0)
        tensor([-2.,  0.,  0.,  1.])
    """
    threshold = torch.as_tensor(threshold).to(d)
    return (d - threshold).relu() - (-d - threshold).relu()


class Shrink(nn.Module):
    """Soft thresholds of each channel that grow with the deviation of the noise.

    Args:
        channels: number of channels.
        threshold: of the start, in deviations of the noise.

    Shape:
        d: ``(B, channels, H, W)``; sigma: ``(B, 1)``.
    """

    def __init__(self, channels: int, threshold: float = 1.0) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.full((channels,), math.log(math.expm1(threshold))))

    def forward(self, d: Tensor, sigma: Tensor) -> Tensor:
        """Shrink."""
        return soft_threshold(d, (F.softplus(self.raw) * sigma)[..., None, None])


class DctFrame(nn.Module):
    r"""All orthonormal cosine filters of side k, two pixels apart: a tight frame, of which the first band is coarse.

    .. math:: W^\top W = (k/2)^2 I

    Side 2 is the orthonormal Haar transform, side 4 is redundant by a factor of four. White noise has the same
    deviation in every band as in the picture. Edges are extended by their pixels, and a size that is odd by one pixel
    more.

    Args:
        side: side k of the filters, even.

    Example:
        >>> frame, picture = DctFrame(4), torch.rand(1, 1, 7, 10)
        >>> bands = frame(picture)
        >>> bands.shape, torch.allclose(frame.inverse(bands, (7, 10)), picture, atol=1e-5)
        (torch.Size([1, 16, 5, 6]), True)
    """

    def __init__(self, side: int = 4) -> None:
        super().__init__()
        self.side = whole_number("side", side, at_least=2)
        if side % 2:
            raise OptionError(f"side must be even, got {side}")
        places = (torch.arange(side, dtype=torch.float64) + 0.5) * math.pi / side
        waves = torch.cos(torch.arange(side)[:, None] * places) * math.sqrt(2 / side)
        waves[0] /= math.sqrt(2)
        filters = (waves[:, None, :, None] * waves[None, :, None, :]).flatten(0, 1)[:, None]
        self.filters = filters
        """Float64, so that the frame is as exact as the pictures."""

    @property
    def bands(self) -> int:
        """Number of bands."""
        return self.side**2

    def forward(self, x: Tensor) -> Tensor:
        """Return the bands ``(B, k², H', W')`` of pictures ``(B, 1, H, W)``."""
        margin = self.side - 2
        height, width = x.shape[-2:]
        x = F.pad(x, (margin, margin + width % 2, margin, margin + height % 2), mode="replicate")
        return F.conv2d(x, self.filters.to(x), stride=2)

    def inverse(self, bands: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the pictures ``(B, 1, *size)`` with these bands, or the nearest ones if there are none."""
        margin = self.side - 2
        x = F.conv_transpose2d(bands, self.filters.to(bands), stride=2) / (self.side / 2) ** 2
        return x[..., margin : margin + size[0], margin : margin + size[1]]


class _Predictor(nn.Module):
    """Convolutions with soft thresholds in between, as the predictors and updaters of lifting steps; zero at first."""

    def __init__(self, in_channels: int, out_channels: int, context_channels: int = 1, *, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.shrink = Shrink(width, 0.5)
        self.last = nn.Conv2d(width, out_channels, 3, padding=1, bias=False)
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        y: Tensor = self.last(self.shrink(self.first(x), context))
        return y


class SparseDenoiser(nn.Module):
    r"""Detail as a sparse sum of learned filters, found by steps of iterative soft thresholding.

    .. math:: a \leftarrow S_{\tau_k \sigma}\bigl(a + A (d - B a)\bigr), \qquad \hat d = B a

    Convolutions A and B are the same in all steps and free of each other; thresholds differ. It starts as a soft
    threshold of each band.

    Args:
        bands: number of bands.
        filters: number of filters, at least as many.
        iterations: number of steps.
    """

    def __init__(self, bands: int, filters: int, iterations: int) -> None:
        super().__init__()
        self.analyze = nn.Conv2d(bands, filters, 3, padding=1, bias=False)
        self.synthesize = nn.Conv2d(filters, bands, 3, padding=1, bias=False)
        with torch.no_grad():
            self.analyze.weight *= 0.3
            self.analyze.weight[:bands] = 0
            self.analyze.weight[range(bands), range(bands), 1, 1] = 1
            self.synthesize.weight.copy_(self.analyze.weight.transpose(0, 1).flip(-1, -2))
        self.shrinks = nn.ModuleList(Shrink(filters) for _ in range(iterations))

    def forward(self, d: Tensor, sigma: Tensor) -> Tensor:
        """Return the denoised detail."""
        codes = torch.zeros(())
        for number, shrink in enumerate(self.shrinks):
            codes = shrink(codes + self.analyze(d - self.synthesize(codes)) if number else self.analyze(d), sigma)
        cleaned: Tensor = self.synthesize(codes)
        return cleaned


class _Scale(nn.Module):
    def __init__(self, bands: int, steps: int, width: int, filters: int, iterations: int) -> None:
        super().__init__()
        build = partial(_Predictor, width=width)
        self.lifting = Compose(
            *(
                TwoBranch(bands, build, num_first=1, map=Additive(), swap=True, context_channels=1)
                for _ in range(steps)
            ),
        )
        self.denoiser = SparseDenoiser(bands - 1, filters, iterations) if filters else Shrink(bands - 1)


class LiftingDenoiser(Network):
    r"""Denoise a channel by lifting steps, thresholds of the detail, and the inverse of the steps: LINN, WINNet.

    A frame splits the picture into a coarse channel c and details d. Lifting steps predict d from c and update c; the
    detail is denoised, c is split again by the next scale, and all steps are undone, exactly, whatever was learned:

    .. math:: d \leftarrow d + P_m(c), \qquad c \leftarrow c + U_m(d)

    All thresholds are multiples of the deviation σ of the noise, so one network serves every σ. It is our
    reconstruction: the published WINNet has more layers, a penalty for orthogonal filters and a network that estimates
    σ; we take `estimate_sigma`.

    Args:
        size: side of the patches in training; pictures may have any size.
        scales: number of scales.
        side: side of the filters of `DctFrame`: 2 for the orthonormal Haar transform (LINN).
        steps: lifting steps of a scale.
        width: hidden channels of P and U.
        filters: filters of `SparseDenoiser`; 0 for soft thresholds of the bands alone.
        iterations: steps of `SparseDenoiser`.

    Shape:
        x: ``(B, 1, H, W)``; context: σ ``(B, 1)``.

    Reference:
        Huang and Dragotti, LINN: Lifting inspired invertible neural network for image denoising, 2021,
        https://doi.org/10.23919/EUSIPCO54536.2021.9615931, and WINNet: Wavelet-inspired invertible network for image
        denoising, 2022, section III, https://doi.org/10.1109/TIP.2022.3184845.

    Example:
        >>> model, noisy = LiftingDenoiser(32, filters=24), torch.rand(2, 1, 31, 50)
        >>> model(noisy, torch.full((2, 1), 0.1)).shape
        torch.Size([2, 1, 31, 50])
        >>> sigma = torch.full((2, 1), 0.1)
        >>> torch.allclose(model.transform_back(*model.transform(noisy, sigma), sigma), noisy, atol=1e-5)
        True
    """

    def __init__(
        self,
        size: int = 40,
        *,
        scales: int = 3,
        side: int = 4,
        steps: int = 2,
        width: int = 8,
        filters: int = 32,
        iterations: int = 2,
    ) -> None:
        super().__init__((1, size, size))
        self.frame = DctFrame(side)
        self.scales: TypedModuleList[_Scale] = TypedModuleList(
            [
                _Scale(self.frame.bands, steps, width, filters, iterations)
                for _ in range(whole_number("scales", scales, at_least=1))
            ]
        )

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the denoised pictures for deviations σ ``(B, 1)`` of the noise."""
        sigma = x.new_zeros(len(x), 1) if context is None else context
        coarse, details, sizes = self.transform(x, sigma)
        cleaned = [scale.denoiser(detail, sigma) for scale, detail in zip(self.scales, details, strict=True)]
        return self.transform_back(coarse, cleaned, sizes, sigma)

    def transform(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, list[Tensor], list[tuple[int, int]]]:
        """Return the coarsest channel, the details of all scales, finest first, and the sizes that were split."""
        details, sizes = [], []
        for scale in self.scales:
            sizes.append((x.shape[-2], x.shape[-1]))
            bands, _ = scale.lifting(self.frame(x), sigma)
            x = bands[:, :1]
            details.append(bands[:, 1:])
        return x, details, sizes

    def transform_back(
        self, coarse: Tensor, details: list[Tensor], sizes: list[tuple[int, int]], sigma: Tensor
    ) -> Tensor:
        """Undo `transform`: exactly, for details that it returned."""
        for scale, detail, size in reversed(list(zip(self.scales, details, sizes, strict=True))):
            bands, _ = scale.lifting.inverse(torch.cat([coarse, detail], 1), sigma)
            coarse = self.frame.inverse(bands, size)
        return coarse


class DecibelLoss:
    r"""Minimize the mean of :math:`10 \log_{10}` of the squared error that remains of Gaussian noise.

    Each patch gets noise of its own deviation, uniform between 0 and `strongest`. Decibels weigh all of them alike.

    Args:
        strongest: largest deviation of the noise.
    """

    def __init__(self, strongest: float = STRONGEST) -> None:
        self.strongest = finite_number("strongest", strongest, above=0)

    def __call__(self, model: Density, batch: Batch, /) -> Loss:
        """Return the mean over a batch."""
        sigma = self.strongest * torch.rand(len(batch), 1, dtype=batch.x.dtype, device=batch.x.device)
        noisy = batch.x + sigma[..., None, None] * torch.randn_like(batch.x)
        error = (model(noisy, sigma) - batch.x).square().mean((1, 2, 3))
        decibel = 10 * (error + _FINEST).log10().mean()
        return Loss(decibel, {"decibel": decibel})
