"""Coupling layers over any conditioner network."""

from abc import abstractmethod

import torch
from torch import Tensor, nn

from inverseflow.bijections.base import Bijection, LogDet
from inverseflow.bijections.events import sum_event
from inverseflow.nets import ZeroConv
from inverseflow.nets.conditioner import append
from inverseflow.utils.arguments import finite_number, whole_number


class _Coupling(Bijection):
    """Base class of coupling layers: some channels are copied, and condition the transform of the others."""

    def __init__(
        self,
        channels: int,
        net: nn.Module,
        *,
        num_conditioning: int | None = None,
        swap: bool = False,
        context_channels: int | None = None,
    ) -> None:
        channels = whole_number("channels", channels, at_least=2)
        super().__init__(channels=channels, context_channels=context_channels)
        if num_conditioning is None:
            num_conditioning = channels - channels // 2 if swap else channels // 2
        self.num_conditioning = whole_number("num_conditioning", num_conditioning, at_least=1, at_most=channels - 1)
        self.net = net
        self.swap = swap

    outputs: int
    """Number of the network's output channels for each other channel."""

    @abstractmethod
    def _transform(self, changed: Tensor, prediction: Tensor) -> tuple[Tensor, LogDet]:
        """Map the other channels to latent, given the network's prediction."""

    @abstractmethod
    def _untransform(self, changed: Tensor, prediction: Tensor) -> tuple[Tensor, LogDet]:
        """Map the other channels to data, given the network's prediction."""

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        copied, changed = self._split(x)
        changed, log_det = self._transform(changed, self._predict(copied, changed, context))
        return self._join(copied, changed), log_det

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        copied, changed = self._split(z)
        changed, log_det = self._untransform(changed, self._predict(copied, changed, context))
        return self._join(copied, changed), log_det

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        at = x.shape[1] - self.num_conditioning if self.swap else self.num_conditioning
        first, second = x.tensor_split([at], dim=1)
        return (second, first) if self.swap else (first, second)

    def _join(self, copied: Tensor, changed: Tensor) -> Tensor:
        return torch.cat([changed, copied] if self.swap else [copied, changed], dim=1)

    def _predict(self, copied: Tensor, changed: Tensor, context: Tensor | None) -> Tensor:
        if self.context_channels is not None and context is not None:
            copied = append(copied, context)
        prediction: Tensor = self.net(copied)
        expected = (changed.shape[0], self.outputs * changed.shape[1], *changed.shape[2:])
        if prediction.shape != expected:
            raise ValueError(
                f"the network of a coupling that changes {tuple(changed.shape)} must return {expected}, "
                f"got {tuple(prediction.shape)}"
            )
        return prediction.to(changed.dtype)


class _Affine(_Coupling):
    """The scale and shift of `AffineCoupling` and `SplitPrior`."""

    outputs = 2
    max_log_scale: float

    def _transform(self, changed: Tensor, prediction: Tensor) -> tuple[Tensor, LogDet]:
        log_scale, shift = self._scale_and_shift(prediction)
        return changed * log_scale.exp() + shift, sum_event(log_scale)

    def _untransform(self, changed: Tensor, prediction: Tensor) -> tuple[Tensor, LogDet]:
        log_scale, shift = self._scale_and_shift(prediction)
        return (changed - shift) * (-log_scale).exp(), -sum_event(log_scale)

    def _scale_and_shift(self, prediction: Tensor) -> tuple[Tensor, Tensor]:
        raw_scale, shift = prediction.chunk(2, dim=1)
        return self.max_log_scale * torch.tanh(raw_scale / self.max_log_scale), shift


class AffineCoupling(_Affine):
    r"""Scale and shift some of the channels by functions of the others.

    .. math:: z_b = x_b \odot \exp(s(x_a)) + t(x_a), \qquad z_a = x_a, \qquad \log|\det| = \sum s

    with :math:`s = m \tanh(r / m)` for the network's raw scale r and the bound m, so that every scale lies in
    :math:`[e^{-m}, e^m]`.

    Args:
        channels: number of channels C, at least 2.
        net: any network. It takes the conditioning channels, followed by the context, and returns two channels for
            each other channel: all raw scales, then all shifts.
        num_conditioning: number of channels that are copied and condition the others; None for C // 2. They are the
            first channels, with `swap` the last.
        swap: condition on the last channels and transform the first.
        context_channels: channels of the context, None for an unconditional layer.
        max_log_scale: the bound m, positive and finite.

    Shape:
        x: ``(B, C, *spatial)``; z: the same; context: ``(B, K)`` or ``(B, K, *spatial)``.

    Raises:
        ValueError: if the network's output has another shape.

    Reference:
        Dinh et al., RealNVP, 2017, section 3.2, https://arxiv.org/abs/1605.08803.

    Example:
        >>> z, log_det = AffineCoupling(6, ConvNet(3, 6, width=16))(torch.randn(2, 6, 8, 8))
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
        self.max_log_scale = finite_number("max_log_scale", max_log_scale, above=0)


class AdditiveCoupling(_Coupling):
    r"""Shift some of the channels by functions of the others. Log-determinant 0.

    .. math:: z_b = x_b + t(x_a), \qquad z_a = x_a

    The arguments, shapes and errors of `AffineCoupling` apply, but there is no scale to bound, and the network returns
    one shift for each other channel.

    Reference:
        Dinh et al., NICE, 2015, section 3.2, https://arxiv.org/abs/1410.8516.

    Example:
        >>> z, log_det = AdditiveCoupling(4, MLP(2, 2, width=16))(torch.randn(3, 4))
    """

    outputs = 1

    def _transform(self, changed: Tensor, prediction: Tensor) -> tuple[Tensor, LogDet]:
        return changed + prediction, 0.0

    def _untransform(self, changed: Tensor, prediction: Tensor) -> tuple[Tensor, LogDet]:
        return changed - prediction, 0.0


class SplitPrior(_Affine):
    r"""Learned normal prior, as a bijection, of the half that `Multiscale` factors out, given the other half.

    .. math:: z_b = x_b \odot \exp(s(x_a)) + t(x_a), \qquad z_a = x_a

    with s and t one zero-initialized convolution of side 3: a standard normal on :math:`z_b` is a normal with learned
    mean and deviation on :math:`x_b`. Put it last in a scale of `Multiscale`.

    Args:
        channels: number of channels C before the split, at least 2.
        spatial_axes: number of spatial axes, from 1 to 3.
        context_channels: channels of the context, None for an unconditional layer.

    Shape:
        x: ``(B, C, *spatial)``; z: the same.

    Reference:
        Kingma and Dhariwal, Glow, 2018, section 3.4 and its public code (the learned prior of a split),
        https://arxiv.org/abs/1807.03039.

    Example:
        >>> z, log_det = SplitPrior(12)(torch.randn(2, 12, 4, 4))
    """

    def __init__(self, channels: int, *, spatial_axes: int = 2, context_channels: int | None = None) -> None:
        channels = whole_number("channels", channels, at_least=2)
        context = 0 if context_channels is None else whole_number("context_channels", context_channels, at_least=1)
        net = ZeroConv(channels // 2 + context, 2 * (channels - channels // 2), spatial_axes=spatial_axes)
        super().__init__(channels, net, context_channels=context_channels)
        self.spatial_axes = whole_number("spatial_axes", spatial_axes)
        self.max_log_scale = 2.0
