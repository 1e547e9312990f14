"""Convolution with the masks of PixelCNN."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import Self

from inverseflow.utils.arguments import whole_number, whole_numbers


class MaskedConv(nn.Module):
    r"""Same-padded convolution whose output at a pixel depends only on pixels before it, and on its own earlier colors.

    Pixels are ordered row by row, and the colors of a pixel after one another: channel number n belongs to color n mod
    `colors`. So the masks are those of MADE for the degree (pixel, color): a weight is zero unless the degree of its
    output is at least that of its input, or above it if the layer is strict. Taps that are zero for every channel are
    not stored, and the masks are not saved.

    Args:
        in_channels: channels of the input, a multiple of `colors`.
        out_channels: channels of the output, a multiple of `colors`.
        kernel_size: side of the kernel, odd; or its size along each spatial axis: ``(1, 5)`` looks along a row only.
        colors: number of colors of a pixel.
        strict: True for mask A, which also excludes the own color, in the layer that sees the image; False for mask B,
            in all others.
        spatial_axes: number of spatial axes, from 1 to 3.
        bias: whether a learned bias is added.

    Shape:
        x: ``(B, in_channels, *spatial)``; y: ``(B, out_channels, *spatial)``.

    Raises:
        ValueError: if a number of channels is no multiple of `colors`, or a size of the kernel is even.

    Reference:
        van den Oord et al., Pixel Recurrent Neural Networks, 2016, section 3.4, https://arxiv.org/abs/1601.06759.

    Example:
        >>> layer = MaskedConv(1, 1, 3, strict=True, bias=False)
        >>> layer.masked()[0, 0].sign().abs()  # the row above, and the pixel to the left
        tensor([[1., 1., 1.],
                [1., 0., 0.]], grad_fn=<AbsBackward0>)
        >>> layer(torch.randn(2, 1, 8, 8)).shape
        torch.Size([2, 1, 8, 8])
    """

    mask: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        *,
        colors: int = 1,
        strict: bool = False,
        spatial_axes: int = 2,
        bias: bool = True,
    ) -> None:
        super().__init__()
        axes = whole_number("spatial_axes", spatial_axes, at_least=1, at_most=3)
        sizes = (
            whole_numbers("kernel_size", kernel_size) if isinstance(kernel_size, Sequence) else (kernel_size,) * axes
        )
        self.kernel_size = tuple(odd_size("kernel_size", size) for size in sizes)
        if len(self.kernel_size) != axes:
            raise ValueError(f"kernel_size must have a size for each of the {axes} spatial axes, got {kernel_size}")
        self.colors = whole_number("colors", colors, at_least=1)
        self.in_channels = divisible_by_colors("in_channels", in_channels, self.colors)
        self.out_channels = divisible_by_colors("out_channels", out_channels, self.colors)
        self.strict = strict

        # Along the first axis with more than one tap, no tap lies behind the own pixel.
        stored, ahead = list(self.kernel_size), [size // 2 for size in self.kernel_size]
        first = next((axis for axis, size in enumerate(self.kernel_size) if size > 1), 0)
        stored[first], ahead[first] = self.kernel_size[first] // 2 + 1, 0
        self._padding = [
            side for size, after in zip(self.kernel_size[::-1], ahead[::-1], strict=True) for side in (size // 2, after)
        ]
        self.weight = nn.Parameter(torch.empty(self.out_channels, self.in_channels, *stored))
        self.register_buffer("mask", self._derive_mask(), persistent=False)
        bound = max(1.0, self._support().float().flatten(1).sum(1).mean().item()) ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        self.bias = nn.Parameter(torch.empty(self.out_channels).uniform_(-bound, bound)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Convolve with the masked weight."""
        convolve = (F.conv1d, F.conv2d, F.conv3d)[self.weight.ndim - 3]
        y: Tensor = convolve(F.pad(x, self._padding), self.masked(), self.bias)
        return y

    def masked(self) -> Tensor:
        """Return the weight with zeros, ``(out_channels, in_channels, *taps)``."""
        return self.weight * self.mask

    def extra_repr(self) -> str:
        """Show the channels, the kernel and the kind of mask."""
        kind = f"kernel_size={self.kernel_size}, colors={self.colors}, strict={self.strict}"
        return f"{self.in_channels}, {self.out_channels}, {kind}"

    def _derive_mask(self) -> Tensor:
        return self._support().to(self.weight)

    def _support(self) -> Tensor:
        """Return which weights are not masked, on the CPU wherever the layer lives."""
        offsets = torch.zeros((), dtype=torch.long, device="cpu")  # by how much a tap lies before the pixel
        for taps, size in zip(self.weight.shape[2:], self.kernel_size, strict=True):
            offsets = offsets[..., None] * size + torch.arange(taps, device="cpu") - size // 2
        source, target = (torch.arange(n, device="cpu") % self.colors for n in (self.in_channels, self.out_channels))
        own = target[:, None] > source if self.strict else target[:, None] >= source
        return torch.where(offsets == 0, own[(...,) + (None,) * offsets.ndim], offsets < 0)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.mask = self._derive_mask()  # `to_empty` leaves anything in it
        return self


def divisible_by_colors(name: str, channels: int, colors: int) -> int:
    """Return a number of channels that can be shared out between the colors.

    Raises:
        ValueError: if it is no multiple of the number of colors.
    """
    channels = whole_number(name, channels, at_least=1)
    if channels % colors:
        raise ValueError(f"{name} must be a multiple of the {colors} colors of a pixel, got {channels}")
    return channels


def odd_size(name: str, size: int) -> int:
    """Return the side of a kernel that has a middle.

    Raises:
        ValueError: if it is even.
    """
    size = whole_number(name, size, at_least=1)
    if size % 2 == 0:
        raise ValueError(f"{name} must be odd, got {size}; the output has the size of the input")
    return size
