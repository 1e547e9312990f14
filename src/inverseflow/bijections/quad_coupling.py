"""A coupling in several blocks of channels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from inverseflow.bijections.base import Bijection, LogDet
from inverseflow.bijections.coupling import AffineCoupling
from inverseflow.bijections.module_list import TypedModuleList


class QuadCoupling(Bijection):
    r"""Scale and shift every block of channels but the first by what a network says of the blocks before it.

    .. math:: z_1 = x_1, \qquad z_{j+1} = x_{j+1} \odot \exp(s_j(x_1, \dots, x_j)) + t_j(x_1, \dots, x_j), \qquad
        \log|\det| = \sum_j \sum s_j

    for n blocks of C / n channels, each of the n - 1 networks seeing blocks as they came, not as they leave. Four
    blocks are a quad-coupling, two are an `AffineCoupling`, C are autoregressive over the channels. Each s is bounded
    as there. The inverse finds one block after the other, evaluating each network once as well. With networks that
    start at zero, like `ConvNet`, the layer starts at the identity.

    Args:
        channels: number of channels C, a multiple of `blocks`.
        build_net: builds the network of a block, given its input channels (all blocks before, then the context) and
            its output channels (2 C / n: all raw scales, then all shifts).
        blocks: number of blocks n, at least 2.
        context_channels: channels of the context, None for an unconditional layer.
        max_log_scale: the bound m on every s.

    Shape:
        x: ``(B, C, *spatial)``; z: the same; context: ``(B, K)`` or ``(B, K, *spatial)``.

    Raises:
        ValueError: the blocks do not divide the channels, or a network's output does not have the channels asked for.

    Reference:
        Nagar et al., CInC Flow, 2021, where quad-coupling is introduced: there with (x + t) · sigmoid(raw scale + 2).

    Example:
        >>> from functools import partial
        >>> layer = QuadCoupling(8, partial(ConvNet, width=16))
        >>> x = torch.randn(2, 8, 4, 4)
        >>> z, log_det = layer(x)
        >>> torch.allclose(layer.inverse(z)[0], x)
        True
    """

    def __init__(
        self,
        channels: int,
        build_net: Callable[[int, int], nn.Module],
        *,
        blocks: int = 4,
        context_channels: int | None = None,
        max_log_scale: float = 2.0,
    ) -> None:
        super().__init__(channels=channels, context_channels=context_channels)
        if blocks < 2:
            raise ValueError(f"a coupling has at least 2 blocks, one that is kept and one that changes, got {blocks}")
        if channels % blocks:
            raise ValueError(
                f"{channels} channels do not split into {blocks} equal blocks: "
                f"squeeze the image first, or choose another number of blocks"
            )
        self.blocks = blocks
        size = channels // blocks
        self.couplings: TypedModuleList[AffineCoupling] = TypedModuleList(
            AffineCoupling(
                seen + size,
                build_net(seen + (context_channels or 0), 2 * size),
                num_conditioning=seen,
                context_channels=context_channels,
                max_log_scale=max_log_scale,
            )
            for seen in range(size, channels, size)
        )

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        blocks = [x[:, : x.shape[1] // self.blocks]]
        total: LogDet = 0.0
        for coupling in self.couplings:
            z, log_det = coupling(x[:, : coupling.channels], context)
            blocks.append(z[:, coupling.num_conditioning :])
            total = total + log_det
        return torch.cat(blocks, dim=1), total

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        x = z[:, : z.shape[1] // self.blocks]
        total: LogDet = 0.0
        for coupling in self.couplings:
            block = z[:, coupling.num_conditioning : coupling.channels]
            x, log_det = coupling.inverse(torch.cat([x, block], dim=1), context)
            total = total + log_det
        return x, total

    def extra_repr(self) -> str:
        """Show the channels and the blocks."""
        return f"channels={self.channels}, blocks={self.blocks}"
