"""Activation normalisation and its data-dependent initialisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from inverseflow.bijections.base import Bijection, LogDet, per_channel, pixels


class ActNorm(Bijection):
    r"""Per-channel affine layer that `initialize_from_data` sets to whiten its first batch; the identity before.

    .. math:: z = (x + b) \odot \exp(s), \qquad \log|\det| = HW \sum_c s_c

    Args:
        channels: number of channels C.

    Shape:
        x: ``(B, C, *spatial)``; z: the same.

    Reference:
        Kingma & Dhariwal, Glow, 2018, section 3.1.

    Example:
        >>> layer = ActNorm(3)
        >>> x = 5 + 2 * torch.randn(64, 3, 8, 8)
        >>> initialize_from_data(layer, x)
        >>> layer(x)[0].std().item()
        1.0
    """

    initialized: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__(channels=channels)
        self.bias = nn.Parameter(torch.zeros(channels))
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.register_buffer("initialized", torch.tensor(False))

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        z = (x + per_channel(self.bias, x)) * per_channel(self.log_scale.exp(), x)
        return z, pixels(x) * self.log_scale.sum()

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        x = z * per_channel((-self.log_scale).exp(), z) - per_channel(self.bias, z)
        return x, -pixels(z) * self.log_scale.sum()

    @torch.no_grad()
    def whiten(self, x: Tensor) -> None:
        """Set mean 0 and deviation 1 on this batch; a channel that is constant on it keeps scale 1."""
        by_channel = x.transpose(0, 1).flatten(1)
        deviation = by_channel.std(1, correction=0)
        self.bias.copy_(-by_channel.mean(1))
        self.log_scale.copy_(-torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation)).log())
        self.initialized.fill_(True)

    def extra_repr(self) -> str:
        """Show the channels."""
        return f"channels={self.channels}"


@torch.no_grad()
def initialize_from_data(bijection: nn.Module, x: Tensor, context: Tensor | None = None) -> None:
    """Pass a batch through once and let every `ActNorm` that is not yet initialised whiten what reaches it.

    Args:
        bijection: a layer, or a module made of layers, whose ``forward`` takes the batch.
        x: one batch of data, large enough for stable means and deviations.
        context: the batch's context, for a conditional bijection.

    Raises:
        ValueError: the batch is empty.
        RuntimeError: the module is in evaluation mode, or an ActNorm is not on the forward path (inside an
            `Inverse`, say).

    Example:
        >>> flow = Compose(ActNorm(2), ActNorm(2))
        >>> initialize_from_data(flow, torch.randn(100, 2))
        >>> all(bool(layer.initialized) for layer in flow.layers)
        True
    """
    if x.shape[0] == 0:
        raise ValueError("data-dependent initialisation needs data, got an empty batch")
    if not bijection.training:
        raise RuntimeError("data-dependent initialisation in evaluation mode; call .train() first")
    waiting = {name: m for name, m in bijection.named_modules() if isinstance(m, ActNorm) and not m.initialized}
    hooks = [layer.register_forward_pre_hook(_whiten_first) for layer in waiting.values()]
    try:
        bijection(x) if context is None else bijection(x, context)
    finally:
        for hook in hooks:
            hook.remove()
    missed = [name for name, layer in waiting.items() if not layer.initialized]
    if missed:
        raise RuntimeError(f"the forward pass does not reach {', '.join(missed)}; initialise them with .whiten(batch)")


def _whiten_first(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    assert isinstance(layer, ActNorm)
    if not layer.initialized:
        layer.whiten(inputs[0])
