"""Gated residual conditioner."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inverseflow.nets.resnet import ResNet, layer


class GatedResNet(ResNet):
    r"""`ResNet` whose blocks gate what they add, and normalize the channels of each place; the last layer is zero.

    .. math:: (a, b) = W_2\,\phi(W_1\,\phi(h) + W_c\,c), \qquad h \leftarrow \mathrm{norm}(h + a \odot \sigma(b))

    with :math:`\phi(h) = \mathrm{elu}([h, -h])`, a kernel of side 3 in :math:`W_1` and a pointwise :math:`W_2`. The
    blocks of Flow++ without its attention and dropout. Arguments, shapes and errors are those of `ResNet`.

    Reference:
        Ho et al., Flow++, 2019, section 3.3, https://arxiv.org/abs/1902.00275.

    Example:
        >>> net = GatedResNet(2, 4, width=16, context_channels=3)
        >>> net(torch.randn(5, 2, 8, 8), torch.randn(5, 3)).shape
        torch.Size([5, 4, 8, 8])
    """

    def _block(self, width: int, spatial_axes: int, context_channels: int | None) -> nn.Module:
        return _GatedBlock(width, spatial_axes, context_channels)


class _GatedBlock(nn.Module):
    def __init__(self, width: int, spatial_axes: int, context_channels: int | None) -> None:
        super().__init__()
        self.first = layer(2 * width, width, 3, spatial_axes)
        self.second = layer(2 * width, 2 * width, 1, spatial_axes)
        self.context = None if context_channels is None else layer(context_channels, width, 1, spatial_axes)
        self.norm = nn.LayerNorm(width)

    def forward(self, h: Tensor, context: Tensor | None) -> Tensor:
        inner = self.first(_concat_elu(h))
        if self.context is not None:
            inner = inner + self.context(context)
        change, gate = self.second(_concat_elu(inner)).chunk(2, 1)
        updated: Tensor = self.norm((h + change * gate.sigmoid()).movedim(1, -1)).movedim(-1, 1)
        return updated


def _concat_elu(h: Tensor) -> Tensor:
    return F.elu(torch.cat([h, -h], 1))
