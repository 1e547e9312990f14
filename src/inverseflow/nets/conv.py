"""Convolutional conditioners."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inverseflow.utils.arguments import whole_number


class ZeroConv(nn.Module):
    r"""Same-padded convolution that starts at zero, with a learned output gain.

    .. math:: y_c = e^{3 g_c}\,(K * x + b)_c

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: side of the kernel, odd.
        spatial_axes: number of spatial axes, from 1 to 3.

    Shape:
        x: ``(B, in_channels, *spatial)``; y: ``(B, out_channels, *spatial)``.

    Reference:
        Kingma and Dhariwal, Glow, 2018, section 3.3, https://arxiv.org/abs/1807.03039.

    Example:
        >>> ZeroConv(2, 4)(torch.randn(1, 2, 5, 5)).abs().max().item()
        0.0
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3, *, spatial_axes: int = 2) -> None:
        super().__init__()
        self.kernel_size = whole_number("kernel_size", kernel_size, at_least=1)
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}; the output has the size of the input")
        self.in_channels = whole_number("in_channels", in_channels, at_least=1)
        self.out_channels = whole_number("out_channels", out_channels, at_least=1)
        # It draws weights only because it always has: a seed must go on giving the same flow.
        drawn = convolution(self.in_channels, self.out_channels, self.kernel_size, spatial_axes=spatial_axes)
        self.weight, self.bias = (nn.Parameter(torch.zeros_like(value)) for value in drawn.parameters())
        self.gain = nn.Parameter(torch.zeros(self.out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve and scale."""
        axes = self.weight.ndim - 2
        convolve = (F.conv1d, F.conv2d, F.conv3d)[axes - 1]
        y: Tensor = convolve(x, self.weight, self.bias, padding=self.kernel_size // 2)
        return y * (3 * self.gain).exp().view(-1, *[1] * axes)

    def extra_repr(self) -> str:
        """Show the channels and the sides of the kernel."""
        return f"{self.in_channels}, {self.out_channels}, kernel_size={tuple(self.weight.shape[2:])}"


ZeroConv2d = ZeroConv
"""Former name of `ZeroConv`."""


class ConvNet(nn.Sequential):
    r"""Conditioner of Glow: convolution of side 3, ReLU, pointwise convolution, ReLU, `ZeroConv` of side 3.

    Args:
        in_channels: channels of the input (in a coupling: the conditioning channels, then the context).
        out_channels: channels of the output (in an affine coupling: two for each transformed channel).
        width: hidden channels.
        spatial_axes: number of spatial axes, from 1 to 3.

    Shape:
        x: ``(B, in_channels, *spatial)``; y: ``(B, out_channels, *spatial)``.

    Reference:
        Kingma and Dhariwal, Glow, 2018, section 3.3, https://arxiv.org/abs/1807.03039.

    Example:
        >>> ConvNet(6, 12, width=32)(torch.randn(2, 6, 8, 8)).shape
        torch.Size([2, 12, 8, 8])
        >>> ConvNet(6, 12, width=32, spatial_axes=1)(torch.randn(2, 6, 100)).shape
        torch.Size([2, 12, 100])
    """

    def __init__(self, in_channels: int, out_channels: int, width: int, *, spatial_axes: int = 2) -> None:
        in_channels = whole_number("in_channels", in_channels, at_least=1)
        width = whole_number("width", width, at_least=1)
        super().__init__(
            convolution(in_channels, width, 3, spatial_axes=spatial_axes),
            nn.ReLU(),
            convolution(width, width, 1, spatial_axes=spatial_axes),
            nn.ReLU(),
            ZeroConv(width, out_channels, spatial_axes=spatial_axes),
        )
        self.spatial_axes = spatial_axes

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers with channels last in memory, which speeds up convolutions of few channels on a CPU."""
        check_axes(self, x, self.spatial_axes)
        x = x.movedim(1, -1).contiguous().movedim(-1, 1)  # torch.vmap has no memory formats
        for layer in self:
            x = layer(x)
        return x.contiguous()


def check_axes(net: nn.Module, x: Tensor, spatial_axes: int) -> None:
    """Raise unless x has the axes that a network is built for: torch would take a batch for one event of more axes."""
    if x.ndim != 2 + spatial_axes:
        raise ValueError(
            f"{type(net).__name__} is built with spatial_axes={spatial_axes}, got input of shape {tuple(x.shape)}; "
            f"build it with spatial_axes={x.ndim - 2}"
        )


def convolution(in_channels: int, out_channels: int, kernel_size: int, *, spatial_axes: int) -> nn.Module:
    """Build a same-padded convolution of an odd kernel over some number of spatial axes, from 1 to 3."""
    axes = whole_number("spatial_axes", spatial_axes, at_least=1, at_most=3)
    build = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
    return build(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
