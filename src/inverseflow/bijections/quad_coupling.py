"""A coupling in several blocks of channels."""

import torch
from torch import Tensor

from inverseflow.bijections.base import Bijection, LogDet, TypedModuleList
from inverseflow.bijections.coupling import AffineCoupling
from inverseflow.nets.conditioner import Builder
from inverseflow.utils.arguments import whole_number


class QuadCoupling(Bijection):
    r"""Scale and shift every block of channels but the first by functions of the blocks before it.

    .. math:: z_1 = x_1, \qquad z_{j+1} = x_{j+1} \odot \exp(s_j(x_1, \dots, x_j)) + t_j(x_1, \dots, x_j), \qquad
        \log|\det| = \sum_j \sum s_j

    for n blocks of C / n channels. Each of the n - 1 networks sees blocks of the input, not of the output. Two blocks
    are an `AffineCoupling`, C are autoregressive over the channels. Each s is bounded as in `AffineCoupling`. The
    inverse finds one block after the other.

    Args:
        channels: number of channels C.
        build_net: builds the network of a block from the number of its input channels (all blocks before, then the
            context) and of its output channels (2 C / n: all raw scales, then all shifts); see `Coupling`.
        blocks: number of blocks n, at least 2; it divides the channels.
        context_channels: channels of the context, None for an unconditional layer.
        max_log_scale: the bound m on every s, positive and finite.

    Shape:
        x: ``(B, C, *spatial)``; z: the same; context: ``(B, K)`` or ``(B, K, *spatial)``.

    Raises:
        ValueError: if a network's output has another shape.

    Reference:
        Nagar et al., CInC Flow, 2021, https://arxiv.org/abs/2107.01358.

    Example:
        >>> from functools import partial
        >>> z, log_det = QuadCoupling(8, partial(ConvNet, width=16))(torch.randn(2, 8, 4, 4))
    """

    def __init__(
        self,
        channels: int,
        build_net: Builder,
        *,
        blocks: int = 4,
        context_channels: int | None = None,
        max_log_scale: float = 2.0,
    ) -> None:
        channels = whole_number("channels", channels, at_least=1)
        super().__init__(channels=channels, context_channels=context_channels)
        self.blocks = whole_number("blocks", blocks, at_least=2)
        if channels % self.blocks:
            raise ValueError(
                f"blocks must divide the {channels} channels, got {blocks}; squeeze the image first, or choose "
                "another number"
            )
        size = channels // self.blocks
        self.couplings: TypedModuleList[AffineCoupling] = TypedModuleList(
            AffineCoupling(
                seen + size,
                build_net,
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
