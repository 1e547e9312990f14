"""The conditional invertible network that hides bits in the colors of a picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from applications.models import load, save
from inverseflow.bijections import ActNorm, Channels, Compose, Coupling, WaveletSqueeze
from inverseflow.bijections.base import Shape
from inverseflow.data import Batch
from inverseflow.densities import Density
from inverseflow.flows import Flow
from inverseflow.nets import ConvNet
from inverseflow.training import Loss
from inverseflow.utils.arguments import finite_number

BLOCK = 4
"""Side of the blocks of pixels that become the channels of the network: two levels of the Haar transform."""
CARRIERS = (6, 7, 14, 15, 22, 23, 30, 31)
"""Latents of a block that carry a bit each: the finest details along both axes of both colors."""
MARGIN = 0.5
"""Least size of a latent that carries a bit."""

_COLORS = 2
_BANDS = _COLORS * BLOCK**2
_OTHERS = tuple(band for band in range(_BANDS) if band not in CARRIERS)


def to_lightness(pixels: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return lightness and two colors of pixels, whole numbers that `to_pixels` returns to the pixels exactly.

    .. math:: o = R - B, \quad t = B + \lfloor o/2 \rfloor, \quad g = G - t, \quad Y = t + \lfloor g/2 \rfloor

    Args:
        pixels: whole numbers ``(*, 3, H, W)``.

    Returns:
        Lightness Y ``(*, 1, H, W)`` and colors (o, g) ``(*, 2, H, W)``.

    Reference:
        Malvar and Sullivan, YCoCg-R: A Color Space with RGB Reversibility and Low Dynamic Range, 2003,
        https://www.microsoft.com/en-us/research/publication/ycocg-r-a-color-space-with-rgb-reversibility-and-low-dynamic-range/.

    Example:
        >>> to_lightness(torch.tensor([200, 100, 51]).view(3, 1, 1))[0].item()
        112
    """
    red, green, blue = pixels.int().unbind(-3)
    orange = red - blue
    middle = blue + (orange >> 1)
    greenness = green - middle
    return (middle + (greenness >> 1)).unsqueeze(-3), torch.stack([orange, greenness], -3)


def to_pixels(lightness: Tensor, colors: Tensor) -> Tensor:
    """Return the pixels ``(*, 3, H, W)`` of `to_lightness`, which may lie outside of 0 to 255 if the colors changed."""
    orange, greenness = colors.int().unbind(-3)
    middle = lightness.int().squeeze(-3) - (greenness >> 1)
    blue = middle - (orange >> 1)
    return torch.stack([blue + orange, greenness + middle, blue], -3)


def signed(bits: Tensor, sizes: Tensor, margin: float = MARGIN) -> Tensor:
    r"""Return latents that carry bits: :math:`z = \pm\max(|\varepsilon|, m)`, positive for a bit of 1.

    With margin 0, uniform bits and normal ε, z is exactly normal: containers are then distributed like samples.

    Example:
        >>> signed(torch.tensor([True, False]), torch.tensor([-0.2, 3.0]))
        tensor([ 0.5000, -3.0000])
    """
    sizes = sizes.abs().clamp_min(margin)
    return torch.where(bits, sizes, -sizes)


class _Bands(nn.Module):
    """Two levels of Haar bands of lightness, ``(B, 1, H, W)`` to ``(B, 16, H/4, W/4)``."""

    def __init__(self) -> None:
        super().__init__()
        self.haar = Compose(WaveletSqueeze(), WaveletSqueeze())

    def forward(self, lightness: Tensor) -> Tensor:
        bands: Tensor = self.haar((lightness - 128) / 64)[0]
        return bands


