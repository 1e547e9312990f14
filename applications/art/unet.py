"""A U-Net of couplings whose decoder is the inverse of its encoder, and a plain one."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from applications.models import Network
from inverseflow.bijections import Affine, Coupling, Halves, ReversibleCompose, WaveletSqueeze
from inverseflow.bijections.base import TypedModuleList
from inverseflow.nets import ZeroConv
from inverseflow.utils.arguments import one_of, whole_number

Kind = Literal["coupling", "plain"]
KINDS: tuple[Kind, ...] = ("coupling", "plain")
_MAX_LOG_SCALE = 0.5
_FREQUENCIES = 16


class Denoiser(Network):
    r"""Network that sees what a noisy picture adds to the damaged one, the damaged one and the time.

    The coupling U-Net maps h through couplings of channel halves, :math:`h_b \leftarrow h_b \odot e^{s(h_a, t)} +
    b(h_a, t)`, and a Haar transform on each level, whose details leave. Below the last level are an ordinary block and
    attention. The way up is the *inverse* of the way down, with the same weights; on each level the details that
    left, which take the place of skip connections, are changed by an ordinary block that also sees the coarse
    features. If all ordinary blocks are the identity, the body returns its input. Activations of the couplings are
    recomputed by inversion, so the memory of a training step does not grow with their number.

    The plain U-Net has `depth` residual blocks each way, convolutions of stride 2, skip connections that are
    concatenated, and the same block and attention below.

    Args:
        kind: ``"coupling"`` or ``"plain"``.
        width: channels of the features on each level; even.
        depth: pairs of couplings, or residual blocks each way, on each level.
        levels: how often the sides are halved.
        side: side of the pictures in training; others are multiples of :math:`2^{levels}`.

    Shape:
        x: ``(B, 6, H, W)``, what the noisy picture adds, and the damaged picture; context: time from 0 to 1,
        ``(B, 1)``, none for 0; y: ``(B, 3, H, W)``.

    Reference:
        Ours, after the idea of exchanging blocks of a U-Net for affine couplings; Ho et al., Denoising diffusion
        probabilistic models, 2020, https://arxiv.org/abs/2006.11239; Jacobsen et al., i-RevNet, 2018,
        https://arxiv.org/abs/1802.07088.

    Example:
        >>> model = Denoiser("coupling", width=8, depth=1, levels=2)
        >>> model(torch.rand(2, 6, 16, 24), torch.rand(2, 1)).shape
        torch.Size([2, 3, 16, 24])
    """

    def __init__(self, kind: Kind, *, width: int = 32, depth: int = 2, levels: int = 3, side: int = 32) -> None:
        super().__init__((6, side, side))
        self.kind = one_of("kind", kind, KINDS)
        width = whole_number("width", width, at_least=2)
        depth, levels = (whole_number(n, v, at_least=1) for n, v in (("depth", depth), ("levels", levels)))
        build = CouplingBody if kind == "coupling" else PlainBody
        self.time = nn.Sequential(nn.Linear(2 * _FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.stem = nn.Conv2d(6, width, 3, padding=1)
        self.body: CouplingBody | PlainBody = build(width, depth, levels)
        self.head = nn.Sequential(nn.SiLU(), _zero(nn.Conv2d(width, 3, 3, padding=1)))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return a picture for each pair of pictures and time."""
        context = x.new_zeros(len(x), 1) if context is None else context
        powers = math.pi * 2 ** torch.linspace(0, 8, _FREQUENCIES, dtype=x.dtype, device=x.device)
        waves = context.to(x.dtype) * powers
        time = self.time(torch.cat([waves.sin(), waves.cos()], 1))
        y: Tensor = self.head(self.body(self.stem(x), time))
        return y


