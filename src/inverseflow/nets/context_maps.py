"""Maps of a context over an image."""

import torch
from torch import Tensor, nn

from inverseflow.utils.arguments import whole_number, whole_shape

_GAIN = 20.0  # Adam moves a weight by about the learning rate in a step: so the maps follow in tens of steps


class ContextMaps(nn.Module):
    r"""Append maps to a context: numbers in (-1, 1) that depend on the context and on the place, and start at zero.

    .. math:: m_e(p) = \tanh\big(20 \sum_k W_{e k}(p)\, c_k\big)

    A context vector alone is the same everywhere. The maps of a label are learned pictures of its class.

    Args:
        context_channels: channels K of the context.
        maps: number of maps E.
        size: the spatial shape of the maps.

    Shape:
        context: ``(B, K)``, or ``(B, K, *spatial)`` with multiples of `size`, which is averaged; output:
        ``(B, K + E, *size)``.

    Example:
        >>> ContextMaps(10, 4, (7, 7))(torch.eye(10)).shape
        torch.Size([10, 14, 7, 7])
    """

    def __init__(self, context_channels: int, maps: int, size: tuple[int, ...]) -> None:
        super().__init__()
        context_channels = whole_number("context_channels", context_channels, at_least=1)
        self.size = whole_shape("size", size)
        self.weight = nn.Parameter(torch.zeros(whole_number("maps", maps, at_least=1), context_channels, *self.size))

    def forward(self, context: Tensor) -> Tensor:
        """Append the maps of a context."""
        if context.ndim == 2:
            context = context.reshape(*context.shape, *[1] * len(self.size))
        else:
            for axis, size in enumerate(self.size, start=2):
                context = context.unflatten(axis, (size, -1)).mean(axis + 1)
        context = context.to(self.weight.dtype)
        maps = (_GAIN * torch.einsum("bk...,ek...->be...", context, self.weight)).tanh()
        return torch.cat([context.expand(-1, -1, *self.size), maps], dim=1)

    def extra_repr(self) -> str:
        """Show the channels, the number of maps and their size."""
        maps, channels = self.weight.shape[:2]
        return f"{channels}, {maps}, size={self.size}"