class ColorFlow(Flow):
    r"""Map the colors of a picture, given its lightness L, to latents: :math:`z = f(c;\, \phi(L))`.

    φ(L) is the Haar bands of L. f is an affine coupling of the Haar bands of c, scaled: those that carry bits change,
    given the others and φ(L). So a bit changes one fine detail of a container, by a bounded multiple of its latent, and
    nothing else: with couplings that see other carriers too, signs that are turned at random move colors far away. All
    is convolutional, and pictures of any size divisible by 4 will do.

    Args:
        event_shape: shape ``(2, H, W)`` of the colors that it is trained with.
        width: hidden channels of the network.

    Shape:
        colors: ``(B, 2, H, W)``, in gray levels; lightness: ``(B, 1, H, W)``; z: ``(B, 32, H/4, W/4)``.

    Reference:
        Ren et al., Steg-cINN, 2022, https://arxiv.org/abs/2201.07444. There all latents are drawn, so the colors are
        new; here the latents of the cover are kept, and of some fine details the signs change. That, the margin and the
        map from bits to signs are ours.

    Example:
        >>> flow = ColorFlow((2, 8, 8), width=4)
        >>> z = flow.latents(torch.zeros(1, 2, 8, 8), torch.full((1, 1, 8, 8), 128.0))
        >>> z.shape
        torch.Size([1, 32, 2, 2])
    """

    def __init__(self, event_shape: Shape = (_COLORS, 32, 32), *, width: int = 32) -> None:
        net = partial(ConvNet, width=width)
        coupling = Coupling(_BANDS, net, split=Channels(_OTHERS), context_channels=BLOCK**2)
        bijection = Compose(WaveletSqueeze(), WaveletSqueeze(), ActNorm(_BANDS), coupling)
        lightness = (1, *event_shape[1:])
        bands = _Bands()
        super().__init__(bijection, event_shape, embedding=bands, context_shape=lightness)
        self.bands = bands

    def latents(self, colors: Tensor, lightness: Tensor) -> Tensor:
        """Return z of colors of any size."""
        z: Tensor = self.bijection(colors, self.bands(lightness))[0]
        return z

    def colors(self, z: Tensor, lightness: Tensor) -> Tensor:
        """Return the colors of z, the inverse of `latents`."""
        return self.bijection.inverse(z, self.bands(lightness))[0]

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return nats per element, and the loss and the errors of random bits after rounding, ``(B, 3)``.

        The loss of a bit is how much the latent that is read falls short of half the margin on the bit's side of 0,
        in margins.
        """
        features = self._embed(context, x)
        z, log_det = self.bijection(x, features)
        nats = -(self.base.log_prob(z.flatten(1)) + log_det) / self.dims
        bits = torch.rand_like(z[:, CARRIERS]) < 0.5
        hidden = z.detach().clone()
        hidden[:, CARRIERS] = signed(bits, hidden[:, CARRIERS])
        container, _ = self.bijection.inverse(hidden, features)
        arrived = container + (container.round() - container).detach()
        read = self.bijection(arrived, features)[0][:, CARRIERS]
        read = torch.where(bits, read, -read)
        loss, wrong = (0.5 - read / MARGIN).clamp_min(0), (read < 0).float()
        return torch.stack([nats, loss.mean((1, 2, 3)), wrong.mean((1, 2, 3))], 1)


@dataclass(frozen=True)
class BitLoss:
    """Minimize nats per element plus a weight times the loss of the bits after rounding.

    Args:
        weight: 0 for the density alone.
    """

    weight: float = 0.0

    def __post_init__(self) -> None:
        finite_number("weight", self.weight, at_least=0)

    def __call__(self, model: Density, batch: Batch, /) -> Loss:
        """Return the mean over a batch, and the share of bits that are read rightly."""
        nats, bits, wrong = model(batch.x, batch.context).mean(0)
        return Loss(nats + self.weight * bits, {"nats": nats, "bits": bits, "accuracy": 1 - wrong})


def save_colors(flow: ColorFlow, path: Path) -> None:
    """Write the weights in half precision as a safetensors file."""
    save(flow, path, torch.float16)


def load_colors(path: Path) -> ColorFlow:
    """Read what `save_colors` wrote.

    Raises:
        DataError: if the file is missing, or holds something else.
    """
    flow = ColorFlow()
    load(flow, path, "the command train-message")
    return flow.eval()


def shipped_colors() -> ColorFlow:
    """Return the trained network of this folder."""
    return load_colors(Path(__file__).with_name("message.safetensors"))