class CouplingBody(nn.Module):
    """The body of the coupling U-Net: see `Denoiser`."""

    def __init__(self, width: int, depth: int, levels: int) -> None:
        super().__init__()
        self.width, self.haar = width, WaveletSqueeze()
        self.couplings: TypedModuleList[ReversibleCompose] = TypedModuleList(
            [_couplings(width, depth) for _ in range(levels)]
        )
        self.details: TypedModuleList[_Block] = TypedModuleList(
            [_Block(4 * width, 3 * width, width) for _ in range(levels)]
        )
        self.bottom = Bottom(width)

    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        """Transform features ``(B, width, H, W)``."""
        details = []
        for couplings in self.couplings:
            h, _ = couplings(h, time)
            h, detail = self.haar(h)[0].split([self.width, 3 * self.width], 1)
            details.append(detail)
        h = self.bottom(h, time)
        levels = list(zip(self.couplings, self.details, details, strict=True))
        for couplings, block, detail in reversed(levels):
            detail = detail + block(torch.cat([h, detail], 1), time)
            h, _ = self.haar.inverse(torch.cat([h, detail], 1))
            h, _ = couplings.inverse(h, time)
        return h


class PlainBody(nn.Module):
    """The body of the plain U-Net: see `Denoiser`."""

    def __init__(self, width: int, depth: int, levels: int) -> None:
        super().__init__()
        self.down, self.merge, self.up = (nn.ModuleList() for _ in range(3))
        for _ in range(levels):
            self.down.append(nn.ModuleList(_Block(width, width, width) for _ in range(depth)))
            self.up.append(nn.ModuleList(_Block(width, width, width) for _ in range(depth)))
            self.merge.append(nn.Conv2d(2 * width, width, 1))
        self.halve = nn.ModuleList(nn.Conv2d(width, width, 3, 2, 1) for _ in range(levels))
        self.bottom = Bottom(width)

    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        """Transform features ``(B, width, H, W)``."""
        skips = []
        for blocks, halve in zip(self.down, self.halve, strict=True):
            for block in blocks:  # type: ignore[attr-defined]
                h = h + block(h, time)
            skips.append(h)
            h = halve(h)
        h = self.bottom(h, time)
        for blocks, merge, skip in zip(self.up, self.merge, skips[::-1], strict=True):
            h = merge(torch.cat([F.interpolate(h, scale_factor=2.0), skip], 1))
            for block in blocks:  # type: ignore[attr-defined]
                h = h + block(h, time)
        return h


class Bottom(nn.Module):
    """A residual block and self-attention; the identity at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.block = _Block(width, width, width)
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 1, batch_first=True)
        _zero(self.attention.out_proj)

    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        """Transform features ``(B, width, H, W)``."""
        h = h + self.block(h, time)
        tokens = self.norm(h.flatten(2).transpose(1, 2))
        attended, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        y: Tensor = h + attended.transpose(1, 2).view_as(h)
        return y


class _Block(nn.Module):
    """Two convolutions with the time in between; zero at first."""

    def __init__(self, in_channels: int, out_channels: int, width: int) -> None:
        super().__init__()
        narrow = 1 if in_channels > width else 3
        self.first = nn.Conv2d(in_channels, width, narrow, padding=narrow // 2)
        self.time = nn.Linear(width, width)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.last = _zero(nn.Conv2d(width, out_channels, 1))

    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        inner = self.first(F.silu(h)) + self.time(time)[..., None, None]
        y: Tensor = self.last(F.silu(self.second(F.silu(inner))))
        return y


class _CouplingNet(nn.Module):
    """The network of a coupling: a convolution, the time, a convolution that starts at zero."""

    def __init__(self, in_channels: int, out_channels: int, *, width: int, context_channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(in_channels, width, 3, padding=1)
        self.time = nn.Linear(context_channels, width)
        self.last = ZeroConv(width, out_channels)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        y: Tensor = self.last(F.silu(self.first(x) + self.time(context)[..., None, None]))
        return y


def _couplings(width: int, depth: int) -> ReversibleCompose:
    def net(in_channels: int, out_channels: int, *, context_channels: int) -> nn.Module:
        return _CouplingNet(in_channels, out_channels, width=width // 2, context_channels=context_channels)

    return ReversibleCompose(
        *(
            Coupling(width, net, map=Affine(_MAX_LOG_SCALE), split=Halves(swap=swap), context_channels=width)
            for _ in range(depth)
            for swap in (False, True)
        )
    )


def _zero(layer: nn.Linear | nn.Conv2d) -> nn.Linear | nn.Conv2d:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
