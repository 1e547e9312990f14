"""Residual conditioner."""

from torch import Tensor, nn

from inverseflow.nets.conditioner import spread
from inverseflow.nets.conv import ZeroConv, check_axes, convolution
from inverseflow.utils.arguments import whole_number


class ResNet(nn.Module):
    r"""Residual network over any number of axes, whose every block sees the context; the last layer starts at zero.

    .. math:: h \leftarrow h + W_2\,\phi(W_1\,\phi(h) + W_c\,c)

    with φ = ReLU, kernels of side 3, and a pointwise map of the context c. Without spatial axes the layers are
    fully connected.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        width: hidden channels.
        depth: number of residual blocks; at least 1 with a context, which nothing else sees.
        spatial_axes: number of spatial axes, from 0 to 3.
        context_channels: channels of the context, None for none.

    Shape:
        x: ``(B, in_channels, *spatial)``; context: ``(B, K)`` or ``(B, K, *spatial)``;
        y: ``(B, out_channels, *spatial)``.

    Reference:
        He et al., Identity Mappings in Deep Residual Networks, 2016, https://arxiv.org/abs/1603.05027.

    Example:
        >>> net = ResNet(2, 4, width=16, context_channels=3)
        >>> net(torch.randn(5, 2, 8, 8), torch.randn(5, 3)).shape
        torch.Size([5, 4, 8, 8])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        width: int,
        depth: int = 2,
        *,
        spatial_axes: int = 2,
        context_channels: int | None = None,
    ) -> None:
        super().__init__()
        in_channels = whole_number("in_channels", in_channels, at_least=1)
        out_channels = whole_number("out_channels", out_channels, at_least=1)
        width = whole_number("width", width, at_least=1)
        depth = whole_number("depth", depth, at_least=0 if context_channels is None else 1)
        axes = whole_number("spatial_axes", spatial_axes, at_least=0, at_most=3)
        if context_channels is not None:
            context_channels = whole_number("context_channels", context_channels, at_least=1)
        self.context_channels = context_channels
        self.spatial_axes = axes
        self.first = layer(in_channels, width, 3, axes)
        self.blocks = nn.ModuleList(self._block(width, axes, context_channels) for _ in range(depth))
        self.activation = nn.ReLU()
        self.last = ZeroConv(width, out_channels, spatial_axes=axes) if axes else nn.Linear(width, out_channels)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the prediction for an input and the context, which there must be if the network is built for one."""
        if (context is None) != (self.context_channels is None):
            got = "none" if context is None else f"one of shape {tuple(context.shape)}"
            name = type(self).__name__
            raise ValueError(f"this {name} is built with context_channels={self.context_channels}, got {got}")
        check_axes(self, x, self.spatial_axes)
        h = self.first(x)
        context = None if context is None else spread(context, h)
        for block in self.blocks:
            h = block(h, context)
        y: Tensor = self.last(self.activation(h))
        return y

    def _block(self, width: int, spatial_axes: int, context_channels: int | None) -> nn.Module:
        return _Block(width, spatial_axes, context_channels)


class _Block(nn.Module):
    def __init__(self, width: int, spatial_axes: int, context_channels: int | None) -> None:
        super().__init__()
        self.first, self.second = (layer(width, width, 3, spatial_axes) for _ in range(2))
        self.context = None if context_channels is None else layer(context_channels, width, 1, spatial_axes)
        self.activation = nn.ReLU()

    def forward(self, h: Tensor, context: Tensor | None) -> Tensor:
        inner = self.first(self.activation(h))
        if self.context is not None:
            inner = inner + self.context(context)
        updated: Tensor = h + self.second(self.activation(inner))
        return updated


def layer(in_channels: int, out_channels: int, kernel_size: int, spatial_axes: int) -> nn.Module:
    """Build a same-padded convolution, or a linear layer where there are no spatial axes."""
    if spatial_axes == 0:
        return nn.Linear(in_channels, out_channels)
    return convolution(in_channels, out_channels, kernel_size, spatial_axes=spatial_axes)
