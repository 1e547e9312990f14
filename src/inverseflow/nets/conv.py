"""Convolutional conditioners."""

import torch
from torch import Tensor, nn

from inverseflow.utils.arguments import whole_number


class ZeroConv2d(nn.Conv2d):
    r"""Same-padded k×k convolution that starts at zero, with a learned output gain.

    .. math:: y_c = e^{3 g_c}\,(K * x + b)_c

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: side of the kernel, odd.

    Shape:
        x: ``(B, in_channels, H, W)``; y: ``(B, out_channels, H, W)``.

    Reference:
        Kingma and Dhariwal, Glow, 2018, section 3.3, https://arxiv.org/abs/1807.03039.

    Example:
        >>> ZeroConv2d(2, 4)(torch.randn(1, 2, 5, 5)).abs().max().item()
        0.0
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3) -> None:
        kernel_size = whole_number("kernel_size", kernel_size, at_least=1)
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}; the output has the size of the input")
        in_channels = whole_number("in_channels", in_channels, at_least=1)
        out_channels = whole_number("out_channels", out_channels, at_least=1)
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
        self.gain = nn.Parameter(torch.zeros(out_channels))
        nn.init.zeros_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve and scale."""
        return super().forward(x) * (3 * self.gain).exp().view(-1, 1, 1)


class ConvNet(nn.Sequential):
    r"""Conditioner of Glow: 3×3 convolution, ReLU, 1×1 convolution, ReLU, zero-initialized 3×3 convolution.

    Args:
        in_channels: channels of the input (in a coupling: the conditioning channels, then the context).
        out_channels: channels of the output (in an affine coupling: two for each transformed channel).
        width: hidden channels.

    Shape:
        x: ``(B, in_channels, H, W)``; y: ``(B, out_channels, H, W)``.

    Reference:
        Kingma and Dhariwal, Glow, 2018, section 3.3, https://arxiv.org/abs/1807.03039.

    Example:
        >>> ConvNet(6, 12, width=32)(torch.randn(2, 6, 8, 8)).shape
        torch.Size([2, 12, 8, 8])
    """

    def __init__(self, in_channels: int, out_channels: int, width: int) -> None:
        in_channels = whole_number("in_channels", in_channels, at_least=1)
        width = whole_number("width", width, at_least=1)
        super().__init__(
            nn.Conv2d(in_channels, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 1),
            nn.ReLU(),
            ZeroConv2d(width, out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers with channels last in memory, which speeds up convolutions of few channels on a CPU."""
        x = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)  # torch.vmap has no memory formats
        for layer in self:
            x = layer(x)
        return x.contiguous()
