"""Coupling layers over any conditioner network."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from inverseflow.bijections.base import Bijection, LogDet
from inverseflow.bijections.events import sum_event
from inverseflow.nets import ZeroConv2d


class _Coupling(Bijection):
    """Keep the first channels, half of them unless told, and transform the rest given them, or the other way round."""

    def __init__(
        self,
        channels: int,
        net: nn.Module,
        *,
        num_conditioning: int | None = None,
        swap: bool = False,
        context_channels: int | None = None,
    ) -> None:
        super().__init__(channels=channels, context_channels=context_channels)
        if channels < 2:
            raise ValueError(f"channels must be at least 2 for a coupling, got {channels}")
        half = channels - channels // 2 if swap else channels // 2
        self.num_conditioning = half if num_conditioning is None else num_conditioning
        if not 0 < self.num_conditioning < channels:
            raise ValueError(
                f"num_conditioning must be between 1 and {channels - 1} for {channels} channels, got {num_conditioning}"
            )
        self.net = net
        self.swap = swap

    @abstractmethod
    def _transform(self, changed: Tensor, prediction: Tensor) -> tuple[Tensor, LogDet]:
        """Map the changed channels to latent, given the network's prediction."""

    @abstractmethod
    def _untransform(self, changed: Tensor, prediction: Tensor) -> tuple[Tensor, LogDet]:
        """Map the changed channels to data, given the network's prediction."""

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        kept, changed = self._split(x)
        changed, log_det = self._transform(changed, self._predict(kept, context))
        return self._join(kept, changed), log_det

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        kept, changed = self._split(z)
        changed, log_det = self._untransform(changed, self._predict(kept, context))
        return self._join(kept, changed), log_det

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first, second = x.tensor_split(
            [x.shape[1] - self.num_conditioning if self.swap else self.num_conditioning], dim=1
        )
        return (second, first) if self.swap else (first, second)

    def _join(self, kept: Tensor, changed: Tensor) -> Tensor:
        return torch.cat([changed, kept] if self.swap else [kept, changed], dim=1)

    def _predict(self, kept: Tensor, context: Tensor | None) -> Tensor:
        if self.context_channels is not None and context is not None:
            spatial = kept.shape[2:]
            missing_axes = (1,) * (kept.ndim - context.ndim)
            context = context.reshape(*context.shape, *missing_axes).expand(-1, -1, *spatial)
            kept = torch.cat([kept, context.to(kept.dtype)], dim=1)
        prediction: Tensor = self.net(kept)
        return prediction

    def extra_repr(self) -> str:
        """Show the channels and which of them are kept."""
        return f"channels={self.channels}, num_conditioning={self.num_conditioning}" + (
            ", swap=True" if self.swap else ""
        )


class AffineCoupling(_Coupling):
    r"""Scale and shift some of the channels by what a network says of the others.

    .. math:: z_b = x_b \odot \exp(s(x_a)) + t(x_a), \qquad z_a = x_a, \qquad \log|\det| = \sum s

    with :math:`s = m \tanh(r / m)` for the network's raw scale r and the bound m, so that no scale leaves
    :math:`[e^{-m}, e^m]`.

    Args:
        channels: number of channels C.
        net: any network from the kept channels, followed by those of the context, to twice the changed ones: all raw
            scales, then all shifts.
        num_conditioning: how many channels are copied, None for the first C // 2 (the last C - C // 2 with `swap`).
        swap: keep the last channels and transform the first.
        context_channels: channels of the context, None for an unconditional layer.
        max_log_scale: the bound m.

    Shape:
        x: ``(B, C, *spatial)``; z: the same; context: ``(B, K)`` or ``(B, K, *spatial)``.

    Raises:
        ValueError: fewer than two channels, none kept or none changed, or the network's output does not have twice the
            changed channels.

    Reference:
        Dinh et al., RealNVP, 2017, section 3.2.

    Example:
        >>> layer = AffineCoupling(6, ConvNet(3, 6, width=16))
        >>> z, log_det = layer(torch.randn(2, 6, 8, 8))
    """

    def __init__(
        self,
        channels: int,
        net: nn.Module,
        *,
        num_conditioning: int | None = None,
        swap: bool = False,
        context_channels: int | None = None,
        max_log_scale: float = 2.0,
    ) -> None:
        super().__init__(channels, net, num_conditioning=num_conditioning, swap=swap, context_channels=context_channels)
        if not max_log_scale > 0:
            raise ValueError(f"max_log_scale bounds the scales and is positive, got {max_log_scale}")
        self.max_log_scale = max_log_scale

    def _transform(self, changed: Tensor, prediction: Tensor) -> tuple[Tensor, LogDet]:
        log_scale, shift = self._scale_and_shift(changed, prediction)
        return changed * log_scale.exp() + shift, sum_event(log_scale)

    def _untransform(self, changed: Tensor, prediction: Tensor) -> tuple[Tensor, LogDet]:
        log_scale, shift = self._scale_and_shift(changed, prediction)
        return (changed - shift) * (-log_scale).exp(), -sum_event(log_scale)

    def _scale_and_shift(self, changed: Tensor, prediction: Tensor) -> tuple[Tensor, Tensor]:
        if prediction.shape != (changed.shape[0], 2 * changed.shape[1], *changed.shape[2:]):
            raise ValueError(
                f"the network of an affine coupling that changes {tuple(changed.shape)} must return "
                f"{(changed.shape[0], 2 * changed.shape[1], *changed.shape[2:])}, got {tuple(prediction.shape)}"
            )
        raw_scale, shift = prediction.to(changed.dtype).chunk(2, dim=1)
        return self.max_log_scale * torch.tanh(raw_scale / self.max_log_scale), shift


