"""Denoising by an invertible network that replaces the detail: InvDN."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from applications.models import Network
from applications.restoration.lifting import STRONGEST
from inverseflow.bijections import Bijection, Compose, TwoBranch, WaveletSqueeze
from inverseflow.data import Batch
from inverseflow.densities import Density
from inverseflow.nets import ConvNet
from inverseflow.training import Loss
from inverseflow.utils.arguments import whole_number

_GRAY = 0.5
_DETAIL = 0.1


class InvDN(Network):
    r"""Denoise a channel by a bijection to a small clean picture and a rest, of which the rest is drawn anew.

    .. math:: (u, z) = f(y), \qquad \hat x = f^{-1}(u, \tilde z), \qquad \tilde z \sim N(0, I)

    f is a Haar squeeze and K two-branch couplings for each scale, in which the coarsest band and all others change in
    turn. Training makes u the clean picture, reduced in size. So all that f knows about the detail must be in u, and z
    is noise that is thrown away. Nothing forces z to be normal: it is no likelihood. Without training u is the mean of
    blocks of pixels.

    Args:
        size: side of the patches in training; pictures may have any size.
        scales: number of scales; u has a side 2^scales times smaller.
        blocks: number of couplings K for each scale.
        width: hidden channels of the networks.

    Shape:
        x: ``(B, 1, H, W)``; context: deviations σ of the noise ``(B, 1)``.

    Reference:
        Liu et al., Invertible denoising network: a light solution for real noise removal, 2021, section 3,
        https://arxiv.org/abs/2104.10546, for noise of cameras and without σ; smaller here.

    Example:
        >>> model, noisy, sigma = InvDN(16, blocks=1), torch.rand(2, 1, 13, 18), torch.full((2, 1), 0.1)
        >>> small, z = model.part(noisy, sigma)
        >>> small.shape, z.shape, model.join(small, z, sigma).shape
        (torch.Size([2, 1, 4, 5]), torch.Size([2, 15, 4, 5]), torch.Size([2, 1, 16, 20]))
        >>> model(noisy, sigma).shape
        torch.Size([2, 1, 13, 18])
    """

    def __init__(self, size: int = 40, *, scales: int = 2, blocks: int = 4, width: int = 24) -> None:
        super().__init__((1, size, size))
        self.scales = whole_number("scales", scales, at_least=1)
        build = partial(ConvNet, width=width)
        layers: list[Bijection] = []
        for scale in range(1, 1 + self.scales):
            layers.append(WaveletSqueeze())
            layers += [TwoBranch(4**scale, build, num_first=1, context_channels=1) for _ in range(blocks)]
        self.bijection = Compose(*layers)

    def forward(self, x: Tensor, context: Tensor | None = None, *, draws: int = 16) -> Tensor:
        """Return the mean over draws of z̃, which come from one seed: the same picture gives the same result."""
        sigma = x.new_zeros(len(x), 1) if context is None else context
        small, z = self.part(x, sigma)
        generator = torch.Generator(x.device).manual_seed(0)
        total = torch.zeros_like(x)
        for _ in range(draws):
            drawn = torch.randn(z.shape, generator=generator, dtype=z.dtype, device=z.device)
            total = total + self.join(small, drawn, sigma)[..., : x.shape[-2], : x.shape[-1]]
        return total / draws

    def part(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return u and z of pictures, whose sides are extended to multiples of 2^scales by their last pixels."""
        side = 2**self.scales
        x = F.pad(x, (0, -x.shape[-1] % side, 0, -x.shape[-2] % side), mode="replicate")
        bands, _ = self.bijection(x - _GRAY, sigma / STRONGEST)
        return bands[:, :1] / side + _GRAY, bands[:, 1:] / _DETAIL

    def join(self, small: Tensor, z: Tensor, sigma: Tensor) -> Tensor:
        """Undo `part`, except for the extension."""
        bands = torch.cat([(small - _GRAY) * 2**self.scales, z * _DETAIL], 1)
        x, _ = self.bijection.inverse(bands, sigma / STRONGEST)
        return x + _GRAY


class InvDNLoss:
    r"""Minimize the error of the small picture and that of the result, with white noise of uniform deviation.

    .. math:: \frac1N \bigl(16 \, \|u - {\downarrow} x\|^2 + \|\hat x - x\|_1\bigr)

    for N pixels, with :math:`{\downarrow} x` the clean picture reduced by bicubic interpolation.
    """

    def __call__(self, model: Density, batch: Batch, /) -> Loss:
        """Return the mean over a batch, and the error of the result in dB."""
        assert isinstance(model, InvDN)
        x = batch.x
        sigma = STRONGEST * torch.rand(len(batch), 1, dtype=x.dtype, device=x.device)
        small, z = model.part(x + sigma[..., None, None] * torch.randn_like(x), sigma)
        reduced = F.interpolate(x, scale_factor=0.5**model.scales, mode="bicubic", antialias=True)
        restored = model.join(small, torch.randn_like(z), sigma)
        total = 16 * (small - reduced).square().mean() / 4**model.scales + (restored - x).abs().mean()
        return Loss(total, {"decibel": 10 * (restored - x).square().mean().log10()})
