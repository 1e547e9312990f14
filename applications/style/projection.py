"""The flow that turns pictures into features and back."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor, nn
from torch.nn import functional as F

from inverseflow.bijections import ActNorm, AdditiveCoupling, Bijection, Compose, Householder, WaveletSqueeze
from inverseflow.errors import DataError
from inverseflow.nets import ZeroConv
from inverseflow.utils.files import atomic_write

FACTOR = 4
"""The sides of a picture are multiples of it."""
MODEL = Path(__file__).parent / "model.safetensors"


def projection_flow(steps: tuple[int, ...] = (4, 6), widths: tuple[int, ...] = (16, 32)) -> Bijection:
    """Return a flow of two scales from pictures ``(B, 3, H, W)`` to features ``(B, 48, H/4, W/4)``.

    Each scale is a Haar transform and steps of a reflection of the channels and an additive coupling, whose network
    sees the features at half the size too. It starts as an orthonormal map.

    Args:
        steps: couplings of each scale.
        widths: hidden channels of the networks of each scale.

    Reference:
        An et al., ArtFlow, 2021, section 3.2, https://arxiv.org/abs/2103.16877; their networks see one size.

    Example:
        >>> projection_flow()(torch.rand(1, 3, 8, 12))[0].shape
        torch.Size([1, 48, 2, 3])
    """
    layers: list[Bijection] = []
    channels = 3
    for count, width in zip(steps, widths, strict=True):
        channels *= 4
        layers += [WaveletSqueeze(), ActNorm(channels)]
        for number in range(count):
            net = partial(TwoSizes, width=width)
            layers += [
                Householder(channels, reflections=min(channels, 8)),
                AdditiveCoupling(channels, net, swap=number % 2 == 1),
            ]
    return Compose(*layers)


class TwoSizes(nn.Module):
    """A network of convolutions at the size of its input and at half of it; it starts at zero.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        width: hidden channels, twice as many at half the size.

    Shape:
        x: ``(B, in_channels, H, W)``; output: ``(B, out_channels, H, W)``.
    """

    def __init__(self, in_channels: int, out_channels: int, width: int) -> None:
        super().__init__()
        convolution = partial(nn.Conv2d, kernel_size=3, padding=1, padding_mode="replicate")
        self.first = convolution(in_channels, width)
        self.coarse = nn.Sequential(
            convolution(width, 2 * width, stride=2),
            nn.ReLU(),
            convolution(2 * width, 2 * width),
            nn.ReLU(),
            nn.Conv2d(2 * width, width, 1),
        )
        self.last = ZeroConv(width, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of both sizes, through a last convolution."""
        h = F.relu(self.first(x))
        coarse = F.interpolate(self.coarse(h), h.shape[2:], mode="bilinear", align_corners=False)
        y: Tensor = self.last(F.relu(h + coarse))
        return y


def save_projection(flow: Bijection, path: Path) -> None:
    """Write the weights of a flow in half precision."""
    weights = {name: value.half() if value.is_floating_point() else value for name, value in flow.state_dict().items()}
    with atomic_write(path) as temporary:
        safetensors.torch.save_file(weights, temporary)


def load_projection(path: Path = MODEL) -> Bijection:
    """Return the flow whose weights a file holds.

    Raises:
        DataError: if the file is missing, or holds other weights.
    """
    flow = projection_flow()
    try:
        weights = safetensors.torch.load_file(path)
        flow.load_state_dict({name: value.to(flow.state_dict()[name].dtype) for name, value in weights.items()})
    except (OSError, safetensors.SafetensorError, KeyError, RuntimeError) as error:
        raise DataError(f"{path} is missing or holds no model of this application: {error!r}") from error
    return flow.eval().requires_grad_(False)


def encode(flow: Bijection, picture: Tensor) -> Tensor:
    """Return the features ``(48, H/4, W/4)`` of a picture ``(3, H, W)``, whose sides are multiples of 4."""
    z: Tensor = flow(picture[None])[0]
    return z[0]


def decode(flow: Bijection, z: Tensor) -> Tensor:
    """Return the picture of features; values can lie outside of 0 to 1."""
    picture, _ = flow.inverse(z[None])
    return picture[0]


def filled(picture: Tensor) -> Tensor:
    """Return a picture with sides that are multiples of 4: the last row and column are repeated.

    Example:
        >>> filled(torch.zeros(3, 6, 9)).shape
        torch.Size([3, 8, 12])
    """
    height, width = picture.shape[1:]
    padded: Tensor = F.pad(picture[None], (0, -width % FACTOR, 0, -height % FACTOR), mode="replicate")
    return padded[0]