class AdditiveCoupling(_Coupling):
    r"""Shift some of the channels by what a network says of the others. Log-determinant 0.

    .. math:: z_b = x_b + t(x_a), \qquad z_a = x_a

    Args:
        channels: number of channels C.
        net: any network from the kept channels, followed by those of the context, to as many as are changed.
        num_conditioning: how many channels are copied, None for the first C // 2 (the last C - C // 2 with `swap`).
        swap: keep the last channels and transform the first.
        context_channels: channels of the context, None for an unconditional layer.

    Shape:
        x: ``(B, C, *spatial)``; z: the same; context: ``(B, K)`` or ``(B, K, *spatial)``.

    Raises:
        ValueError: fewer than two channels, none kept or none changed, or the network's output does not have the shape
            of the changed channels.

    Reference:
        Dinh et al., NICE, 2015, section 3.2.

    Example:
        >>> layer = AdditiveCoupling(4, MLP(2, 2, width=16))
        >>> z, log_det = layer(torch.randn(3, 4))
        >>> log_det
        tensor([0., 0., 0.])
    """

    def _transform(self, changed: Tensor, prediction: Tensor) -> tuple[Tensor, LogDet]:
        return changed + self._shift(changed, prediction), 0.0

    def _untransform(self, changed: Tensor, prediction: Tensor) -> tuple[Tensor, LogDet]:
        return changed - self._shift(changed, prediction), 0.0

    def _shift(self, changed: Tensor, prediction: Tensor) -> Tensor:
        if prediction.shape != changed.shape:
            raise ValueError(
                f"the network of an additive coupling that changes {tuple(changed.shape)} must return that shape, "
                f"got {tuple(prediction.shape)}"
            )
        return prediction.to(changed.dtype)


class SplitPrior(AffineCoupling):
    r"""Learned normal prior of the half that `Multiscale` factors out, given the half that goes on, as a bijection.

    .. math:: z_b = x_b \odot \exp(s(x_a)) + t(x_a), \qquad z_a = x_a

    with s and t one zero-initialised 3×3 convolution: a standard normal on :math:`z_b` is a normal with learned mean
    and deviation on :math:`x_b`. Put it last in a level of `Multiscale`.

    Args:
        channels: number of channels C before the split.
        context_channels: channels of the context, None for an unconditional layer.

    Shape:
        x: ``(B, C, H, W)``; z: the same.

    Reference:
        Kingma & Dhariwal, Glow, 2018, section 3.4 and its public code (the learned prior of a split).

    Example:
        >>> z, log_det = SplitPrior(12)(torch.randn(2, 12, 4, 4))
    """

    def __init__(self, channels: int, *, context_channels: int | None = None) -> None:
        kept = channels // 2
        net = ZeroConv2d(kept + (context_channels or 0), 2 * (channels - kept))
        super().__init__(channels, net, context_channels=context_channels)
        self.spatial_axes = 2
